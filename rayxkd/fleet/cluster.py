"""Starting Ray, or joining it where it runs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rayxkd.errors import UserError

# For clusters that we start ourselves; read when Ray is imported.
_LOCAL_ENVIRONMENT = {
    # Every port on the loopback interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers do the work: they do not step back behind other processes.
    "RAY_worker_niceness": "0",
    # Threads that wait let others work: spinning, they slow small networks on a busy machine.
    "OMP_WAIT_POLICY": "passive",
    # Ray Train looks after its workers every two seconds; a short training has ended by then.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # An actor without a GPU share sees none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}

# For every cluster: workers have an environment; below `uv run` Ray would build another for each.
_ENVIRONMENT = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}

# Constants of Ray, and where it reads them from when it is imported; later it looks no more.
_READ_EARLY = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    "ENABLE_RAY_CLUSTER": "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
}
_CONNECT_SECONDS = 5.0


def prepare_environment(*, local: bool) -> None:
    """Set what Ray reads when it is imported, but for what the user has set.

    Args:
        local: for a cluster that we start on this machine.
    """
    for name, value in (_ENVIRONMENT | (_LOCAL_ENVIRONMENT if local else {})).items():
        os.environ.setdefault(name, value)


class Cluster:
    """Ray, joined or started when it is first needed, and stopped at the end if it was started.

    Args:
        dashboard: start it too, on the loopback interface, where Ray is started. What Ray Train
            leaves behind within a stopped trial of Ray Tune is cleared away by means of it.
    """

    def __init__(self, *, dashboard: bool = False) -> None:
        self._ray: Any = None
        self._ours = False
        self._dashboard = dashboard

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ours:
            self._ray.shutdown()

    @property
    def is_joined(self) -> bool:
        """Whether the cluster is there before and after us: RAY_ADDRESS names it."""
        return bool(os.environ.get("RAY_ADDRESS"))

    def connect(self) -> Any:
        """The ``ray`` module, connected to the cluster at RAY_ADDRESS or to a new local one.

        Raises:
            UserError: there is no cluster at RAY_ADDRESS.
        """
        if self._ray is None:
            address = os.environ.get("RAY_ADDRESS")
            prepare_environment(local=not address)
            import ray

            _heed_environment()
            if not ray.is_initialized():
                _initialise(ray, address, dashboard=self._dashboard)
                self._ours = True
            self._ray = ray
        return self._ray


def _heed_environment() -> None:
    """Tell Ray what it did not read, where it was imported before the environment was prepared.

    Otherwise its ports would be open to the network, and below `uv run` workers would never start.
    """
    from ray._private import ray_constants

    for constant, name in _READ_EARLY.items():
        if os.environ.get(name) == "0" and hasattr(ray_constants, constant):
            setattr(ray_constants, constant, False)


def _initialise(ray: Any, address: str | None, *, dashboard: bool) -> None:
    # Ray tells at length that a local cluster is guarded by a token, which is as it should be.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    quiet = {"logging_level": "warning", "log_to_driver": False}
    if not address:
        _start_local(ray, quiet, dashboard=dashboard)
        return
    silence = nobody_at(address)
    if silence:  # Ray itself would go on trying for minutes
        raise UserError(f"{silence}: start a Ray cluster there, or unset RAY_ADDRESS")
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"there is no Ray cluster at RAY_ADDRESS={address}: start one or unset it"
        ) from error


def nobody_at(address: str) -> str:
    """Why nobody answers at an address; empty if somebody does, or if only Ray can tell."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return ""
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        return f"nobody answers at RAY_ADDRESS={address} ({error})"
    return ""


def _start_local(ray: Any, quiet: Mapping[str, Any], *, dashboard: bool) -> None:
    try:
        ray.init(
            address="local",
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            _node_ip_address="127.0.0.1",
            **quiet,
        )
    except Exception as error:  # Ray raises nothing more special where its processes are late
        ray.shutdown()
        raise UserError(
            f"Ray cannot be started here ({error}): is the machine overloaded or its disk full? "
            "Try again; assess and distill also work without Ray, with --workers 0"
        ) from error
