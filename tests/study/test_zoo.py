"""Zoos: what they are made of, and that they are made once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rayxkd.errors import UserError
from rayxkd.study import ZooSettings
from rayxkd.study.zoo import Recipe, build_zoo, recipes, with_noise
from rayxkd.teachers import TeacherCard, open_repositories
from tests.study.conftest import quiet, zoo_settings

CLASSES = [f"class{number}" for number in range(60)]
TARGETS = [CLASSES[:10], CLASSES[10:20]]


def many(**changes: object) -> list[Recipe]:
    settings = ZooSettings(data="", out="", teachers=24, **changes)  # type: ignore[arg-type]
    return recipes(settings, CLASSES, TARGETS)


def test_every_value_is_dealt_as_often_as_any_other() -> None:
    made = many()
    for name, often in {"epochs": 8, "width": 8, "overlap": 6, "network": 12}.items():
        assert set(Counter(getattr(recipe, name) for recipe in made).values()) == {often}, name
    assert len({recipe.name for recipe in made}) == 24
    assert len({recipe.seed for recipe in made}) == 24


def test_overlap_is_with_one_target() -> None:
    for recipe in many(classes=(20,), overlap=(0.0, 0.3, 1.0)):
        shared = [len(set(recipe.class_names) & set(target)) for target in TARGETS]
        assert round(10 * recipe.overlap) in shared, recipe
        assert len(recipe.class_names) == len(set(recipe.class_names)) == 20


def test_the_seed_decides() -> None:
    assert many(seed=1) == many(seed=1)
    assert many(seed=1) != many(seed=2)


def test_few_classes_are_one_line() -> None:
    with pytest.raises(UserError, match="more --classes or --overlap"):
        recipes(ZooSettings(data="", out="", overlap=(0.0,)), CLASSES[:10], [CLASSES[:10]])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"networks": ("resnet",)}, "unknown network"),
        ({"overlap": (1.5,)}, "--overlap must lie between 0 and 1"),
        ({"epochs": ()}, "--epochs needs a value"),
        ({"teachers": 0}, "--teachers"),
    ],
)
def test_bad_settings_are_one_line(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        build_zoo(zoo_settings(tmp_path, **changes), quiet())
    assert not list(tmp_path.iterdir())


def test_noise_changes_a_share_of_the_labels() -> None:
    labels_N = np.arange(1_000) % 5
    noisy_N = with_noise(labels_N, 5, 0.3, seed=3)
    assert (noisy_N != labels_N).sum() == 300
    assert set(np.unique(noisy_N)) == set(range(5))
    assert (with_noise(labels_N, 5, 0.0, seed=3) == labels_N).all()


def test_a_zoo_is_a_repository(zoo: tuple[Path, list[Recipe]]) -> None:
    out, made = zoo
    (repository,) = open_repositories([str(out)])
    cards = repository.cards()
    assert [type(card) for card in cards] == [TeacherCard] * 4
    assert sorted(card.teacher for card in cards) == sorted(f"zoo/{one.name}" for one in made)
    right = {}
    for recipe in made:
        config = json.loads((out / recipe.name / "config.json").read_text())
        assert tuple(config["label_names"]) == recipe.class_names
        assert config["recipe"]["epochs"] == recipe.epochs
        right.setdefault((recipe.epochs, recipe.label_noise), []).append(config["accuracy"])
    assert np.mean(right[30, 0.0]) > 0.8, "chance is a third at most"
    assert np.mean(right[30, 0.0]) > np.mean(right.get((2, 0.0), right.get((2, 0.5))))


def test_a_zoo_is_made_once_and_continued(zoo: tuple[Path, list[Recipe]]) -> None:
    out, made = zoo
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    assert build_zoo(zoo_settings(out), quiet()) == made
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == before


def test_a_folder_of_another_recipe_is_not_taken(
    zoo: tuple[Path, list[Recipe]], tmp_path: Path
) -> None:
    out, made = zoo
    copy = Path(shutil.copytree(out, tmp_path / "zoo"))
    card = copy / made[2].name / "config.json"
    card.write_text(card.read_text().replace(f'"seed": {made[2].seed}', '"seed": 77'))
    with pytest.raises(UserError, match="holds another teacher"):
        build_zoo(zoo_settings(copy), quiet())
    shutil.rmtree(card.parent)
    build_zoo(zoo_settings(copy), quiet())
    assert card.read_bytes() == (out / made[2].name / "config.json").read_bytes()
