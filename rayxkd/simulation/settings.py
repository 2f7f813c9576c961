"""What a simulation is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from rayxkd.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SimulateSettings:
    """The options of ``jobs/simulate.py``.

    Attributes:
        leaderboard: Take times, sizes and failures from this leaderboard; by default from a scan of
            five MobileNets by one core of a CPU, with sizes spread as those of timm's models.
        teachers: How many teachers, drawn from it; by default its own, once each (1,000 without).
        gpus: GPUs (or, for a scan without any, workers) at most.
        gpus_per_machine: GPUs of one machine, which is what is rented and taken away.
        workers_per_gpu: Teachers at a time on one GPU; times should be of a scan that did so too.
        speed: How many times as fast as in that scan teachers are assessed.
        spread: Standard deviation of the logarithm of the sizes about those of the scan; 0 leaves
            them as they are.
        interruptions: Probability that a machine is taken away within an hour, as spot ones are.
        slow_share: Share of machines that are slow.
        slow_factor: How many times longer these compute.
        price: Price of a GPU for an hour, in any currency.
        boot: How long a machine takes to come.
        start: How long a worker takes to start on it.
        detect: How long it takes until the loss of a machine is noticed.
        idle: How long a machine without work stays.
        timeout: The longest that one teacher may take.
        latency: Seconds until the object store sends the first byte of a weights file.
        download: MB/s that one worker reads weights with; by default they are there at once.
        store: MB/s that the store sends to all workers together.
        driver: Seconds that the driver takes for a result besides writing it.
        write: Seconds that it takes to write a row to the leaderboard's place.
        seed: Seed of the draw, of interruptions and of crashes.
    """

    leaderboard: str | None = None
    teachers: int | None = None
    gpus: int = 8
    gpus_per_machine: int = 1
    workers_per_gpu: int = 1
    speed: float = 1.0
    spread: float | None = None
    interruptions: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 2.0
    price: float | None = None
    boot: timedelta = timedelta(minutes=3)
    start: timedelta = timedelta(seconds=15)
    detect: timedelta = timedelta(seconds=15)
    idle: timedelta = timedelta(minutes=10)
    timeout: timedelta | None = timedelta(minutes=30)
    latency: float = 0.0
    download: float | None = None
    store: float | None = None
    driver: float = 0.005
    write: float = 0.005
    seed: int = 0

    def check(self) -> None:
        """Refuse numbers that cannot be right.

        Raises:
            UserError: the first that is wrong.
        """
        timeout = None if self.timeout is None else self.timeout.total_seconds()
        above: dict[str, float | None] = {
            **{"teachers": self.teachers, "gpus": self.gpus, "speed": self.speed},
            **{"gpus-per-machine": self.gpus_per_machine},
            **{"workers-per-gpu": self.workers_per_gpu, "slow-factor": self.slow_factor},
            **{"download": self.download, "store": self.store, "timeout": timeout},
        }
        for name, value in above.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UserError(f"--{name} must be above zero, not {value:g}")
        from_zero: dict[str, float | None] = {
            **{"spread": self.spread, "price": self.price, "latency": self.latency},
            **{"driver": self.driver, "write": self.write, "seed": self.seed},
            **{name: getattr(self, name).total_seconds() for name in _TIMES},
        }
        for name, value in from_zero.items():
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise UserError(f"--{name} must be zero or more, not {value:g}")
        if not 0 <= self.interruptions < 1:
            raise UserError(
                "--interruptions is the probability within an hour, from 0 to below 1, "
                f"not {self.interruptions:g}"
            )
        if not 0 <= self.slow_share <= 1:
            raise UserError(f"--slow-share must be from 0 to 1, not {self.slow_share:g}")
        if self.gpus % self.gpus_per_machine:
            raise UserError(
                f"--gpus {self.gpus} must be a multiple of --gpus-per-machine "
                f"{self.gpus_per_machine}"
            )


_TIMES = ("boot", "start", "detect", "idle")
