"""Taking a `torch.export` archive apart and putting it together in another shape."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLE = "data/sample_inputs/model.pt"


@dataclass(frozen=True)
class Canary:
    """A file that is there when somebody ran our code."""

    path: Path

    @property
    def code(self) -> str:
        """A Python expression that makes the file; no dot in it."""
        return f"open('{self.path}', 'w')"

    @property
    def object(self) -> Any:
        """An object whose pickle makes the file when it is read."""
        return _MakesFile(str(self.path))

    @property
    def pickle(self) -> bytes:
        """A pickle that makes the file when it is read."""
        return pickle.dumps(self.object, protocol=2)

    @property
    def sings(self) -> bool:
        return self.path.exists()


@dataclass(frozen=True)
class _MakesFile:
    path: str

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


class Archive:
    """The entries of a program, below its top folder; `model` is its graph, to be edited."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as file:
            self.entries = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
        self.model: Any = json.loads(self.entries[MODEL])

    @property
    def graph(self) -> Any:
        return self.model["graph_module"]["graph"]

    @property
    def call(self) -> Any:
        """How the program is called: names and containers of its inputs and outputs."""
        return self.model["graph_module"]["module_call_graph"][0]["signature"]

    def replace_text(self, old: str, new: str) -> None:
        """Replace a text wherever it is a whole JSON string of the graph."""
        text = json.dumps(self.model)
        assert json.dumps(old) in text
        self.model = json.loads(text.replace(json.dumps(old), json.dumps(new)))

    def edit_json(self, name: str, change: Any) -> None:
        content = json.loads(self.entries[name])
        change(content)
        self.entries[name] = json.dumps(content).encode()

    def add_node(self, target: str, *arguments: Any, names: tuple[str, ...] = ()) -> None:
        """Call an operator after the first node; arguments as the schema writes them."""
        node = copy.deepcopy(self.graph["nodes"][0])
        names = names or ("",) * len(arguments)
        inputs = [
            {"name": name, "arg": argument, "kind": 2 if name else 1}
            for name, argument in zip(names, arguments, strict=True)
        ]
        node |= {"target": target, "name": "added", "inputs": inputs}
        node["outputs"] = [{"as_none": True}]
        self.graph["nodes"].insert(1, node)

    def listed(self) -> list[tuple[str, bytes]]:
        """The entries with the edited graph."""
        return list((self.entries | {MODEL: json.dumps(self.model).encode()}).items())


def write_archive(
    path: Path, entries: list[tuple[str, bytes]], top: str = "model", compression: int = 0
) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries:
            file.writestr(f"{top}/{name}" if top else name, content)


def write_two_faced(
    path: Path, for_python: list[tuple[str, bytes]], for_torch: list[tuple[str, bytes]]
) -> None:
    """A ZIP file in which Python finds other entries than torch; names with their top folders.

    Python takes the big directory's record that lies before its locator, torch's reader the one
    that the locator points to.
    """
    body = io.BytesIO()
    directories = []
    for entries in (for_torch, for_python):
        with zipfile.ZipFile(body, "w") as file:
            for name, content in entries:
                file.writestr(name, content)
            start = file.fp.tell()  # type: ignore[union-attr]
        end = body.getvalue().rindex(b"PK\x05\x06")
        directories.append((body.getvalue()[start:end], len(entries)))
        body.truncate(start)
        body.seek(start)
    records = []
    for directory, count in directories:
        start = body.tell()
        body.write(directory)
        records.append(body.tell())
        numbers = (44, 45, 45, 0, 0, count, count, len(directory), start)
        body.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", *numbers))
    body.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, records[0], 1))
    most = (0xFFFF,) * 2 + (0xFFFFFFFF,) * 2
    body.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *most, 0))
    path.write_bytes(body.getvalue())
