"""What changed between two leaderboards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rayxkd.errors import UserError
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.values import json_value
from rayxkd.status import Status

Row = dict[str, Any]
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Place:
    """A teacher that stands on one of the two only.

    Attributes:
        teacher: its name.
        rank: on that leaderboard, if it has one.
        status: likewise.
        reason: why it failed.
    """

    teacher: str
    rank: int | None
    status: str
    reason: str

    @classmethod
    def of(cls, row: Row) -> Place:
        """Of a row."""
        return cls(row["teacher"], row["rank"], row["status"], row["reason"] or "")


@dataclass(frozen=True)
class Move:
    """A teacher that was ok before and after, and whose rank, cost or weights changed.

    Attributes:
        teacher: its name.
        rank: before and after.
        cost: likewise.
        overlap: whether the two intervals of its cost overlap; ``None`` where one is not known.
        weights_changed: whether its digest is another.
    """

    teacher: str
    rank: tuple[int, int]
    cost: tuple[float, float]
    overlap: bool | None
    weights_changed: bool


@dataclass
class Difference:
    """What changed from one leaderboard to another.

    Attributes:
        before: address of the first.
        after: address of the second.
        comparable: whether probe set and configuration are the same, so that costs can be compared.
        came: teachers that are on the second only.
        went: teachers that are on the first only.
        moved: as in :class:`Move`, the largest change of rank first.
        failed: teachers that were ok and are no longer, as they are after.
        mended: teachers that are ok now, as they are after.
        weights: teachers whose card or weights changed.
        unchanged: how many teachers are as they were.
        settings: option to its values before and after.
        facts: what else changed, by name, before and after: digests, images, metrics, versions.
    """

    before: str
    after: str
    comparable: bool
    came: list[Place] = field(default_factory=list)
    went: list[Place] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)
    failed: list[Place] = field(default_factory=list)
    mended: list[Place] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    unchanged: int = 0
    settings: dict[str, Pair] = field(default_factory=dict)
    facts: dict[str, Pair] = field(default_factory=dict)

    def as_json(self) -> str:
        """For programs."""
        return json.dumps(_finite(asdict(self)), indent=1, allow_nan=False) + "\n"


def compare(before: Leaderboard, after: Leaderboard) -> Difference:
    """What changed. Teachers are known by their names.

    Raises:
        UserError: one of the two holds the trials of a search, or is damaged.
    """
    earlier, later = _rows(before), _rows(after)
    facts = _facts(before, after)
    same_task = not {"probe_digest", "config_digest"} & facts.keys()
    found = Difference(before.url, after.url, same_task, facts=facts)
    found.settings = _changes(before.about.get("settings") or {}, after.about.get("settings") or {})
    found.came = [Place.of(row) for name, row in later.items() if name not in earlier]
    found.went = [Place.of(row) for name, row in earlier.items() if name not in later]
    for name in earlier:
        if name in later:
            _compare_rows(earlier[name], later[name], found)
    found.moved.sort(key=lambda move: (-abs(move.rank[1] - move.rank[0]), move.rank[1]))
    return found


def _rows(board: Leaderboard) -> dict[str, Row]:
    rows = board.teachers_for("diff").table.to_pylist()
    for row in rows:
        if row["status"] == Status.OK and None in (row["rank"], row["transport_cost"]):
            raise UserError(
                f"{board.url} is damaged: '{row['teacher']}' is ok without a rank or a cost; "
                "verify tells more"
            )
    return {row["teacher"]: row for row in rows}


def _compare_rows(one: Row, other: Row, found: Difference) -> None:
    was_ok, is_ok = (row["status"] == Status.OK for row in (one, other))
    other_weights = _weights_changed(one, other)
    if other_weights:
        found.weights.append(one["teacher"])
    if was_ok and is_ok:
        same = (one["rank"], one["transport_cost"]) == (other["rank"], other["transport_cost"])
        if not same or other_weights:
            found.moved.append(_move(one, other, other_weights))
            return
    elif was_ok or is_ok:
        (found.mended if is_ok else found.failed).append(Place.of(other))
        return
    elif one["status"] != other["status"]:
        found.failed.append(Place.of(other))
        return
    found.unchanged += 1


def _move(one: Row, other: Row, weights_changed: bool) -> Move:
    return Move(
        one["teacher"],
        (one["rank"], other["rank"]),
        (one["transport_cost"], other["transport_cost"]),
        _overlap(one, other),
        weights_changed,
    )


def _overlap(one: Row, other: Row) -> bool | None:
    ends = [row[f"transport_cost_{end}"] for row in (one, other) for end in ("low", "high")]
    if None in ends:
        return None
    low, high, other_low, other_high = ends
    return bool(low <= other_high and other_low <= high)


def _weights_changed(one: Row, other: Row) -> bool:
    """A teacher that could not be read has no digest."""
    digests = one["teacher_digest"], other["teacher_digest"]
    return all(digests) and digests[0] != digests[1]


def _facts(before: Leaderboard, after: Leaderboard) -> dict[str, Pair]:
    return _changes(_facts_of(before), _facts_of(after))


def _facts_of(board: Leaderboard) -> dict[str, Any]:
    """What all rows have in common."""
    about = board.about
    return {
        "probe": about.get("probe"),
        "probe_digest": _values(board, "probe_digest"),
        "probe_images": about.get("probe_images"),
        "class_names": about.get("class_names"),
        "config_digest": _values(board, "config_digest"),
        "metrics": list(board.metrics),
        "rayxkd_version": _values(board, "rayxkd_version"),
    }


def _values(board: Leaderboard, column: str) -> list[str]:
    return sorted(filter(None, board.table[column].unique().to_pylist()))


def _changes(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Pair]:
    names: Sequence[str] = list(dict.fromkeys([*one, *other]))
    return {
        name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return json_value(value)
