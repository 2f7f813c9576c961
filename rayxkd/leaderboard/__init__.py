"""The leaderboard: a directory with a Parquet table, its journal, and its readers."""

from __future__ import annotations

from rayxkd.leaderboard.assessment import Assessment
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.journal import Journal
from rayxkd.leaderboard.render import print_table, render, select
from rayxkd.leaderboard.schema import leaderboard_schema

__all__ = [
    "Assessment",
    "Journal",
    "Leaderboard",
    "leaderboard_schema",
    "print_table",
    "render",
    "select",
]
