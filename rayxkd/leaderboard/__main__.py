"""``python -m rayxkd.leaderboard``."""

from __future__ import annotations

import sys

from rayxkd.console import run_app
from rayxkd.leaderboard.commands import app

if __name__ == "__main__":
    sys.exit(run_app(app))
