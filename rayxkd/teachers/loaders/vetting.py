"""Is it safe to read this ``torch.export`` program?

``torch.export.load`` trusts its file: it unpickles weights, constants and sample inputs that say
so, evaluates shape expressions as Python, writes the graph's names into Python code that it runs,
imports modules that a tree of inputs names, looks operators up by attribute names, and loads
compiled libraries. A program as ``torch.export.save`` writes it for a plain network needs none of
that, so everything but the plain form is refused before torch sees the file.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails

if TYPE_CHECKING:
    from torch.export.pt2_archive import PT2ArchiveReader

# Entries of a plain archive, below its top folder.
_PLAIN_ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|models/[\w-]+\.json|extra/.*"
    r"|data/weights/(weight_\d+|[\w-]+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|[\w-]+_constants_config\.json)"
    r"|data/sample_inputs/[\w-]+\.pt"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.sym_(int|float|max|min|not|sqrt|ite)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.(floor|ceil|trunc|sqrt)"
)
# Operators of these name spaces that touch files.
_FORBIDDEN_OPERATORS = re.compile(r"torch\.ops\.aten\.(from_file|save|load)\b.*")
# Shape expressions are evaluated: symbols, whole numbers and sympy's own functions, no attributes.
_EXPRESSION_TOKEN = re.compile(
    r"Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Where"
    r"|ModularIndexing|PowByNatural|IntTrueDiv|FloatTrueDiv|CeilToInt|FloorToInt|Eq|Ne|Lt|Le|Gt|Ge"
    r"|And|Or|Not|true|false|positive|negative|nonnegative|nonzero|integer|real|True|False|None"
    r"|[suz]+\d+|\d+"
)
_EXPRESSION_SIGNS = re.compile(r"[\s()+\-*/,=<>']*")
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
# Names of values, parameters and modules become Python code: nothing that could end a name.
_NAME = re.compile(r"[\w.@-]*")
# Texts that torch writes into code quoted, and those that it keeps for people.
_QUOTED_TEXTS = {"as_string", "as_strings"}
_KEPT_TEXTS = {
    "custom",
    "from_node",
    "guards_code",
    "nn_module_stack",
    "source_fn_stack",
    "stack_trace",
    "torch_fn",
    "torch_version",
}
_LARGEST_DESCRIPTION = 256 * 1024 * 1024


def vet_program(path: Path) -> None:
    """Refuse a program whose loading could run code.

    Raises:
        TeacherError: ``untrusted`` with what was found, or ``invalid`` for a file that is no
            archive.
    """
    # Its import takes seconds.
    from torch.export.pt2_archive import PT2ArchiveReader

    with invalid_where_it_fails("it is no torch.export archive"):
        with zipfile.ZipFile(path) as archive:
            names = _plain_names(archive.infolist(), path.stat().st_size)
        # torch finds and reads entries with a reader of its own: what it sees is what we check.
        reader = PT2ArchiveReader(str(path))
        if sorted(reader.get_file_names()) != sorted(names):
            raise _untrusted("it shows different entries to different readers")
        for name in names:
            _vet_entry(name, reader)


def _plain_names(entries: Sequence[zipfile.ZipInfo], size: int) -> list[str]:
    """The entries below their one top folder."""
    # Two entries of one name would let us check one and torch read the other; to torch's reader,
    # letters of either case are the same.
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise _untrusted("it has two entries of the same name")
    if len({entry.filename.split("/", 1)[0] for entry in entries}) != 1:
        raise _untrusted("it is not in the layout of torch.export.save")
    if sum(entry.file_size for entry in entries) > size:
        raise TeacherError(Status.INVALID, "it is a compressed archive: save it uncompressed")
    names = [entry.filename.partition("/")[2] for entry in entries]
    for name in names:
        if not _PLAIN_ENTRIES.fullmatch(name):
            raise _untrusted(f"it holds '{name}'")
    return names


def _vet_entry(name: str, reader: PT2ArchiveReader) -> None:
    if name.startswith("data/sample_inputs/"):
        _vet_sample_inputs(reader.read_bytes(name))
    elif name.startswith("models/"):
        _vet_model(_read_json(name, reader))
    elif name.startswith("data/") and name.endswith(".json"):
        _vet_tensors(_read_json(name, reader))


def _read_json(name: str, reader: PT2ArchiveReader) -> Any:
    if reader.archive_file.get_record_size(name) > _LARGEST_DESCRIPTION:
        raise _untrusted(f"'{name}' is too large")
    return json.loads(reader.read_string(name))


def _vet_tensors(content: Any) -> None:
    """Which weights or constants lie in which entry."""
    for entry in content["config"].values():
        if entry.get("use_pickle") is not False:
            raise _untrusted("it holds pickled tensors")
        if not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
            raise _untrusted(f"it refers to '{entry.get('path_name')}'")
    _vet_model(content)


def _vet_model(content: Any) -> None:
    """The graph, its signature and its shapes."""
    for key, text in _texts(content):
        if key == "expr_str":
            _vet_expression(text)
        elif key in ("in_spec", "out_spec"):
            _vet_containers(json.loads(text))
        elif key in ("target", "as_operator"):
            _vet_operator(text)
        elif key not in _QUOTED_TEXTS | _KEPT_TEXTS and not _NAME.fullmatch(text):
            raise _untrusted(f"it has the name '{text[:80]}'")


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    """Every text at any depth with the key that it belongs to, and every key as a name."""
    stack = [("", content)]
    while stack:
        key, item = stack.pop()
        if isinstance(item, str):
            yield key, item
        elif isinstance(item, list):
            stack.extend((key, part) for part in item)
        elif isinstance(item, dict):
            yield from (("", name) for name in item)
            stack.extend(item.items())


def _vet_operator(target: str) -> None:
    if not _OPERATORS.fullmatch(target) or _FORBIDDEN_OPERATORS.fullmatch(target):
        raise _untrusted(f"it calls '{target[:80]}'")


def _vet_expression(text: str) -> None:
    words = re.findall(r"\w+", text)
    signs = re.sub(r"\w+", "", text)
    good = all(_EXPRESSION_TOKEN.fullmatch(word) for word in words)
    if not good or not _EXPRESSION_SIGNS.fullmatch(signs):
        raise _untrusted(f"it has the shape expression '{text[:80]}'")


def _vet_containers(spec: Any) -> None:
    stack = [spec[1]]
    while stack:
        part = stack.pop()
        if part["type"] not in _CONTAINERS:
            raise _untrusted(f"it takes or returns a '{part['type']}'")
        # The keys of a dictionary; an object here would name a module to import.
        keys = json.loads(part["context"] or "null") or []
        plain = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not plain or not all(_NAME.fullmatch(key) for key in keys):
            raise _untrusted(f"it takes or returns the entries {str(keys)[:80]}")
        stack.extend(part["children_spec"])


def _vet_sample_inputs(content: bytes) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        raise _untrusted("its sample inputs are pickled objects other than tensors") from error


def _untrusted(what: str) -> TeacherError:
    return TeacherError(
        Status.UNTRUSTED,
        f"{what}, which could run code when it is read: export the plain network with "
        "torch.export.save, or trust the repository with --trust-code",
    )
