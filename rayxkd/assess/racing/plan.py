"""How a race is laid out: the parts of the probe set, and how many teachers a budget lets go on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rayxkd.assess.racing.order import FEWEST_OF_A_CLASS
from rayxkd.errors import UserError

# The first part: a share of the images, and images of each class below which costs say little.
_FIRST_SHARE, _FIRST_OF_A_CLASS = 0.125, 5
# At most so much of a budget goes into the first part.
_FIRST_OF_BUDGET = 2 / 3
_GROWTH = 2
# A part that is larger than this share of the images would save little: all are asked instead.
_LAST_PART = 0.6


@dataclass(frozen=True)
class Plan:
    """What a race does.

    Attributes:
        parts: how many images each round has seen at its end, ascending; the last is N.
        budget: images that may go through teachers in all; ``None`` is no limit.
        keep: how many teachers are to be seen through to the last image.
        error: chance that intervals alone may put one of the best out.
    """

    parts: tuple[int, ...]
    budget: int | None
    keep: int
    error: float = 0.05

    @property
    def images(self) -> int:
        """N."""
        return self.parts[-1]

    @classmethod
    def of(cls, teachers: int, images: int, classes: int, budget: int | None, keep: int) -> Plan:
        """Lay out a race.

        The first part is an eighth of the images, or less where two thirds of the budget do not
        suffice for it; each further part is twice as large.

        Args:
            teachers: T.
            images: N.
            classes: M, with two images each at least.
            budget: in images; ``None`` where it is not known in advance.
            keep: how many of the best are wanted.

        Raises:
            UserError: the budget does not suffice for two images of every class and every
                teacher, and all images of ``keep`` of them.
        """
        keep = min(keep, teachers)
        if budget is not None and budget >= teachers * images:
            return cls((images,), budget, keep)
        least = FEWEST_OF_A_CLASS * classes
        first = max(math.ceil(_FIRST_SHARE * images), _FIRST_OF_A_CLASS * classes)
        if budget is not None:
            rest = budget - keep * images
            spare = rest // (teachers - keep) if teachers > keep else 0
            first = min(first, max(least, int(_FIRST_OF_BUDGET * budget / teachers)), spare)
            if first < least:
                needed = keep * images + (teachers - keep) * least
                raise UserError(
                    f"--budget allows {budget} images: a race of {teachers} teachers needs "
                    f"{needed} ({least} for each, all {images} for the best {keep}); give more, "
                    "or a smaller --probe-size"
                )
        parts = [first]
        while parts[-1] * _GROWTH <= _LAST_PART * images:
            parts.append(parts[-1] * _GROWTH)
        if parts[0] >= images:
            return cls((images,), budget, keep)
        return cls((*parts, images), budget, keep)

    def affordable(self, contenders: int, done: int, spent: int) -> int:
        """How many contenders may go on to the next part.

        All of them where the budget suffices to see them through. Else the rest of it is dealt out
        equally to the rounds that are left, as in sequential halving (Karnin, Koren and Somekh,
        ICML 2013), but so that ``keep`` of them can be seen through.

        Args:
            contenders: how many there are.
            done: rounds done, fewer than there are parts.
            spent: images so far.
        """
        if self.budget is None:
            return contenders
        rest = self.budget - spent
        now, following = self.parts[done - 1], self.parts[done]
        if contenders * (self.images - now) <= rest:
            return contenders
        step = following - now
        equal = rest // (len(self.parts) - done) // step
        most = (rest - self.keep * (self.images - following)) // step
        return max(min(self.keep, contenders), min(equal, most, contenders))
