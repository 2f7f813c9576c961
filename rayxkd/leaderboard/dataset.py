"""A leaderboard in the layout of data sets on the Hugging Face hub."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import yaml

from rayxkd.console import plain
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.schema import Meaning, parquet_of

README_FILE = "README.md"
DATA_FILE = "data/train-00000-of-00001.parquet"

_MARKS = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]#|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


def dataset_files(board: Leaderboard, license: str) -> dict[str, bytes]:
    """Relative path to content: the table, and a card that says what its columns mean.

    Args:
        board: the leaderboard.
        license: of the table, an identifier of the hub.
    """
    card = f"---\n{_header(board, license)}---\n\n{_description(board)}"
    return {README_FILE: card.encode(), DATA_FILE: parquet_of(board.table)}


def _header(board: Leaderboard, license: str) -> str:
    header: dict[str, Any] = {
        "license": license,
        "pretty_name": f"Leaderboard of {board.kind}",
        "tags": ["leaderboard", "transfer-learning", "rayxkd"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILE}]}
        ],
    }
    return str(yaml.safe_dump(header, sort_keys=False, allow_unicode=True))


def _description(board: Leaderboard) -> str:
    lines = [
        f"# Leaderboard of {board.kind}",
        "",
        f"{board.table.num_rows} rows, made by rayxkd.",
        "",
        *(f"- {_literal(title)}: {_literal(str(value))}" for title, value in _facts(board)),
        "",
        "| column | type | unit | better | meaning |",
        "| --- | --- | --- | --- | --- |",
        *(_column(field) for field in board.table.schema),
    ]
    return "\n".join(lines) + "\n"


def _facts(board: Leaderboard) -> list[tuple[str, Any]]:
    """What is known of how it was made."""
    about = board.about
    facts = [("probe set", about.get("probe")), ("images", about.get("probe_images"))]
    classes = about.get("class_names")
    if classes:
        facts.append(("classes", f"{len(classes)}: {', '.join(classes[:20])}"))
    settings = about.get("settings")
    if isinstance(settings, dict):
        facts += [(f"--{name}", value) for name, value in settings.items()]
    return [(title, value) for title, value in facts if value not in (None, [], "")]


def _column(field: pa.Field) -> str:
    meaning = Meaning.of(field)
    words = [field.name, str(field.type), meaning.unit, meaning.better, meaning.description]
    return "| " + " | ".join(map(_literal, words)) + " |"


def _literal(text: str) -> str:
    """Text of others, which is neither Markdown nor HTML."""
    return plain(text).translate(_MARKS)
