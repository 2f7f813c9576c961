from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rayxkd.status import Status
from rayxkd.teachers import Preprocessing, RejectedCard, TeacherCard
from rayxkd.teachers.card import TeacherFolder
from rayxkd.teachers.reading import read_card

NAN, INFINITY = float("nan"), float("inf")
GOOD = {"architecture": "resnet18", "num_classes": 3}
SAFE = {"config.json": 10, "model.safetensors": 1234}


def read(
    config: bytes | dict[str, Any] | None, files: dict[str, int] | None = None
) -> TeacherCard | RejectedCard:
    content = json.dumps(config).encode() if isinstance(config, dict) else config
    folder = TeacherFolder(
        "zoo/a/teacher", "/data/zoo", "a/teacher", SAFE if files is None else files
    )
    return read_card(folder, content)


def rejected(config: bytes | dict[str, Any] | None, files: dict[str, int] | None = None) -> Any:
    card = read(config, files)
    assert isinstance(card, RejectedCard), card
    assert_is_a_short_line(card.reason)
    return card


def assert_is_a_short_line(reason: str) -> None:
    assert reason == " ".join(reason.split())
    assert 0 < len(reason) <= 500
    reason.encode()


def test_every_entry_is_read():
    config = {
        "library_name": "torchvision",
        "architecture": "resnet18",
        "num_classes": 2,
        "num_features": 512,
        "label_names": ["cat", "dog"],
        "model_args": {"width_per_group": 32},
        "license": "mit",
        "pretrained_cfg": {
            "input_size": [3, 96, 128],
            "mean": [0.1, 0.2, 0.3],
            "std": [1, 2, 3],
            "interpolation": "bicubic",
            "crop_pct": 0.95,
            "crop_mode": "squash",
            "license": "apache-2.0",
        },
    }
    assert read(config) == TeacherCard(
        teacher="zoo/a/teacher",
        repository="/data/zoo",
        folder="a/teacher",
        library="torchvision",
        architecture="resnet18",
        num_classes=2,
        num_features=512,
        label_names=("cat", "dog"),
        model_args={"width_per_group": 32},
        preprocessing=Preprocessing(
            (3, 96, 128), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "bicubic", 0.95, "squash"
        ),
        license="apache-2.0",
        weights_bytes=1234,
        card_digest=hashlib.sha256(json.dumps(config).encode()).hexdigest(),
    )


def test_a_short_card_gets_imagenet_defaults():
    card = read(GOOD)
    assert isinstance(card, TeacherCard)
    assert (card.library, card.num_features, card.label_names) == ("timm", None, ())
    assert (card.model_args, card.license) == ({}, None)
    assert card.preprocessing == Preprocessing()
    assert card.preprocessing.input_size == (3, 224, 224)
    assert card.preprocessing.mean == (0.485, 0.456, 0.406)
    assert card.weights_file == "a/teacher/model.safetensors"


def test_null_means_not_given():
    nothing = dict.fromkeys(("num_features", "label_names", "model_args", "license"))
    details = dict.fromkeys(Preprocessing.__dataclass_fields__)
    card = read(GOOD | nothing | {"pretrained_cfg": details})
    assert isinstance(card, TeacherCard)
    assert card == replace(read(GOOD), card_digest=card.card_digest)


@pytest.mark.parametrize(
    ("library", "file"),
    [
        ("timm", "model.safetensors"),
        ("torchvision", "model.safetensors"),
        ("torch.export", "model.pt2"),
        ("torchscript", "model.pt"),
    ],
)
def test_each_library_has_its_weights_file(library, file):
    card = read(GOOD | {"library_name": library}, {"config.json": 1, file: 77})
    assert isinstance(card, TeacherCard)
    assert (card.weights_file, card.weights_bytes) == (f"a/teacher/{file}", 77)
    assert isinstance(read(GOOD | {"library_name": library}, {"config.json": 1}), RejectedCard)


def test_a_program_needs_no_architecture_and_may_be_grey():
    config = {"library_name": "torch.export", "num_classes": 2}
    card = read(config | {"pretrained_cfg": {"input_size": [1, 8, 9]}}, {"model.pt2": 1})
    assert isinstance(card, TeacherCard)
    assert card.architecture is None
    assert card.preprocessing.input_size == (1, 8, 9)
    assert len(card.preprocessing.mean) == len(card.preprocessing.std) == 1


def test_cards_can_be_hashed_and_sent_to_other_processes():
    card = read(GOOD | {"model_args": {"drop_rate": 0.1}})
    assert {card: 1}[pickle.loads(pickle.dumps(card))] == 1
    broken = rejected(None)
    assert pickle.loads(pickle.dumps(broken)) == broken


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "the folder has no config.json"),
        (b"", "is not JSON"),
        (b"{'num_classes': 3}", "is not JSON"),
        (b"\xff\xfe\x00garbage", "is not JSON"),
        (b"[" * 100_000, "is not JSON: maximum recursion"),
        (b'{"a":' * 100_000, "is not JSON: maximum recursion"),
        (b'{"num_classes": 1' + b"0" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b'{"license": "\\ud800"}', "is not JSON: 'utf-8' codec can't encode"),
        (b'{"license": "\xed\xa0\x80"}', "is not JSON: 'utf-8' codec can't decode"),
        (b"[1, 2]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
    ],
)
def test_what_is_no_object_is_invalid(config, reason):
    card = rejected(config)
    assert card.status is Status.INVALID
    assert reason in card.reason
    assert card.card_digest == hashlib.sha256(config or b"").hexdigest()
    assert card.weights_bytes == sum(SAFE.values())


@pytest.mark.parametrize(
    "value", [None, 0, 1, -3, True, "3", 3.0, [3], {}, 1_000_001, 10**4000, NAN, INFINITY]
)
def test_num_classes_must_be_a_plausible_whole_number(value):
    card = rejected({"architecture": "resnet18", "num_classes": value})
    assert card.status is Status.INVALID
    assert "num_classes" in card.reason


def test_num_classes_must_be_there():
    assert "needs a 'num_classes'" in rejected({"architecture": "resnet18"}).reason


@pytest.mark.parametrize("value", [0, -4, True, "512", 1.5, [512], 10**30])
def test_num_features_must_be_a_plausible_whole_number(value):
    card = rejected(GOOD | {"num_features": value})
    assert card.status is Status.INVALID
    assert "num_features" in card.reason


@pytest.mark.parametrize("value", [["a"], ["a"] * 4, "abc", {"a": 1, "b": 2, "c": 3}, 5, True])
def test_label_names_must_be_a_list_of_k(value):
    card = rejected(GOOD | {"label_names": value})
    assert card.status is Status.INVALID
    assert "label_names" in card.reason


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("input_size", "224", "input_size"),
        ("input_size", 224, "input_size"),
        ("input_size", [], "input_size"),
        ("input_size", [224, 224], "input_size"),
        ("input_size", [3, 224, 224, 1], "input_size"),
        ("input_size", [3, "224", 224], "input_size"),
        ("input_size", [3, 224.5, 224], "input_size"),
        ("input_size", [3, NAN, 224], "input_size"),
        ("input_size", [3, INFINITY, 224], "input_size"),
        ("input_size", [2, 224, 224], "asks for images of 2 x 224 x 224"),
        ("input_size", [4, 224, 224], "asks for images of 4 x 224 x 224"),
        ("input_size", [3, 0, 224], "asks for images of 3 x 0 x 224"),
        ("input_size", [3, 224, -1], "asks for images of 3 x 224 x -1"),
        ("input_size", [3, 224, 10**6], "asks for images of 3 x 224 x 1000000"),
        ("mean", [0.5], "a mean that does not fit 3 channels"),
        ("mean", [0.5] * 4, "a mean that does not fit 3 channels"),
        ("mean", [0.5, 0.5, NAN], "mean"),
        ("mean", 0.5, "'mean'"),
        ("mean", "0.5", "'mean'"),
        ("mean", ["a", "b", "c"], "'mean'"),
        ("mean", {"r": 1, "g": 2, "b": 3}, "'mean'"),
        ("std", [0.5, 0.5], "a std that does not fit 3 channels"),
        ("std", [0.5, 0.5, 0], "a std that is not positive"),
        ("std", [0.5, 0.5, -0.5], "a std that is not positive"),
        ("std", [INFINITY] * 3, "std"),
        ("crop_pct", 0, "a crop_pct of 0"),
        ("crop_pct", -0.875, "a crop_pct of -0.875"),
        ("crop_pct", 2.1, "a crop_pct of 2.1"),
        ("crop_pct", 1e-9, "a crop_pct of 1e-09"),
        ("crop_pct", NAN, "a finite 'crop_pct'"),
        ("crop_pct", "0.875", "'crop_pct'"),
        ("crop_pct", True, "'crop_pct'"),
        ("crop_pct", [0.875], "'crop_pct'"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_invalid(entry, value, reason):
    card = rejected(GOOD | {"pretrained_cfg": {entry: value}})
    assert card.status is Status.INVALID
    assert reason in card.reason


@pytest.mark.parametrize("entry", ["pretrained_cfg", "model_args"])
@pytest.mark.parametrize("value", [[], [1], "x", 0, 3, False])
def test_what_must_be_an_object_is_named(entry, value):
    card = rejected(GOOD | {entry: value})
    assert card.status is Status.INVALID
    assert f"'{entry}' that is not an object" in card.reason


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GOOD | {"library_name": "tensorflow"}, "unknown library_name 'tensorflow'"),
        (GOOD | {"library_name": "torch.exprot"}, "did you mean 'torch.export'"),
        (GOOD | {"library_name": ["timm"]}, "unknown library_name"),
        (GOOD | {"library_name": "a\nb" * 9999}, "unknown library_name 'a ba b"),
        (GOOD | {"pretrained_cfg": {"interpolation": "bicubc"}}, "did you mean 'bicubic'"),
        (GOOD | {"pretrained_cfg": {"interpolation": 3}}, "unknown interpolation '3'"),
        (GOOD | {"pretrained_cfg": {"crop_mode": "stretch"}}, "unknown crop_mode 'stretch'"),
        ({"architectures": ["ViTForImageClassification"], "id2label": {}}, "transformers folder"),
    ],
)
def test_what_is_not_known_here_is_unsupported(config, reason):
    card = rejected(config)
    assert card.status is Status.UNSUPPORTED
    assert reason in card.reason


@pytest.mark.parametrize("architecture", [None, 18, ["resnet18"], {}])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_needs_an_architecture(library, architecture):
    config = {"library_name": library, "num_classes": 3, "architecture": architecture}
    card = rejected(config)
    assert (card.status, card.reason) == (Status.INVALID, "config.json names no 'architecture'")


def test_missing_weights_are_invalid():
    card = rejected(GOOD, {"config.json": 1, "README.md": 5, "model.pt2": 9})
    assert card.status is Status.INVALID
    assert card.reason == "the folder has no model.safetensors"


def test_a_pickle_of_anything_is_untrusted():
    card = rejected(GOOD, {"config.json": 1, "weights.pkl": 5})
    assert card.status is Status.UNTRUSTED
    assert "save the weights as model.safetensors" in card.reason


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "model.pth", "model.pt", "last.ckpt", "best.pth.tar", "a\nb.bin"]
)
def test_the_only_state_dict_is_taken(file):
    card = read(GOOD, {"config.json": 1, file: 5, "README.md": 3})
    assert card.weights_file == f"a/teacher/{file}"
    assert card.weights_bytes == 5


def test_one_of_several_state_dicts_is_named():
    files = {"config.json": 1, "last.pth": 5, "best.pth": 6, "logs.pkl": 7}
    card = rejected(GOOD, files)
    assert card.status is Status.INVALID
    assert "'best.pth', 'last.pth': name one of them as weights_file" in card.reason
    assert read(GOOD | {"weights_file": "best.pth"}, files).weights_bytes == 6
    assert read(GOOD, files | {"pytorch_model.bin": 9}).weights_bytes == 9
    for name in ("../best.pth", "logs.pkl", "other.pth", "config.json", 7, ["best.pth"]):
        assert "as weights_file" in rejected(GOOD | {"weights_file": name}, files).reason


def test_a_pickle_beside_good_weights_does_no_harm():
    assert isinstance(read(GOOD, SAFE | {"pytorch_model.bin": 5}), TeacherCard)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**20)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
ENTRIES = (
    "library_name",
    "architecture",
    "architectures",
    "num_classes",
    "num_features",
    "label_names",
    "model_args",
    "license",
    "pretrained_cfg",
)
DETAILS = (*Preprocessing.__dataclass_fields__, "license")


def assert_is_some_card(config: bytes) -> None:
    for files in (SAFE, {"model.pt2": 1, "model.pt": 1}, {}):
        card = read(config, files)
        if isinstance(card, RejectedCard):
            assert card.status in (Status.INVALID, Status.UNSUPPORTED, Status.UNTRUSTED)
            assert_is_a_short_line(card.reason)
        else:
            " ".join([*card.label_names, card.license or "", card.architecture or ""]).encode()
            assert hash(card) is not None
            assert min(card.preprocessing.input_size) > 0
            assert min(card.preprocessing.std) > 0


@given(st.binary(max_size=60))
@settings(max_examples=60, deadline=None, derandomize=True)
@example(b'{"architecture": "a", "num_classes": 3, "label_names": [[[]], {}, null]}')
def test_any_bytes_give_a_card_or_a_reason(config):
    assert_is_some_card(config)


@given(JSON)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_json_gives_a_card_or_a_reason(value):
    assert_is_some_card(json.dumps(value).encode())


@given(
    st.dictionaries(st.sampled_from(ENTRIES), JSON), st.dictionaries(st.sampled_from(DETAILS), JSON)
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_entries_in_a_good_card_give_a_card_or_a_reason(entries, details):
    for library in ("timm", "torch.export"):
        base = GOOD | {"library_name": library, "pretrained_cfg": details}
        assert_is_some_card(json.dumps(base | entries).encode())


@pytest.mark.parametrize("entry", ["num_classes", "label_names", "license", "library_name"])
def test_no_depth_of_nesting_raises(entry):
    for depth in range(1, 1100, 3):
        nested = "[" * depth + "]" * depth
        config = f'{{"architecture": "a", "num_classes": 3, "{entry}": {nested}}}'
        assert_is_some_card(config.encode())
