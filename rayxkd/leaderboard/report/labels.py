"""Labels beside points, none of which covers another or a point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_CHARACTER, _LINE = 5.9, 13.0  # of the figures' type, in their units


@dataclass(frozen=True)
class Label:
    """A label that found room.

    Attributes:
        text: what it says.
        x: where it begins, or ends if it is to the left.
        y: of its middle.
        is_left: whether it ends at ``x``.
    """

    text: str
    x: float
    y: float
    is_left: bool


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they have any place in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies within it."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def placed(
    wanted: Iterable[tuple[str, float, float]], marks: Sequence[Box], bounds: Box, gap: float = 8
) -> list[Label]:
    """Place as many labels as there is room for, the first of them first.

    Args:
        wanted: text and point of each.
        marks: what no label may cover.
        bounds: what every label stays in.
        gap: between a point and its label.
    """
    taken, labels = list(marks), []
    for text, x, y in wanted:
        for label, box in _candidates(text, x, y, gap):
            if bounds.holds(box) and not any(box.meets(one) for one in taken):
                taken.append(box)
                labels.append(label)
                break
    return labels


def _candidates(text: str, x: float, y: float, gap: float) -> Iterable[tuple[Label, Box]]:
    """To the right, to the left, and both again a line higher or lower."""
    width = _CHARACTER * len(text)
    for shift in (0.0, -_LINE, _LINE, -1.8 * _LINE, 1.8 * _LINE):
        aside = gap if not shift else gap / 2
        for is_left in (False, True):
            start = x - aside - width if is_left else x + aside
            middle = y + shift
            box = Box(start, middle - _LINE / 2, start + width, middle + _LINE / 2)
            yield Label(text, x - aside if is_left else x + aside, middle, is_left), box
