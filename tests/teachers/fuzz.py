"""Cards and safetensors files of any content: they are read, or refused by the defined error.

Run: ``uv run python -m tests.teachers.fuzz --minutes 10``

Contents are arbitrary bytes, arbitrary JSON, and valid ones that were changed: entries replaced,
bits flipped, parts cut out, headers edited. Each is parsed, and where it is a teacher it is loaded.
Nothing but ``TeacherError`` may be raised, what is said must be text that a table can hold, and
memory must stay in proportion to the content.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save

from rayxkd.teachers import RejectedCard, TeacherCard, load_teacher
from rayxkd.teachers.card import WEIGHT_FILES, TeacherFolder
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.safetensors_header import read_header
from rayxkd.teachers.networks import create_network
from rayxkd.teachers.reading import read_card

_CPU = torch.device("cpu")
# A file that is refused may take this much memory: so many times its size, and so much in any case.
_TIMES, _ALWAYS = 100, 8 * 2**20

# What was tried, by name of the check and by what came of it.
TRIED: Counter[tuple[str, str]] = Counter()

CARD: dict[str, Any] = {
    "library_name": "rayxkd",
    "architecture": "small_resnet8",
    "num_classes": 3,
    "num_features": 16,
    "label_names": ["cat", "dog", "cow"],
    "model_args": {"width": 4, "stem_stride": 2, "in_chans": 3},
    "license": "mit",
    "pretrained_cfg": {
        "input_size": [3, 16, 16],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "license": "mit",
    },
}

# What a folder of transformers says, with the content of its second file under a key of its own.
PROCESSOR_KEY = "processor"
TRANSFORMERS_CARD: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "id2label": {"0": "cat", "1": "dog", "2": "cow"},
    "num_channels": 3,
    "hidden_size": 16,
    PROCESSOR_KEY: {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_pct": 0.9,
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
    },
}

numbers = st.one_of(
    st.integers(-3, 5),
    st.integers(),
    st.sampled_from([0, 1, 2**31, 2**63, 2**64, 10**12, 10**400, -1]),
    st.floats(),
)
# Words that the format knows are found sooner than by chance.
words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *(*WEIGHT_FILES, *CARD, *CARD["pretrained_cfg"], "small_resnet14", "resnet18"),
            *(*TRANSFORMERS_CARD, *TRANSFORMERS_CARD[PROCESSOR_KEY], "ViTImageProcessor", "F32"),
            "F16",
        ]
    ),
    st.sampled_from(["\ud800", "../x", "/etc/passwd", "a\nb", "\x00", "x" * 5000, "\u202e"]),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(words, inner, max_size=4)
        | st.builds(lambda: ["x"] * 1000)
    ),
    max_leaves=12,
)


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    parts = content.items() if isinstance(content, dict) else enumerate(content)
    for key, part in parts:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from _places(part, (*path, key))


@st.composite
def changed(draw: Callable[..., Any], content: dict[str, Any]) -> bytes:
    """JSON with some of its entries replaced, removed or added."""
    content = copy.deepcopy(content)
    for path in draw(st.lists(st.sampled_from(list(_places(content))), max_size=3)):
        owner: Any = content
        try:
            for key in path[:-1]:
                owner = owner[key]
            if draw(st.booleans()):
                owner[path[-1]] = copy.deepcopy(draw(values))
            else:
                del owner[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    content |= draw(st.dictionaries(words, values, max_size=2))
    return json.dumps(content).encode()


@st.composite
def damaged(draw: Callable[..., Any], whole: bytes, start: int) -> bytes:
    """Bytes with bits flipped, a part cut out or doubled, most of it in the first ``start``."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        end = min(start, len(content)) if draw(st.integers(0, 3)) else len(content)
        place = draw(st.integers(0, max(end - 1, 0)))
        kind = draw(st.sampled_from(["flip", "byte", "cut", "drop", "double", "insert"]))
        if kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte" and content:
            content[place] = draw(st.sampled_from(list(b'\0\xff"{}[],:0-9eE.\\u')))
        elif kind == "cut":
            del content[place:]
        elif kind == "drop":
            del content[place : place + draw(st.integers(1, 64))]
        elif kind == "double":
            content[place:place] = content[place : place + draw(st.integers(1, 64))]
        else:
            content[place:place] = draw(st.binary(max_size=16))
    return bytes(content)


@cache
def valid_weights() -> bytes:
    """The weights that belong to ``CARD``."""
    network = create_network("small_resnet8", CARD["num_classes"], width=4)
    return save({name: one.contiguous() for name, one in network.state_dict().items()})


def header_and_data() -> tuple[dict[str, Any], bytes]:
    """The header of ``valid_weights`` and what follows it."""
    whole = valid_weights()
    end = 8 + int.from_bytes(whole[:8], "little")
    return json.loads(whole[8:end]), whole[end:]


def with_header(header: bytes, length_error: int = 0) -> bytes:
    """A safetensors file of another header and the valid tensors."""
    length = max(0, len(header) + length_error) % 2**64
    return length.to_bytes(8, "little") + header + header_and_data()[1]


card_contents = st.one_of(
    st.just(json.dumps(CARD).encode()),
    st.binary(max_size=200),
    values.map(lambda value: json.dumps(value).encode()),
    changed(CARD),
    damaged(json.dumps(CARD).encode(), 10_000),
)
weights_contents = st.one_of(
    st.binary(max_size=200),
    damaged(valid_weights(), 8 + len(json.dumps(header_and_data()[0]))),
    st.builds(with_header, changed(header_and_data()[0])),
    st.builds(with_header, values.map(lambda value: json.dumps(value).encode())),
    st.builds(with_header, changed(header_and_data()[0]), st.integers(-9, 2**64)),
)


def check_card(content: bytes) -> None:
    """A card is a teacher or is rejected, and a teacher is loaded or refused."""
    folder = TeacherFolder("t", "r", "t", dict.fromkeys(WEIGHT_FILES.values(), 10))
    with modest_memory(len(content)):
        card = read_card(folder, content)
    if isinstance(card, RejectedCard):
        card.reason.encode()
        assert card.reason
        assert "\n" not in card.reason
        TRIED["card", str(card.status)] += 1
        return
    for text in (*card.label_names, card.license or "", card.architecture or ""):
        text.encode()
    TRIED["card", "read"] += 1
    if card.library == "rayxkd":
        _load(card, valid_weights(), "card")


def check_transformers(content: bytes) -> None:
    """Both files of a folder of transformers give a card or a reason."""
    config = json.loads(content)
    processor = json.dumps(config.pop(PROCESSOR_KEY, None)).encode()
    folder = TeacherFolder("t", "r", "t", {"model.safetensors": 10})
    with modest_memory(len(content)):
        card = read_card(folder, json.dumps(config).encode(), processor)
    outcome = "read"
    if isinstance(card, RejectedCard):
        card.reason.encode()
        assert card.reason
        outcome = str(card.status)
    TRIED["transformers", outcome] += 1


def check_weights(content: bytes) -> None:
    """Weights are loaded or refused."""
    card = read_card(
        TeacherFolder("t", "r", "t", {"model.safetensors": len(content)}),
        json.dumps(CARD).encode(),
    )
    assert isinstance(card, TeacherCard)
    _load(card, content, "weights")


def _load(card: TeacherCard, content: bytes, what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        try:
            with modest_memory(len(content)):
                header = read_header(path)
            assert header.nbytes <= len(content)
            load_teacher(card, path, _CPU)
            TRIED[what, "loaded"] += 1
        except TeacherError as error:
            error.reason.encode()
            TRIED[what, f"{error.status} when loaded"] += 1


@contextmanager
def modest_memory(size: int) -> Iterator[None]:
    """Fail where much more memory is taken than what is read."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < _TIMES * size + _ALWAYS
    finally:
        tracemalloc.stop()


CHECKS: dict[str, tuple[Callable[[bytes], None], st.SearchStrategy[bytes]]] = {
    "cards": (check_card, card_contents),
    "weights": (check_weights, weights_contents),
    "transformers": (check_transformers, changed(TRANSFORMERS_CARD)),
}


def fuzz(name: str, examples: int, number: int | None = None) -> None:
    """Try so many contents; a failure is shown with the smallest content that fails.

    Args:
        name: one of ``CHECKS``.
        examples: how many.
        number: seed of the draw; ``None`` draws the same ones every time.
    """
    check, strategy = CHECKS[name]
    test = given(strategy)(check)
    if number is not None:
        test = seed(number)(test)
    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=number is None,
        suppress_health_check=list(HealthCheck),
    )
    limits(test)()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start, number = time.monotonic(), time.time_ns()
    while time.monotonic() - start < 60 * arguments.minutes:
        for name in CHECKS:
            fuzz(name, 500, number)
        number += 1
    for (what, outcome), count in sorted(TRIED.items()):
        print(f"{what}: {outcome}: {count}")
    # A card that is read counts once more when its teacher is loaded.
    tried = sum(
        count
        for (what, outcome), count in TRIED.items()
        if what != "card" or "loaded" not in outcome
    )
    minutes = (time.monotonic() - start) / 60
    print(f"{datetime.now(UTC):%Y-%m-%d}: {tried} contents in {minutes:.1f} minutes, no crash")


if __name__ == "__main__":
    main()
