"""``ray up`` and ``ray down`` of the machines at hand, all but the remote shell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.files import load
from tests.cluster.ray_up import Shell, down, prepare, up


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with pytest.MonkeyPatch.context() as patch:
        yield prepare(patch, tmp_path)


def test_up_and_down(shell: Shell, tmp_path: Path) -> None:
    config = load("on-premise.yaml")
    key = tmp_path / "home" / "key"
    key.write_text("a private key")
    config["auth"]["ssh_private_key"] = str(key)
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(config))

    resolved = up(file)
    (only,) = resolved["available_node_types"].values()
    machines = len(config["provider"]["worker_ips"])
    assert only["min_workers"] == only["max_workers"] == machines
    # Setting up goes to the head alone, in this order; the head then does the same to the others.
    head = config["provider"]["head_ip"]
    assert all(f"@{head}" in command for command in shell.commands)
    (started,) = shell.ran("docker run")
    assert config["docker"]["image"] in started
    assert "--env RAY_AUTH_MODE=token" in started
    order = [shell.commands.index(shell.ran(text)[0]) for text in ("docker run", "pip install")]
    (start,) = shell.ran("ray start --head")
    assert "--dashboard-host=127.0.0.1" in start
    assert order == sorted(order)
    assert order[-1] < shell.commands.index(start)
    assert shell.file("/home/ray/.ray/auth_token") == b"the-token"

    # What the head will be told, and the lines with which it starts the others.
    told = json.loads(shell.file("ray_bootstrap_config.yaml"))
    assert told["worker_start_ray_commands"] == config["worker_start_ray_commands"]
    assert told["file_mounts"]["/home/ray/.ray/auth_token"] == "/home/ray/.ray/auth_token"
    assert shell.file("ray_bootstrap_key.pem") == b"a private key"

    before = len(shell.commands)
    down(file)
    stopped = [line for line in shell.commands[before:] if "docker stop rayxkd" in line]
    for machine in (head, *config["provider"]["worker_ips"]):
        assert any(f"@{machine}" in line for line in stopped), machine
