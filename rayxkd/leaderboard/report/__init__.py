"""A leaderboard as one page that can be mailed around: ``python -m rayxkd.leaderboard report``."""

from rayxkd.leaderboard.report.page import (
    Live,
    explain_html,
    page_policy,
    report_html,
    waiting_html,
)

__all__ = ["Live", "explain_html", "page_policy", "report_html", "waiting_html"]
