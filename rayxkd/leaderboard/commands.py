"""The commands of ``python -m rayxkd.leaderboard``."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from cyclopts import App, Parameter

from rayxkd.console import EXIT_FAILED, EXIT_OK, literal, output_console, write_output
from rayxkd.errors import UserError
from rayxkd.leaderboard import diff as difference
from rayxkd.leaderboard import explain as explanations
from rayxkd.leaderboard import export as exports
from rayxkd.leaderboard import merge as merges
from rayxkd.leaderboard import verify as checks
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.diff_table import print_difference
from rayxkd.leaderboard.explain_view import explanation_json, print_explanation
from rayxkd.leaderboard.render import print_table, render, select
from rayxkd.leaderboard.watch import watch as watch_board
from rayxkd.storage import Storage

app = App(name="leaderboard", help="Read a leaderboard.", version_flags=[])

_Board = Annotated[str, Parameter(help="Directory or URL that a scan wrote.")]
# A switch without a --no- form; an option that takes several values after its name.
_Switch = Annotated[bool, Parameter(negative=())]
_Several = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())]


@app.command
def show(
    url: _Board,
    *,
    format: Literal["table", "json", "csv", "markdown"] = "table",
    top: int | None = None,
    status: str | None = None,
    where: str | None = None,
    sort: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    descending: _Switch = False,
    watch: _Switch = False,
    every: float = 2.0,
) -> None:
    """Print a leaderboard.

    Parameters
    ----------
    format
        For people, or for programs.
    top
        Only the first rows; a table for people has 500 without it.
    status
        Only rows of this status, such as ok or invalid.
    where
        Only rows for which this SQL expression is true, such as
        "num_classes < 100 and license = 'apache-2.0'". Besides the table's columns there are
        images_per_second and seconds_per_image. Needs DuckDB.
    sort
        By this column, the better value first; with a - in front the other way round.
    descending
        The largest value first, whichever is better.
    watch
        Redraw until the scan has written its table, or until Ctrl-C.
    every
        Seconds between two looks of --watch.
    """
    choose = partial(select, status=status, where=where, sort=sort, descending=descending)
    if format != "table":
        if watch:
            raise UserError(f"--watch draws a table: leave out --watch or --format {format}")
        write_output(render(choose(Leaderboard.open(url), top=top), format))
    elif watch:
        watch_board(url, output_console(), choose, every=every, top=top)
    else:
        print_table(choose(Leaderboard.open(url)), output_console(), top=top)


@app.command
def explain(url: _Board, teacher: str, *, format: Literal["text", "json"] = "text") -> None:
    """Tell why a teacher has its rank: what carries what, its worst images, and how sure it is.

    Parameters
    ----------
    teacher
        Its name, or the last part of it where no other has the same; best for the leader.
    format
        For people, or for programs.
    """
    found = explanations.explain(Leaderboard.open(url), teacher)
    if format == "json":
        write_output(explanation_json(found))
    else:
        print_explanation(found, output_console())


@app.command
def export(
    url: _Board,
    *,
    format: exports.Format,
    out: str | None = None,
    top: int | None = None,
    license: str = "unknown",
    overwrite: _Switch = False,
) -> None:
    """Write a leaderboard for other programs, for a paper, or as a data set of a hub.

    Parameters
    ----------
    format
        csv, json and jsonl hold every column; markdown and latex what people see; datasets is a
        folder that the datasets library loads.
    out
        File, folder or URL; by default standard output.
    top
        Only the first rows.
    license
        Of the table, for datasets: an identifier of the hub.
    overwrite
        Replace what is there.
    """
    board = select(Leaderboard.open(url), top=top)
    exports.export(board, format, out, overwrite=overwrite, license=license)


@app.command
def merge(*urls: str, out: str) -> None:
    """Unite leaderboards of one probe set and one configuration; of one teacher the newest row.

    Parameters
    ----------
    urls
        Directories or URLs that scans wrote.
    out
        Directory or URL of the new leaderboard, with which a scan can go on.
    """
    done = merges.merge(urls, out)
    replaced = f", {done.replaced} row(s) replaced by newer ones" if done.replaced else ""
    count = f"{done.leaderboard.table.num_rows} teachers of {len(urls)} leaderboards{replaced}"
    console = output_console()
    console.print(literal(count), soft_wrap=True)
    console.print(literal(f"leaderboard: {done.leaderboard.url}"), soft_wrap=True)


@app.command
def rebuild(url: _Board) -> None:
    """Make the table anew from the journal, such as after a scan was killed."""
    done = merges.rebuild(url)
    parts = [
        f"{done.leaderboard.table.num_rows} teachers",
        f"{len(done.unreadable)} part(s) unreadable",
        f"{done.outdated} of an older configuration left out" if done.outdated else "",
    ]
    console = output_console()
    console.print(literal(", ".join(part for part in parts if part)), soft_wrap=True)
    for name in done.unreadable:
        console.print(literal(f"unreadable: {name}"), soft_wrap=True)
    console.print(literal(f"leaderboard: {done.leaderboard.url}"), soft_wrap=True)


@app.command
def verify(url: _Board, *, repository: _Several = (), digests: _Switch = False) -> int:
    """Check that a leaderboard is what it says it is; a line for each check.

    Parameters
    ----------
    repository
        Check too that every teacher of these repositories has its row, and the other way round.
    digests
        Read the teachers' weights, and compare their SHA-256 with that of the rows.
    """
    console, passed = output_console(), True
    for finding in checks.verify(url, repository, digests=digests):
        word, style = ("ok    ", "green") if finding.passed else ("FAILED", "bold red")
        line = literal(word, style) + literal(f"  {finding.name:<10}  {finding.detail}", "default")
        console.print(line, soft_wrap=True)
        passed = passed and finding.passed
    return EXIT_OK if passed else EXIT_FAILED


@app.command
def diff(
    before: _Board, after: _Board, *, format: Literal["table", "json"] = "table", top: int = 30
) -> None:
    """Tell what changed from one leaderboard to another.

    Parameters
    ----------
    format
        For people, or for programs.
    top
        How many teachers of each kind are printed for people.
    """
    found = difference.compare(Leaderboard.open(before), Leaderboard.open(after))
    if format == "json":
        write_output(found.as_json())
    else:
        print_difference(found, output_console(), top)


@app.command
def report(url: _Board, *, out: str = "report.html", overwrite: _Switch = False) -> None:
    """Write a leaderboard as one HTML page that fetches nothing, to be opened or mailed.

    Parameters
    ----------
    out
        File or URL.
    overwrite
        Replace what is there.
    """
    from rayxkd.leaderboard.report import report_html  # its templates take time to be compiled

    target = Storage.at(out)
    page = report_html(Leaderboard.open(url))
    exports.write_files(target, {"": page}, [""], overwrite=overwrite)
    output_console().print(literal(f"report: {target.url}"), soft_wrap=True)


@app.command
def serve(
    url: _Board,
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    every: float = 2.0,
    token: Annotated[str | None, Parameter(env_var="RAYXKD_TOKEN")] = None,
) -> None:
    """Show the report on a local web page that follows a running scan. Needs rayxkd[serve].

    Parameters
    ----------
    port
        By default the first that is free from 8270 on.
    host
        On which to listen; where others can reach it, whoever asks needs a token.
    every
        Seconds between two looks.
    token
        What whoever asks has to know; for other hosts than this machine one is made. The
        environment variable keeps it out of lists of processes.
    """
    from rayxkd.leaderboard.serve import serve as run_server

    run_server(url, output_console(), host=host, port=port, every=every, token=token)
