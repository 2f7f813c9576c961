"""Options: what is refused, what a student depends on, and settings from a file."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from rayxkd.distill import DistillSettings, TrainingSettings, TransportSettings
from rayxkd.distill.settings import with_config
from rayxkd.errors import UserError

DEFAULTS = DistillSettings()


def of(**changes: Any) -> DistillSettings:
    """Settings; names with a group before them belong to it: ``training__epochs``."""
    groups: dict[str, dict[str, Any]] = {"training": {}, "transport": {}}
    own = {}
    for name, value in changes.items():
        group, _, inner = name.partition("__")
        if inner:
            groups[group][inner] = value
        else:
            own[name] = value
    return DistillSettings(
        training=TrainingSettings(**groups["training"]),
        transport=TransportSettings(**groups["transport"]),
        **own,
    )


INF, NAN = float("inf"), float("nan")
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"objective": ("transprot",)}, "unknown objective 'transprot': did you mean 'transport'"),
    ({"transport__cost": "lerned"}, "did you mean 'learned'"),
    ({"transport__form": "targets"}, "did you mean 'target'"),
    ({"teacher_pass": "cache"}, "did you mean 'cached'"),
    ({"training__augment": "crops"}, "did you mean 'crop'"),
    ({"training__optimizer": "adam"}, "did you mean 'adamw'"),
    ({"weight": (1.0, 2.0)}, "--weight has 2 numbers for 1 objectives"),
    ({"weight": (-1.0,)}, "--weight cannot be negative, not -1"),
    ({"weight": (INF,)}, "--weight must be a number"),
    ({"weight": (NAN,)}, "--weight"),
    ({"teacher": ()}, "need a name"),
    ({"compare": True}, "--compare needs --test"),
    ({"objective": ()}, "need a name"),
    ({"transport__source_penalty": 1.0}, "use --transport.form entropic"),
    ({"transport__epsilon": 0.0}, "--transport.epsilon must be positive, not 0"),
    ({"transport__epsilon": NAN}, "--transport.epsilon must be positive, not nan"),
    ({"transport__temperature": -4.0}, "--transport.temperature must be positive"),
    ({"distil_temperature": 0.0}, "--distil-temperature must be positive"),
    ({"training__epochs": 0}, "--training.epochs must be positive, not 0"),
    ({"training__epoch_images": 0}, "--training.epoch-images must be positive"),
    ({"training__batch_size": 0}, "--training.batch-size must be positive"),
    ({"training__batch_size": 1}, "--training.batch-size 1 with --workers 1"),
    ({"training__batch_size": 6, "workers": 4}, "give 8 or more"),
    ({"training__learning_rate": 0.0}, "--training.learning-rate must be positive"),
    ({"training__learning_rate": INF}, "--training.learning-rate must be positive, not inf"),
    ({"training__weight_decay": -0.1}, "--training.weight-decay cannot be negative"),
    ({"training__clip": -1.0}, "--training.clip must be positive"),
    ({"training__seed": -1}, "--training.seed cannot be negative, not -1"),
    ({"training__labelled_share": 0.0}, "--training.labelled-share must lie between 0.01 and 1"),
    ({"training__warmup": 1.5}, "--training.warmup must lie between 0 and 1, not 1.5"),
    ({"training__ema": 1.0}, "--training.ema must lie between"),
    ({"validation": 1.0}, "--validation must lie between 0 and 0.9, not 1"),
    ({"validation": -0.1}, "--validation must lie between"),
    ({"image_size": 0}, "--image-size must be positive"),
    ({"views": 0}, "--views must be positive"),
    ({"mixtures": -1}, "--mixtures cannot be negative"),
    ({"workers": -1}, "--workers cannot be negative, not -1"),
    ({"gpus_per_worker": -1.0}, "--gpus-per-worker cannot be negative"),
    ({"max_failures": -1}, "--max-failures cannot be negative"),
]


@pytest.mark.parametrize(("changes", "line"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_right_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        of(**changes).check()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_and_extremes_are_accepted() -> None:
    DEFAULTS.check()
    of(training__ema=0.0, training__warmup=0.0, training__weight_decay=0.0, views=1).check()
    of(transport__form="entropic", transport__source_penalty=0.5).check()
    of(objective=("transport", "relation"), weight=(0.0, 2.5)).check()
    of(workers=0, training__batch_size=2, mixtures=0, max_failures=0).check()


def test_one_weight_serves_all_objectives() -> None:
    assert of(objective=("transport", "probe"), weight=(2.0,)).weights == (2.0, 2.0)
    assert of(objective=("transport", "probe"), weight=(2.0, 3.0)).weights == (2.0, 3.0)


def test_mixtures_make_up_for_unlabelled_images() -> None:
    assert DEFAULTS.mixtures_beside(0) == 2_000
    assert DEFAULTS.mixtures_beside(1_500) == 500
    assert DEFAULTS.mixtures_beside(5_000) == 0
    assert replace(DEFAULTS, mixtures=7).mixtures_beside(5_000) == 7
    assert replace(DEFAULTS, objective=("label_smoothing",), mixtures=7).mixtures_beside(0) == 0


@pytest.mark.parametrize("name", ["cross_entropy", "label_smoothing", "confidence_penalty"])
def test_some_objectives_need_no_teacher(name: str) -> None:
    assert not of(objective=(name,)).needs_teacher
    assert of(objective=(name, "relation")).needs_teacher


HOW = {
    "leaderboard": "elsewhere",
    "out": "elsewhere",
    "workers": 7,
    "gpus_per_worker": 0.5,
    "max_failures": 9,
    "compare": True,
    "onnx": True,
    "fresh": True,
    "trust_code": True,
    "config": "some.json",
}
WHAT = {
    "data": "elsewhere",
    "unlabelled": "elsewhere",
    "test": "elsewhere",
    "validation": 0.1,
    "teacher": ("another",),
    "student": "small_resnet14",
    "image_size": 16,
    "objective": ("probe",),
    "weight": (2.0,),
    "distil_temperature": 2.0,
    "teacher_pass": "online",
    "views": 4,
    "mixtures": 3,
    "transport": TransportSettings(epsilon=0.5),
    "training": TrainingSettings(seed=1),
}


def test_every_setting_is_either_what_or_how() -> None:
    """A new one must be put into one of the lists, and the digest then looks at it or not."""
    assert {field.name for field in fields(DistillSettings)} == {*HOW, *WHAT}


@pytest.mark.parametrize("name", HOW)
def test_how_it_is_computed_does_not_change_the_digest(name: str) -> None:
    changed = replace(DEFAULTS, **{name: HOW[name]})
    assert changed != DEFAULTS
    assert changed.digest() == DEFAULTS.digest()


@pytest.mark.parametrize("name", WHAT)
def test_what_is_computed_changes_the_digest(name: str) -> None:
    assert replace(DEFAULTS, **{name: WHAT[name]}).digest() != DEFAULTS.digest()


# --config


def config(path: Path, content: Any) -> str:
    file = path / "best.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def test_settings_come_from_a_file_and_options_come_first(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        {
            "objective": ["transport", "relation"],
            "weight": [2, 0.5],
            "views": 4,
            "transport": {"epsilon": 0.3, "temperature": 6},
            "training": {"learning_rate": 0.05, "epochs": 11},
        },
    )
    given = of(config=file, views=3, training__epochs=7)
    merged = with_config(given)
    assert merged.objective == ("transport", "relation")
    assert merged.weights == (2, 0.5)
    assert merged.views == 3
    assert merged.transport == TransportSettings(epsilon=0.3, temperature=6)
    assert merged.training == TrainingSettings(learning_rate=0.05, epochs=7)
    assert with_config(DEFAULTS) is DEFAULTS


def test_what_is_recorded_is_a_config(tmp_path: Path) -> None:
    wanted = of(transport__epsilon=0.2, training__ema=0.5, views=5, objective=("probe",))
    recorded = {k: v for k, v in wanted.recorded().items() if k != "method"}
    merged = with_config(of(config=config(tmp_path, recorded)))
    assert merged.digest() == wanted.digest()


CONFIGS: list[tuple[Any, str]] = [
    ({"vieuws": 3}, "unknown setting 'vieuws': did you mean 'views'"),
    ({"transport": {"epsilom": 3}}, "did you mean 'epsilon'"),
    ({"out": "elsewhere"}, "unknown setting 'out'"),
    ({"transport": 3}, "'transport' must be an object of settings"),
    ({"views": "three"}, "'views' cannot be \"three\""),
    ({"views": 2.5}, "'views' cannot be 2.5"),
    ({"views": True}, "'views' cannot be true"),
    ({"views": None}, "'views' cannot be null"),
    ({"teacher": "best"}, "'teacher' cannot be \"best\""),
    ({"weight": ["much"]}, "'weight' cannot be"),
    ({"training": {"epochs": "5"}}, "'epochs' cannot be \"5\""),
    ({"transport": {"permute_cost": 1}}, "'permute_cost' cannot be 1"),
    ([1, 2], "must hold a JSON object"),
    ("{", "cannot be read"),
]


@pytest.mark.parametrize(("content", "line"), CONFIGS, ids=lambda value: str(value)[:30])
def test_a_file_of_other_things_is_refused(tmp_path: Path, content: Any, line: str) -> None:
    file = config(tmp_path, content)
    with pytest.raises(UserError) as caught:
        with_config(of(config=file))
    assert line in str(caught.value)
    assert f"--config {file}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--config .*nowhere\.json cannot be read"):
        with_config(of(config=str(tmp_path / "nowhere.json")))


def test_numbers_of_a_file_are_checked_like_any_others(tmp_path: Path) -> None:
    merged = with_config(of(config=config(tmp_path, {"training": {"epochs": -3}})))
    with pytest.raises(UserError, match=r"--training\.epochs must be positive"):
        merged.check()
