"""``ray up`` and ``ray down`` with everything but the remote shell: that one only takes notes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO

# What a machine with Docker and a GPU says when Ray's updater asks it.
_ANSWERS = {
    "command -v docker": b"/usr/bin/docker",
    ".Config.Env": b'["HOME=/home/ray"]',
    "printenv HOME": b"/home/ray",
    "Runtimes": b"nvidia-container-runtime",
    "/proc/meminfo": b"MemAvailable: 16000000 kB",
}


@dataclass
class Shell:
    """Stands where Ray's updater has ``subprocess``: nothing leaves this process.

    Attributes:
        commands: every command line, as Ray would have run it here.
        sent: files that Ray would have copied, by their path on the node.
    """

    commands: list[str] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)
    DEVNULL: int = subprocess.DEVNULL

    def check_call(self, command: list[str], **_: Any) -> int:
        self.commands.append(" ".join(command))
        if command[0] == "rsync":
            source, target = command[-2:]
            if Path(source).is_file():
                self.sent[target.split(":", 1)[1]] = Path(source).read_bytes()
        return 0

    def check_output(self, command: list[str], **_: Any) -> bytes:
        line = " ".join(command)
        self.commands.append(line)
        if ".State.Running" in line:
            started = any("docker run" in earlier for earlier in self.commands)
            return b"true" if started else b"false"
        return next((answer for asked, answer in _ANSWERS.items() if asked in line), b"")

    def file(self, ending: str) -> bytes:
        """The one file that was copied to a path with this ending."""
        (content,) = [content for path, content in self.sent.items() if path.endswith(ending)]
        return content

    def ran(self, text: str) -> list[str]:
        """The commands in which this occurs."""
        return [command for command in self.commands if text in command]


def prepare(patch: pytest.MonkeyPatch, folder: Path) -> Shell:
    """A home directory with a token in it, no other traces on this machine, and the shell."""
    from ray.autoscaler._private import command_runner, commands, providers
    from ray.autoscaler._private.updater import NodeUpdaterThread

    home, scratch = folder / "home", folder / "scratch"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("the-token")
    scratch.mkdir()
    patch.chdir(REPO)
    patch.setenv("HOME", str(home))
    patch.setenv("RAY_TMPDIR", str(scratch))
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Where Ray keeps what it found out from the cloud.
    patch.setattr("tempfile.tempdir", str(scratch))
    patch.setattr(providers, "_provider_instances", {})
    patch.setattr(commands, "POLL_INTERVAL", 0.1)
    patch.setattr(command_runner.SSHCommandRunner, "_ensure_ssh_control_path", lambda _: None)
    shell = Shell()

    class Updater(NodeUpdaterThread):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "process_runner": shell})

    patch.setattr(commands, "NodeUpdaterThread", Updater)
    return shell


def up(file: Path) -> dict[str, Any]:
    """What ``ray up --yes`` does; the configuration as the provider has completed it."""
    from ray.autoscaler._private.commands import create_or_update_cluster

    config: dict[str, Any] = create_or_update_cluster(
        config_file=str(file),
        override_min_workers=None,
        override_max_workers=None,
        no_restart=False,
        restart_only=False,
        yes=True,
    )
    return config


def down(file: Path) -> None:
    """What ``ray down --yes`` does."""
    from ray.autoscaler._private.commands import teardown_cluster

    teardown_cluster(
        str(file), yes=True, workers_only=False, override_cluster_name=None, keep_min_workers=False
    )
