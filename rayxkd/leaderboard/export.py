"""A leaderboard for elsewhere: files for programs, tables for papers, a data set for a hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rayxkd.console import write_output
from rayxkd.errors import UserError
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.dataset import DATA_FILE, README_FILE, dataset_files
from rayxkd.leaderboard.latex import latex_table
from rayxkd.leaderboard.render import render
from rayxkd.leaderboard.values import json_lines
from rayxkd.storage import Storage

Format = Literal["csv", "json", "jsonl", "markdown", "latex", "datasets"]


def export(
    board: Leaderboard,
    form: Format,
    out: str | None = None,
    *,
    overwrite: bool = False,
    license: str = "unknown",
) -> None:
    """Write a leaderboard in another format.

    Args:
        board: the leaderboard.
        form: every column as ``csv``, ``json`` or ``jsonl``; what people see as ``markdown`` or
            ``latex``; or ``datasets``, a folder that the library of that name loads.
        out: path or URL; without one, standard output.
        overwrite: replace what is there.
        license: of the table, for ``datasets``.

    Raises:
        UserError: there is something already, or it cannot be written.
    """
    if form == "datasets":
        if out is None:
            raise UserError("--format datasets makes a folder: give one with --out")
        files = dataset_files(board, license)
        write_files(Storage.at(out), files, [README_FILE, DATA_FILE], overwrite=overwrite)
    elif out is None:
        write_output(exported(board, form))
    else:
        write_files(
            Storage.at(out), {"": exported(board, form).encode()}, [""], overwrite=overwrite
        )


def exported(board: Leaderboard, form: Format) -> str:
    """The text of any format but ``datasets``."""
    own: dict[str, Callable[[Leaderboard], str]] = {
        "jsonl": _json_lines,
        "latex": latex_table,
    }
    return own[form](board) if form in own else render(board, form)


def _json_lines(board: Leaderboard) -> str:
    return "".join(f"{line}\n" for line in json_lines(board.table))


def write_files(
    target: Storage, files: dict[str, bytes], order: list[str], *, overwrite: bool
) -> None:
    """Write files of one target; what else lies there is never touched.

    Args:
        target: folder, or a file by itself.
        files: content of each, by name; ``""`` is the target itself.
        order: in which they are written.
        overwrite: replace what is there.

    Raises:
        UserError: there is something already, or it cannot be written.
    """
    try:
        target.refresh()
        if target.exists():
            _check_replaceable(target, set(files), overwrite=overwrite)
        for name in order:
            target.write(name, files[name])
    except OSError as error:
        raise UserError(f"--out {target.url} cannot be written: {error}") from error


def _check_replaceable(target: Storage, names: set[str], *, overwrite: bool) -> None:
    is_file, present = target.is_file(), target.find()
    if is_file != ("" in names) and (present or target.is_local):
        kind = "a file" if is_file else "a folder"
        raise UserError(f"--out {target.url} is {kind}: give another path")
    if present and not overwrite:
        raise UserError(f"--out {target.url} is there already: replace it with --overwrite")
