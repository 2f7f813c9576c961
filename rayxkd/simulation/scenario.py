"""From the options of a simulation to its outcome."""

from __future__ import annotations

import math

from rayxkd.assess.recorder import WRITERS
from rayxkd.errors import UserError
from rayxkd.fleet.machines import Fleet, Machine, MachineType, Resources
from rayxkd.fleet.plan import plan_workers
from rayxkd.leaderboard import Leaderboard
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.measured import SCAN, SOURCE, Spread
from rayxkd.simulation.outcome import Outcome
from rayxkd.simulation.run import simulate_scan
from rayxkd.simulation.settings import SimulateSettings
from rayxkd.simulation.workload import Workload, drawn_teachers, measured_by, teachers_of

_TEACHERS = 1000
_MEGABYTE = 1e6
_CPUS_A_GPU = 4


def run_simulation(settings: SimulateSettings) -> tuple[Outcome, Workload]:
    """See :func:`rayxkd.simulation.simulate`."""
    settings.check()
    workload = make_workload(settings)
    if settings.timeout is None and any(one.hangs for one in workload.teachers):
        raise UserError("a teacher of this leaderboard never ended by itself: give a --timeout")
    outcome = simulate_scan(
        workload.teachers,
        make_conditions(settings),
        workers=_plan(settings, len(workload.teachers)),
        timeout=None if settings.timeout is None else settings.timeout.total_seconds(),
        price=None if settings.price is None else settings.price * settings.gpus_per_machine,
        seed=settings.seed,
    )
    return outcome, workload


def make_workload(settings: SimulateSettings) -> Workload:
    """The teachers that are asked for.

    Raises:
        UserError: the leaderboard cannot be read, or holds no times.
    """
    if settings.leaderboard is None:
        measured, source, spread = list(SCAN), SOURCE, Spread()
    else:
        board = Leaderboard.open(settings.leaderboard)
        measured, spread = measured_by(board), Spread(sizes=0.0)
        source = f"{len(measured)} teachers of {board.url}"
    if settings.spread is not None:
        spread = Spread(sizes=settings.spread)
    if settings.teachers is None and settings.leaderboard is not None and not spread.sizes:
        return Workload(teachers_of(measured, settings.speed), f"{source}, once each")
    count = settings.teachers or _TEACHERS
    drawn = drawn_teachers(measured, count, settings.seed, spread, settings.speed)
    spread_said = f", sizes spread by {spread.sizes:g} (log-normal)" if spread.sizes else ""
    return Workload(drawn, f"drawn from {source}{spread_said}")


def make_conditions(settings: SimulateSettings) -> Conditions:
    """The fleet that is asked for, in seconds and bytes."""
    return Conditions(
        machines=settings.gpus // settings.gpus_per_machine,
        places=settings.gpus_per_machine * settings.workers_per_gpu,
        boot=settings.boot.total_seconds(),
        start=settings.start.total_seconds(),
        detect=settings.detect.total_seconds(),
        idle=settings.idle.total_seconds(),
        interruptions=settings.interruptions,
        slow_share=settings.slow_share,
        slow_factor=settings.slow_factor,
        latency=settings.latency,
        download=_rate(settings.download),
        store=_rate(settings.store),
        driver=settings.driver,
        write=settings.write,
        writers=WRITERS,
    )


def _plan(settings: SimulateSettings, jobs: int) -> int:
    """How many workers a scan asks for on such a fleet, which begins with no machine."""
    per_gpu = settings.workers_per_gpu
    cpus = settings.gpus_per_machine * max(_CPUS_A_GPU, per_gpu)
    machines = settings.gpus // settings.gpus_per_machine
    kind = MachineType(Machine(cpus, settings.gpus_per_machine), machines)
    found = Resources((), Fleet((kind,), machines), joined=True)
    return plan_workers(jobs, found, gpus_per_worker=1 / per_gpu).workers


def _rate(megabytes: float | None) -> float:
    return math.inf if megabytes is None else megabytes * _MEGABYTE
