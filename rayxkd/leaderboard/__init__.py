"""The leaderboard: a directory with a Parquet table, its journal, and its readers."""

from __future__ import annotations

from rayxkd.leaderboard.assessment import Assessment
from rayxkd.leaderboard.board import TEACHERS_KIND, Leaderboard
from rayxkd.leaderboard.journal import TABLE_FILE, Journal
from rayxkd.leaderboard.render import print_table, render, select
from rayxkd.leaderboard.schema import leaderboard_schema, parquet_of
from rayxkd.leaderboard.search import TrialRow, TrialStatus, ranked_trials, search_table

__all__ = [
    "TABLE_FILE",
    "TEACHERS_KIND",
    "Assessment",
    "Journal",
    "Leaderboard",
    "TrialRow",
    "TrialStatus",
    "leaderboard_schema",
    "parquet_of",
    "print_table",
    "ranked_trials",
    "render",
    "search_table",
    "select",
]
