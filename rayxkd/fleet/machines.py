"""What a cluster holds at present, and what it may grow to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rayxkd.errors import UserError

# Says what an autoscaler may start: a cluster file, or YAML with the same keys. Ray tells a driver
# what machines there are, and not what machines there may be.
FLEET_VARIABLE = "RAYXKD_FLEET"

# Ray's name of a kind of GPU, and the gibibytes of the smallest that goes by it (data sheets).
_GPU_MEMORY = {
    **{"K80": 12, "P4": 8, "P100": 12, "V100": 16, "T4": 15, "A10": 24, "A10G": 22, "L4": 22},
    **{"L40S": 44, "A100": 40, "H100": 80, "H200": 140, "B200": 180},
}
_UNKNOWN_GPU_MEMORY = 15
_KIND = "accelerator_type:"
# Ray counts in ten-thousandths.
_CLOSE = 1e-4


@dataclass(frozen=True)
class Machine:
    """One machine, as far as work can be placed on it.

    Attributes:
        cpus: processors on offer.
        gpus: GPUs on offer.
        gpu_gibibytes: memory of each of them.
    """

    cpus: float
    gpus: float = 0.0
    gpu_gibibytes: float = _UNKNOWN_GPU_MEMORY

    @classmethod
    def offering(cls, resources: Mapping[str, float]) -> Machine:
        """The machine that offers these of Ray's resources."""
        kinds = [name.removeprefix(_KIND) for name in resources if name.startswith(_KIND)]
        memory = min((_GPU_MEMORY.get(kind, _UNKNOWN_GPU_MEMORY) for kind in kinds), default=None)
        return cls(
            float(resources.get("CPU", 0.0)),
            float(resources.get("GPU", 0.0)),
            _UNKNOWN_GPU_MEMORY if memory is None else memory,
        )

    def places(self, cpus: float, gpus: float) -> int:
        """How many workers fit that take so many processors and GPUs each."""
        fitting = int(self.cpus / cpus + _CLOSE)
        return min(fitting, self.gpu_places(gpus)) if gpus else fitting

    def gpu_places(self, gpus: float) -> int:
        """How many workers its GPUs are enough for."""
        return int(self.gpus / gpus + _CLOSE)


@dataclass(frozen=True)
class MachineType:
    """A kind of machine that an autoscaler may start, at most so many of them."""

    machine: Machine
    most: int


@dataclass(frozen=True)
class Fleet:
    """What an autoscaler may start.

    Attributes:
        types: kinds of machines.
        most: machines of all kinds together.
    """

    types: tuple[MachineType, ...]
    most: int

    @classmethod
    def read(cls, text: str) -> Fleet:
        """A fleet as a cluster file describes it.

        Args:
            text: path of the file, or YAML: ``available_node_types`` with ``resources`` and
                ``max_workers`` each, and ``max_workers`` of all.

        Raises:
            UserError: it says something else.
        """
        try:
            content = text if ":" in text and "{" in text else Path(text).expanduser().read_text()
            described = yaml.safe_load(content)
            head = described.get("head_node_type")
            types = [
                MachineType(Machine.offering(kind["resources"]), int(kind.get("max_workers", 0)))
                for name, kind in described["available_node_types"].items()
                if name != head
            ]
            most = described.get("max_workers", sum(kind.most for kind in types))
            return cls(tuple(types), int(most))
        except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as e:
            raise UserError(
                f"{FLEET_VARIABLE} must name a cluster file or hold its available_node_types with "
                f"resources and max_workers: {type(e).__name__}: {e}"
            ) from e

    def places(self, cpus: float, gpus: float) -> int:
        """How many workers fit on it at its largest."""
        left, found = self.most, 0
        for places, most in sorted(
            ((kind.machine.places(cpus, gpus), kind.most) for kind in self.types), reverse=True
        ):
            started = min(left, most)
            found += places * started
            left -= started
        return found


@dataclass(frozen=True)
class Resources:
    """What the cluster holds.

    Attributes:
        machines: those that are there.
        fleet: what it may grow to; ``None`` where that is not known.
        joined: it was there before: if no fleet is known, it may have an autoscaler or not.
    """

    machines: tuple[Machine, ...]
    fleet: Fleet | None = None
    joined: bool = False

    @property
    def cpus(self) -> float:
        """Processors that are there."""
        return sum(machine.cpus for machine in self.machines)

    @property
    def gpus(self) -> float:
        """GPUs that are there."""
        return sum(machine.gpus for machine in self.machines)

    @property
    def may_grow(self) -> bool:
        """Whether machines may come, as far as we know."""
        return self.joined if self.fleet is None else self.fleet.most > 0

    @property
    def kinds(self) -> tuple[Machine, ...]:
        """Every machine that there is, and one of each kind that may come."""
        coming = () if self.fleet is None else tuple(kind.machine for kind in self.fleet.types)
        return self.machines + coming

    @property
    def has_gpus(self) -> bool:
        """Whether there are GPUs, or machines with some may come."""
        return any(machine.gpus for machine in self.kinds)

    def gpu_share(self, asked: float | None) -> float:
        """GPUs for one process: what is asked for, or one where there are any."""
        return (1.0 if self.has_gpus else 0.0) if asked is None else asked

    def places(self, cpus: float, gpus: float) -> int:
        """How many workers fit at once, now or when the fleet has grown."""
        now = sum(machine.places(cpus, gpus) for machine in self.machines)
        return now if self.fleet is None else max(now, self.fleet.places(cpus, gpus))

    def cpus_each(self, workers: int, gpus: float) -> int:
        """The most whole processors that so many workers can have each; at least one."""
        usable = [machine for machine in self.kinds if machine.places(1, gpus)]
        if not usable:
            return 1
        if gpus:  # GPUs are the scarce ones: none is to lie idle for want of processors
            per_place = min(machine.cpus / machine.gpu_places(gpus) for machine in usable)
            return max(1, int(per_place + _CLOSE))
        most = int(max(machine.cpus for machine in usable))
        fitting = (cpus for cpus in range(most, 1, -1) if self.places(cpus, gpus) >= workers)
        return next(fitting, 1)

    def too_small_for(self, workers: int, gpus: float) -> UserError:
        """The error where so many processes with so many GPUs each do not fit."""
        return UserError(
            f"--workers {workers} with {gpus:g} GPU(s) each: the cluster has {self.cpus:g} "
            f"processor(s) and {self.gpus:g} GPU(s)"
        )


def resources(ray: Any) -> Resources:
    """What the connected cluster holds, and by RAYXKD_FLEET what it may grow to.

    Raises:
        UserError: that variable makes no sense.
    """
    joined = bool(os.environ.get("RAY_ADDRESS"))
    described = os.environ.get(FLEET_VARIABLE, "") if joined else ""
    return Resources(
        tuple(Machine.offering(node["Resources"]) for node in living_nodes(ray)),
        Fleet.read(described) if described else None,
        joined,
    )


def living_nodes(ray: Any) -> list[dict[str, Any]]:
    """What Ray says of each node that has not been declared dead."""
    return [node for node in ray.nodes() if node["Alive"]]


def this_node() -> str:
    """Ray's id of the node that an actor is on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())
