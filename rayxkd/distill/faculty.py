"""Choosing the teachers from a leaderboard, and asking them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.distill.settings import BEST
from rayxkd.errors import UserError, unknown_name
from rayxkd.leaderboard import TEACHERS_KIND, Leaderboard
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers import Repository, TeacherCard, demo_repository, reopen
from rayxkd.teachers.demo import demo_storage


@dataclass(frozen=True)
class ChosenTeacher:
    """A teacher of the leaderboard.

    Attributes:
        card: what it is.
        repository: where it lies.
        digest: SHA-256 of card and weights, as it was assessed.
        weight: its share of the faculty.
    """

    card: TeacherCard
    repository: Repository
    digest: str
    weight: float


def choose_teachers(
    board: Leaderboard, names: Sequence[str], class_names: Sequence[str]
) -> list[ChosenTeacher]:
    """The named teachers, strongest first, weighted by exp(-cost) (ours).

    With a cost in nats that is the likelihood that each gives to the label of an image on average.

    Args:
        board: of a scan of the same task.
        names: teachers, or ``best``.
        class_names: classes of the data.

    Raises:
        UserError: the leaderboard is of other classes, a name is not on it, a teacher was not
            assessed well or is not where it was.
    """
    if board.kind != TEACHERS_KIND:
        raise UserError(f"{board.url} holds a {board.kind}, no leaderboard of teachers")
    _check_classes(board, class_names)
    rows = {row["teacher"]: row for row in board.table.to_pylist()}
    chosen = [_row(rows, name, board.url) for name in dict.fromkeys(names)]
    chosen = list({row["teacher"]: row for row in chosen}.values())
    chosen.sort(key=lambda row: row["transport_cost"])
    costs = np.array([row["transport_cost"] for row in chosen])
    weights = np.exp(costs.min() - costs)
    weights /= weights.sum()
    demo = demo_storage(board.storage or Storage.at(board.url))
    return [_found(row, float(weight), demo) for row, weight in zip(chosen, weights, strict=True)]


def _check_classes(board: Leaderboard, class_names: Sequence[str]) -> None:
    known = board.about.get("class_names")
    if known is not None and list(known) != list(class_names):
        raise UserError(
            f"the leaderboard {board.url} ranks teachers for the classes {_shown(known)}; the data "
            f"has {_shown(class_names)}: assess the teachers on this task first"
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def _row(rows: dict[str, dict[str, Any]], name: str, url: str) -> dict[str, Any]:
    if name == BEST:
        ranked = [row for row in rows.values() if row["status"] == Status.OK]
        if not ranked:
            raise UserError(f"no teacher on the leaderboard {url} is ok: assess others")
        return min(ranked, key=lambda row: row["rank"])
    if name not in rows:
        raise unknown_name(f"teacher on {url}", name, rows)
    row = rows[name]
    if row["status"] != Status.OK:
        raise UserError(f"teacher '{name}' cannot teach: it is {row['status']}: {row['reason']}")
    return row


def _found(row: dict[str, Any], weight: float, demo: Storage) -> ChosenTeacher:
    address = row["repository"]
    of_demo = address.startswith(DEMO_SCHEME)
    repository = demo_repository(demo) if of_demo else reopen(address, row["teacher"])
    cards = {card.teacher: card for card in repository.cards()}
    card = cards.get(row["teacher"])
    if not isinstance(card, TeacherCard):
        raise UserError(
            f"teacher '{row['teacher']}' is not in {row['repository']} any more: assess again"
        )
    return ChosenTeacher(card, repository, row["teacher_digest"], weight)
