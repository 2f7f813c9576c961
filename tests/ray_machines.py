"""Ray clusters of several machines on this one, as `ray start` makes them, for tests of jobs."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPO

RAY = str(Path(sys.executable).parent / "ray")
MEBIBYTE = 2**20
# Set for all processes of one cluster, which are known, and ended, by it.
_MARK = "RAYXKD_TEST_CLUSTER"

# `ray start --address` refuses to run where all is on the loopback interface; the machines of Ray's
# own tests are made like this.
_NODES = """
import sys, tempfile, time
from ray._private.node import Node
from ray._private.parameter import RayParams
address, cpus, count, folder = sys.argv[1:]
for _ in range(int(count)):  # two at the same time would take the same sockets
    settings = RayParams(
        gcs_address=address,
        redis_address=address,
        num_cpus=int(cpus),
        num_gpus=0,
        object_store_memory=100 * 2**20,
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,
        # Machines share no place where they unpack what a job uploads: who came later would take
        # it away from the workers of the others.
        temp_dir=tempfile.mkdtemp(prefix="n", dir=folder),
    )
    Node(settings, head=False, shutdown_at_exit=False, spawn_reaper=False)
while True:
    time.sleep(60)
"""


@dataclass(frozen=True)
class Head:
    """A running head, and how to talk to it.

    Attributes:
        dashboard: its port, which also takes jobs.
        port: of the cluster itself.
        folder: of all that the cluster writes.
        environment: of whoever talks to it, with the token.
        nodes: machines that were added, for as long as they run.
    """

    dashboard: int
    port: int
    folder: Path
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def ray(
        self, *arguments: str, timeout: float = 60, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RAY, *arguments],
            cwd=REPO,
            env=self.environment if environment is None else dict(environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def submit(
        self,
        name: str,
        *arguments: str | Path,
        script: str = "assess",
        wait: bool = True,
        upload: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Submit ``python jobs/assess.py`` or another script, and wait for its end.

        ``upload`` sends the working directory, as the README says. Machines that an autoscaler
        starts here unpack it in one and the same place, so one that joins later takes it away from
        the workers of the others.
        """
        place = Path("jobs") if upload else REPO / "jobs"
        job = ["python", str(place / f"{script}.py"), *map(str, arguments)]
        options = ["--address", self.address, "--submission-id", name]
        options += ["--working-dir", "."] if upload else []
        options += [] if wait else ["--no-wait"]
        return self.ray("job", "submit", *options, "--", *job, timeout=300, environment=environment)

    def status(self, name: str) -> str:
        return self.ray("job", "status", "--address", self.address, name).stdout

    def log(self, name: str) -> str:
        """All that the job itself printed."""
        return (self.folder / "session_latest" / "logs" / f"job-driver-{name}.log").read_text()

    def logs(self) -> Iterator[Path]:
        """All log files of all machines."""
        for place in (self.folder, *self.folder.glob("n*")):
            for path in (place / "session_latest" / "logs").rglob("*"):
                if path.is_file():
                    yield path

    def add_nodes(self, count: int, cpus: int, below: Sequence[str] = ()) -> None:
        """Start more machines; ``below`` is a command that the start is handed to."""
        address = f"127.0.0.1:{self.port}"
        words = [sys.executable, "-c", _NODES, address, str(cpus), str(count), str(self.folder)]
        self.nodes.append(_spawn([*below, *words], self.folder, self.environment))

    def wait_for_nodes(self, count: int) -> None:
        """Until so many machines, the head among them, have joined."""
        code = "import ray; ray.init(address='auto', log_to_driver=False, logging_level='error');"
        code += "import time; t = time.time()\n"
        code += f"while sum(n['Alive'] for n in ray.nodes()) < {count}:\n"
        code += "    assert time.time() - t < 90; time.sleep(0.2)"
        environment = self.environment | {"RAY_ADDRESS": f"127.0.0.1:{self.port}"}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=150)

    def processes(self) -> list[int]:
        """Those of this cluster."""
        return _marked(self.environment[_MARK])


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_head(
    cpus: int,
    *,
    options: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Head]:
    """A head with token authentication, all of it on the loopback interface."""
    # Sockets lie below it, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="rk", dir="/tmp"))
    port, dashboard, agent, client = free_ports(4)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        _MARK: secrets.token_hex(8),
        "PATH": f"{Path(RAY).parent}{os.pathsep}{os.environ['PATH']}",  # the job's python
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on the loopback interface
        "RAY_USAGE_STATS_ENABLED": "0",
        # Below `uv run` the head would take its own folder for a project and upload it.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_worker_niceness": "0",
        "OMP_WAIT_POLICY": "passive",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COLUMNS": "200",
        **(environment or {}),
    }
    chosen = {
        "node-ip-address": "127.0.0.1",
        "port": port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": cpus,
        "temp-dir": folder,
        "object-store-memory": 200 * MEBIBYTE,
        **(options or {}),
    }
    head = Head(dashboard, int(str(chosen["port"])), folder, variables)
    try:
        words = [RAY, "start", "--head", "--block"]
        words += [f"--{name}={value}" for name, value in chosen.items()]
        process = _spawn(words, folder, variables)
        head.nodes.append(process)
        deadline = time.monotonic() + 90
        log = folder / "start.log"
        while not (is_open(dashboard) and is_open(agent)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield head
    finally:
        _stop(head)
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    with (folder / "start.log").open("ab") as output:
        return subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _marked(mark: str) -> list[int]:
    """Every living process with this mark in its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def _stop(head: Head) -> None:
    deadline = time.monotonic() + 30
    while (left := head.processes()) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for node in head.nodes:
            node.poll()
        time.sleep(0.2)
    assert not left, f"still running: {left}"
