"""The doctor: is this machine, the Ray cluster and the storage fit for work, and what to mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from rayxkd.doctor.checks import Check, State, guarded
from rayxkd.doctor.settings import DoctorSettings

if TYPE_CHECKING:
    from rich.console import Console

    from rayxkd.doctor.nodes import Node
    from rayxkd.doctor.report import Report

_HEAD = "See that the head of the cluster is well, by ray status and its logs."

__all__ = ["Check", "DoctorSettings", "State", "examine"]


def examine(settings: DoctorSettings, console: Console | None = None) -> Report:
    """Examine this machine, the Ray cluster and storage; whatever fails is a line of the report.

    Args:
        settings: what to look at.
        console: where the report is printed as it grows; nowhere if ``None``.

    Returns:
        Every check, and what to mend.
    """
    from rich.console import Console

    from rayxkd.doctor.here import examine_machine
    from rayxkd.doctor.report import Report

    console = console or Console(quiet=True)
    report, stack = Report(), ExitStack()
    nodes: list[Node] = []
    report.section("This machine", examine_machine(), console)
    try:
        if settings.cluster:
            cluster = guarded("cluster", _HEAD, _examine_cluster, stack, nodes)
            report.section("Ray cluster", cluster, console)
        storage = guarded("storage", _HEAD, _examine_storage, settings.storage, nodes)
        report.section("Storage", storage, console)
    finally:
        with suppress(Exception):  # all has been seen: an end that fails changes nothing
            stack.close()
    report.print_end(console)
    return report


def _examine_cluster(stack: ExitStack, nodes: list[Node]) -> Iterator[Check]:
    """Fill ``nodes``; what is opened stays open as long as ``stack``."""
    from rayxkd.doctor.nodes import agents, examine_nodes, join
    from rayxkd.fleet.cluster import Cluster

    ray, check = join(stack.enter_context(Cluster()))
    yield check
    if ray is not None:
        nodes += stack.enter_context(agents(ray))
        yield from examine_nodes(nodes)


def _examine_storage(addresses: Sequence[str], nodes: Sequence[Node]) -> Iterator[Check]:
    from rayxkd.doctor.storage import examine_storage

    for address in addresses:
        mend = f"See that {address} can be reached."
        yield from guarded(address, mend, examine_storage, address, nodes)
