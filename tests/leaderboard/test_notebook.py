"""A leaderboard in a notebook."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pytest

from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard
from tests.leaderboard.written import NASTY_NAMES, row, write_board, write_search


@pytest.fixture
def board(tmp_path) -> Leaderboard:
    """Forty teachers: first the hostile names, the first five of them tied; and a failure."""
    names = [*NASTY_NAMES, *(f"zoo/t{number:02}" for number in range(40 - len(NASTY_NAMES)))]
    rows = [row(name, cost=1.0 + place * 0.045) for place, name in enumerate(names)]
    return Leaderboard.open(write_board(tmp_path / "b", *rows, row("zoo/broken")))


class Page(HTMLParser):
    """Tags and cells of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, _):
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "td"

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


def test_the_first_rows_are_shown_and_how_many_more_there_are(board):
    text = board._repr_html_()
    page = Page(text)
    assert page.cells[:5] == ["1=", NASTY_NAMES[0], "1.000", "[0.900, 1.100]", "ok"]
    assert len(page.cells) == 5 * 10
    assert "and 31 more rows" in text


def test_no_name_is_html_and_none_begins_a_formula(board):
    text = board._repr_html_()
    allowed = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "wbr"}
    assert Page(text).tags <= allowed
    assert "$" not in text
    assert "\x1b" not in text
    shown = [name.replace("\n", r"\n").replace("\t", r"\t") for name in NASTY_NAMES]
    assert Page(text).cells[1::5][: len(shown)] == [name.replace("\x1b", r"\x1b") for name in shown]


def test_a_search_and_an_empty_table_are_shown(tmp_path):
    page = Page(Leaderboard.open(write_search(tmp_path / "search"))._repr_html_())
    assert page.cells[:5] == ["1", "0", "0.900", "[0.800, 0.950]", "ok"]
    text = Leaderboard.open(write_board(tmp_path / "b"))._repr_html_()
    assert "0 rows" in text
    assert "more" not in text


def test_polars_holds_the_same(board):
    frame = board.to_polars()
    assert frame.columns == board.table.column_names
    assert frame["teacher"].to_list() == board.table["teacher"].to_pylist()


def test_without_polars_it_is_told(board, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UserError, match="needs Polars, which is missing: install polars"):
        board.to_polars()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_best_thirty_are_drawn_with_what_is_tied(board):
    figure = board.plot()
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 30
    assert labels[2] == f"3  {NASTY_NAMES[2]}"
    assert labels[6] == r"7  zoo/two\nlines\tand\x1b[31mred"
    tied = [flag for flag in board.table["tied"].to_pylist() if flag]
    assert len(axes.patches) == len(tied) == 5
    assert axes.get_xlabel() == (
        "transport cost (nats), lower is better; shaded: tied with the first"
    )
    (points, *_), (bars, *_) = axes.lines, axes.collections
    assert list(points.get_xdata())[:2] == [1.0, 1.045]
    low, high = bars.get_segments()[0]
    assert (low[0], high[0]) == pytest.approx((0.9, 1.1))
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_search_is_drawn(tmp_path):
    (axes,) = Leaderboard.open(write_search(tmp_path / "search")).plot().axes
    assert axes.get_xlabel() == "accuracy, higher is better"


def test_costs_without_intervals_are_drawn(tmp_path):
    bare = {"transport_cost_low": None, "transport_cost_high": None}
    board = Leaderboard.open(write_board(tmp_path / "b", row("a", cost=1.0, **bare)))
    assert len(board.plot().axes[0].patches) == 0


def test_where_nobody_is_ok_nothing_is_drawn(tmp_path):
    with pytest.raises(UserError, match=r"nothing to plot on .*: no row is ok"):
        Leaderboard.open(write_board(tmp_path / "b", row("x"))).plot()


def test_drawing_leaves_pyplot_alone(tmp_path):
    address = write_board(tmp_path / "b", row("a", cost=1.0))
    code = (
        "import sys\nfrom rayxkd.leaderboard import Leaderboard\n"
        f"board = Leaderboard.open({address!r})\nassert 'matplotlib' not in sys.modules\n"
        "board.plot()._repr_png_()\nsys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
