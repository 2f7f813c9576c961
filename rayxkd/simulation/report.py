"""An outcome for people."""

from __future__ import annotations

from datetime import timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rayxkd.console import literal
from rayxkd.simulation.outcome import Outcome
from rayxkd.simulation.settings import SimulateSettings


def print_outcome(
    outcome: Outcome, source: str, settings: SimulateSettings, console: Console
) -> None:
    """Say what came out, what it was asked, and where the times come from."""
    console.print(literal(_asked(outcome, settings)), soft_wrap=True)
    console.print(literal(f"times: {source}"), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for name, value, about in _lines(outcome):
        table.add_row(f"  {name}", Text(value, justify="right"), literal(about))
    console.print(table)


def _asked(outcome: Outcome, settings: SimulateSettings) -> str:
    parts = [
        f"{outcome.teachers:,} teachers on at most {settings.gpus} GPU(s) in machines of "
        f"{settings.gpus_per_machine}, {outcome.workers} worker(s)"
    ]
    if settings.interruptions:
        parts.append(f"{settings.interruptions:.3g} of the machines taken away in an hour")
    if settings.slow_share:
        parts.append(f"{settings.slow_share:.3g} of them {settings.slow_factor:g} times slower")
    if settings.download or settings.store:
        rates = (settings.download, settings.store)
        one, every = ("any" if rate is None else f"{rate:g} MB/s" for rate in rates)
        parts.append(f"store: {one} to a worker, {every} to all")
    return "; ".join(parts)


def _lines(outcome: Outcome) -> list[tuple[str, str, str]]:
    lines = [
        (
            "makespan",
            _span(outcome.makespan),
            f"{outcome.over_bound:.3f} x the lower bound; first teacher after "
            f"{_span(outcome.first_start)}",
        ),
        ("lower bound", _span(outcome.lower_bound), _bounds(outcome)),
        ("utilisation", f"{outcome.utilisation:.1%}", "of the workers' time until the end"),
        ("machine-hours", f"{outcome.machine_hours:,.1f}", "until the last machine has left"),
    ]
    if outcome.cost is not None and outcome.cost_per_thousand is not None:
        per_thousand = f"{outcome.cost_per_thousand:,.2f} for 1,000 teachers"
        lines.append(("cost", f"{outcome.cost:,.2f}", per_thousand))
    lines += [
        (
            "interruptions",
            f"{outcome.interruptions:,}",
            f"they cut off {_span(outcome.cut_off)} of work ({outcome.cut_off_share:.2%} of all)",
        ),
        (
            "failed",
            f"{outcome.failed:,}",
            f"teachers; {_span(outcome.crashed)} of work ended with a process or at --timeout",
        ),
        ("starting", _span(outcome.starting), "of workers, all together"),
    ]
    return lines


def _bounds(outcome: Outcome) -> str:
    bounds = {
        "all work / workers": outcome.work_bound,
        "the longest teacher": outcome.longest,
        "all bytes / the store's rate": outcome.store_bound,
    }
    binding = max(bounds, key=lambda name: bounds[name])
    others = [f"{name} {_span(bounds[name])}" for name in bounds if name != binding]
    return f"{binding} ({', '.join(others)})"


def _span(seconds: float) -> str:
    """Days, hours, minutes and seconds, such as ``4:28:16``."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
