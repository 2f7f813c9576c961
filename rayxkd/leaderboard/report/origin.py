"""How a leaderboard was made, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.report.counts import counted
from rayxkd.secrets import recordable, without_secrets

_FEW = 4  # distinct values of a digest that are named


@dataclass(frozen=True)
class Origin:
    """How a leaderboard was made.

    Attributes:
        command: that makes it again.
        digests: what is the same in all rows, or what there is, by name.
        about: all that is noted in its file.
    """

    command: str
    digests: Mapping[str, tuple[str, ...]]
    about: Mapping[str, Any]

    @classmethod
    def of(cls, board: Leaderboard) -> Origin:
        """Where the rows of a leaderboard come from; addresses lose their secrets."""
        about = recordable(dict(board.about))
        names = ("probe_digest", "config_digest", "rayxkd_version")
        digests = {
            name.replace("_", " ").replace("digest", "digest (SHA-256)"): tuple(
                value for value, _ in counted(board.table[name])[:_FEW]
            )
            for name in names
        }
        return cls(_command(board, about.get("settings", {})), digests, about)


def _command(board: Leaderboard, settings: Mapping[str, Any]) -> str:
    """The command of the scan; what has no value is left out."""
    repositories = [value for value, _ in counted(board.table["repository"])]
    options = {"repository": list(map(without_secrets, repositories)), **settings}
    options["out"] = board.url
    lines = ["python jobs/assess.py"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            lines += [option] if value else []
        elif isinstance(value, list | tuple):
            lines += [shlex.join([option, *map(str, value)])] if value else []
        elif value is not None:
            lines.append(shlex.join([option, str(value)]))
    return " \\\n  ".join(lines)
