"""A leaderboard on a local web page that follows its scan: ``python -m rayxkd.leaderboard serve``.

Needs the extra ``serve``.
"""

from rayxkd.leaderboard.serve.run import serve

__all__ = ["serve"]
