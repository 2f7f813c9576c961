r"""A leaderboard for a paper: a booktabs table that compiles with every engine.

Names are other people's: whatever TeX would obey is escaped. Characters that pdfTeX does not know
are left to engines that do; it prints their number.
"""

from __future__ import annotations

from typing import Any

from rayxkd.console import plain
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.values import interval, number

# A longer table goes over several pages.
_ROWS_OF_A_PAGE = 50
_COLUMNS = (
    *("rank", "tied", "teacher", "transport_cost", "transport_cost_low", "transport_cost_high"),
    *("relative_cost", "num_classes", "parameters", "status"),
)

_HEAD = r"""% \usepackage{booktabs,longtable}
\providecommand{\rayxkdchar}[1]{\ifdefined\Umathcode\char"#1\relax\else[U+#1]\fi}
"""

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # Two of them in a row would become another character, and packages give some a meaning.
    "-": "-{}",
    '"': r"{\char34}",
    "'": r"{\char39}",
    "`": r"{\char96}",
    # After a line's end these would be arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{mark: f"\\{mark}" for mark in "{}$&#_%"},
}
# Letters that the oldest font encoding has.
_LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")


def latex_table(board: Leaderboard) -> str:
    """A table of ranks, costs with intervals, metrics and sizes.

    Up to 50 rows are a ``tabular``, more a ``longtable``.

    Raises:
        UserError: it holds no teachers.
    """
    board.teachers_for("a LaTeX table")
    titles = ["", "teacher", "cost", r"95\,\% interval", "relative"]
    titles += [*map(escaped, board.metrics), "classes", "parameters", "status"]
    aligned = "rlrlr" + "r" * len(board.metrics) + "rrl"
    head = " & ".join(titles) + r" \\"
    rows = board.table.select([*_COLUMNS, *board.metrics]).to_pylist()
    lines = [" & ".join(_cells(row, board.metrics)) + r" \\" for row in rows]
    if len(rows) > _ROWS_OF_A_PAGE:
        begin = [rf"\begin{{longtable}}{{{aligned}}}", r"\toprule", head, r"\midrule"]
        begin += [r"\endhead", r"\bottomrule", r"\endlastfoot"]
        end = [r"\end{longtable}"]
    else:
        begin = [rf"\begin{{tabular}}{{{aligned}}}", r"\toprule", head, r"\midrule"]
        end = [r"\bottomrule", r"\end{tabular}"]
    return _HEAD + "\n".join([*begin, *lines, *end]) + "\n"


def escaped(text: str) -> str:
    """Text of others that TeX prints and does not obey."""
    return plain(text).translate(_TABLE)


class _Table(dict[int, str]):
    """Characters to what stands for them; each is worked out once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = character in _LETTERS or (character.isascii() and character not in _ESCAPED)
        self[code] = _ESCAPED.get(character, character if kept else rf"\rayxkdchar{{{code:04X}}}")
        return self[code]


_TABLE = _Table()


def _cells(row: dict[str, Any], metrics: tuple[str, ...]) -> list[str]:
    rank = "" if row["rank"] is None else f"{row['rank']}{'$^{=}$' if row['tied'] else ''}"
    between = interval(row["transport_cost_low"], row["transport_cost_high"])
    return [
        rank,
        escaped(row["teacher"]),
        _number(row["transport_cost"]),
        f"${between}$" if between else "",
        _number(row["relative_cost"]),
        *(_number(row[metric]) for metric in metrics),
        number(row["num_classes"], "d"),
        number(row["parameters"], "d"),
        escaped(row["status"]),
    ]


def _number(value: float | None) -> str:
    """In mathematics, for its minus sign."""
    return "" if value is None else f"${value:.3f}$"
