"""A leaderboard as one page that can be mailed around: ``python -m rayxkd.leaderboard report``."""

from rayxkd.leaderboard.report.page import Live, report_html

__all__ = ["Live", "report_html"]
