"""A repository: any place that lists teacher cards and hands out their weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from rayxkd.cache import LocalCache
from rayxkd.storage import Storage
from rayxkd.teachers.card import RejectedCard, TeacherCard

Card = TeacherCard | RejectedCard


class Repository(ABC):
    """A place with teachers. It is small and can be pickled: each job of a scan holds its own.

    Attributes:
        address: what a leaderboard records, without secrets.
        prefix: what its teachers' names begin with.
    """

    address: str
    prefix: str

    @abstractmethod
    def cards(self, tell: Callable[[int, int], object] = lambda *_: None) -> list[Card]:
        """The card of every teacher, without its weights.

        Args:
            tell: is told how many cards of how many are read, now and then.

        Raises:
            UserError: nothing is there, it cannot be read, or it holds no teacher.
        """

    @abstractmethod
    def weights(
        self, card: TeacherCard, cache: LocalCache | None = None, version: str = ""
    ) -> AbstractContextManager[Path]:
        """The weights file of one of the cards as a local path, for as long as it is used.

        Args:
            card: whose weights.
            cache: where copies of remote files are kept, by repositories without a cache of their
                own; without, a copy is removed afterwards.
            version: a mark of the file: another one is copied anew.

        Raises:
            TeacherError: it cannot be read.
        """

    @property
    def places(self) -> tuple[Storage, ...]:
        """Files that every machine of a cluster must be able to read."""
        return ()


class SelectingRepository(Repository):
    """One place of which an address selects teachers."""

    @abstractmethod
    def joined(self, other: Self) -> Self:
        """What either selects."""
