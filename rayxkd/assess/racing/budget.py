"""What a scan may spend: a time, a number of images, or a share of what all teachers would take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from rayxkd.errors import UserError

_AMOUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|img|images?)")


@dataclass(frozen=True)
class Budget:
    """One of three limits; the other two are ``None``.

    Attributes:
        seconds: of wall-clock time.
        images: that go through teachers, summed over teachers.
        share: of the images of the exhaustive scan, above 0 and at most 1.
    """

    seconds: float | None = None
    images: int | None = None
    share: float | None = None

    @classmethod
    def of(cls, given: timedelta | str) -> Budget:
        """Read an option.

        Args:
            given: a time, or text such as ``30%``, ``20000img`` or ``20000 images``.

        Raises:
            UserError: it is none of these, or nothing can be done with it.
        """
        if isinstance(given, timedelta):
            if given <= timedelta(0):
                raise UserError(f"--budget must be above zero, not {given.total_seconds():g} s")
            return cls(seconds=given.total_seconds())
        found = _AMOUNT.fullmatch(given.strip())
        if found is None:
            raise UserError(
                f"--budget {given} is not understood: give a time (30m, 2h), a number of images "
                "(20000img) or a share of the exhaustive scan's images (30%)"
            )
        number = float(found["number"])
        if found["unit"] == "%":
            if not 0 < number <= 100:
                raise UserError(f"--budget {given} must lie above 0 % and be at most 100 %")
            return cls(share=number / 100)
        if number < 1 or number != int(number):
            raise UserError(f"--budget {given} must be a whole number of images above zero")
        return cls(images=int(number))

    def images_of(self, exhaustive: int) -> int | None:
        """How many images that are of an exhaustive scan's; ``None`` where time is the limit."""
        if self.share is not None:
            return int(self.share * exhaustive + 1e-9)
        return self.images
