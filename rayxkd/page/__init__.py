"""Pages that are one file: what every report shares, whatever it reports.

``templates/page.html`` and ``page.css`` are the skeleton and ``parts.html`` the pieces.
"""

from rayxkd.page.axis import MINUS, Axis, Tick, fixed
from rayxkd.page.environment import breakable, digest_of, environment, listed

__all__ = ["MINUS", "Axis", "Tick", "breakable", "digest_of", "environment", "fixed", "listed"]
