from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.data.digits import DIGIT_NAMES
from rayxkd.storage import Storage
from rayxkd.teachers import ProbePixels, predict
from rayxkd.teachers.demo import RECIPES, Recipe, demo_folder, missing_recipes, train_demo_teacher
from rayxkd.transport.predictions import Predictions
from tests.teachers.folders import assert_close, card_of, load

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
LABEL_SPACES = {
    "ten_digits": 10,
    "odd_digits": 5,
    "even_digits": 5,
    "low_digits": 5,
    "one_or_seven": 2,
    "parity": 2,
    "has_a_loop": 2,
    "small_or_large": 2,
    "upside_down": 10,
    "lying_digits": 10,
    "badly_trained": 10,
    "shuffled_labels": 10,
}


def ask_about_the_task(folder: Path) -> tuple[Predictions, list[str]]:
    """What a teacher says of scans that no teacher has seen, and what they show."""
    probe = sample_probe_set(open_image_set("demo://test"), 1_000)
    names = [probe.class_names[label] for label in probe.labels_N]
    return predict(load(folder), ProbePixels(probe)), names


@pytest.fixture(scope="module")
def odd_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    train_demo_teacher(BY_NAME["odd_digits"], folder)
    return folder


def test_label_spaces_have_the_right_size():
    assert {recipe.name: len(recipe.label_names) for recipe in RECIPES} == LABEL_SPACES


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_class_has_examples(recipe):
    images, labels_N = recipe.examples()
    assert len(images) == len(labels_N)
    assert images.shape[1:] == (1, 8, 8)
    assert images.min() == -1
    assert images.max() == 1
    assert set(labels_N.tolist()) == set(range(len(recipe.label_names)))
    assert len(set(recipe.label_names)) == len(recipe.label_names)


def test_recipes_see_what_they_should():
    straight, labels_N = BY_NAME["ten_digits"].examples()
    assert torch.equal(BY_NAME["upside_down"].examples()[0], straight.rot90(2, (2, 3)))
    assert torch.equal(BY_NAME["lying_digits"].examples()[0], straight.rot90(1, (2, 3)))
    shuffled = BY_NAME["shuffled_labels"].examples()[1]
    assert torch.equal(shuffled.sort().values, labels_N.sort().values)
    assert (shuffled == labels_N).float().mean() < 0.2
    assert len(BY_NAME["badly_trained"].examples()[0]) == 40


def test_a_trained_teacher_lands_whole(odd_digits):
    assert [path.name for path in odd_digits.iterdir()] == ["odd_digits"]
    assert {path.name for path in (odd_digits / "odd_digits").iterdir()} == {
        "config.json",
        "model.pt2",
    }
    missing = {recipe.name for recipe in missing_recipes(Storage.at(str(odd_digits)))}
    assert missing == LABEL_SPACES.keys() - {"odd_digits"}
    card = card_of(odd_digits / "odd_digits")
    assert card.label_names == ("one", "three", "five", "seven", "nine")
    assert (card.num_classes, card.num_features, card.license) == (5, 64, "apache-2.0")


def test_a_trained_teacher_knows_digits_that_it_has_not_seen(odd_digits):
    predictions, names = ask_about_the_task(odd_digits / "odd_digits")
    known = card_of(odd_digits / "odd_digits").label_names
    guesses = [known[best] for best in predictions.logits_NK.argmax(1)]
    right = [guess == name for guess, name in zip(guesses, names, strict=True) if name in known]
    assert len(right) > 100
    assert np.mean(right) > 0.93
    assert predictions.features_ND is not None
    assert predictions.features_ND.shape == (len(names), 64)
    # Six and eight are no class of it: it must be less sure of them.
    sure_N = predictions.probabilities_NK().max(1).values
    odd_N = torch.tensor([name in known for name in names])
    assert sure_N[odd_N].mean() > sure_N[~odd_N].mean() + 0.1


def test_training_twice_gives_the_same_teacher(tmp_path):
    quick = replace(BY_NAME["one_or_seven"], epochs=4)
    answers = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        train_demo_teacher(quick, folder)
        torch.rand(3)
        answers.append(ask_about_the_task(folder / quick.name)[0])
    assert_close(answers[0].logits_NK, answers[1].logits_NK)
    assert_close(answers[0].features_ND, answers[1].features_ND)


def test_half_a_teacher_is_replaced(tmp_path):
    quick = replace(BY_NAME["one_or_seven"], epochs=1)
    (tmp_path / quick.name).mkdir()
    (tmp_path / quick.name / "model.pt2").write_bytes(b"half")
    assert quick.name in {recipe.name for recipe in missing_recipes(Storage.at(str(tmp_path)))}
    train_demo_teacher(quick, tmp_path)
    assert load(tmp_path / quick.name).parameters > 10_000
    assert [path.name for path in tmp_path.iterdir()] == [quick.name]


def test_a_training_that_fails_leaves_nothing(tmp_path):
    broken = Recipe("broken", (b"no text", b"of JSON"), (0, 1) * 5, epochs=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        train_demo_teacher(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo_folder().is_relative_to(tmp_path)


@pytest.mark.slow
def test_knowledge_follows_the_recipe(tmp_path):
    """What each kind of teacher gets right on straight scans of five to nine."""
    shares = {}
    for name in ("ten_digits", "upside_down", "badly_trained", "shuffled_labels"):
        train_demo_teacher(BY_NAME[name], tmp_path)
        predictions, names = ask_about_the_task(tmp_path / name)
        guesses = [DIGIT_NAMES[best] for best in predictions.logits_NK.argmax(1)]
        shares[name] = np.mean([guess == name for guess, name in zip(guesses, names, strict=True)])
    assert shares["ten_digits"] > 0.93
    assert shares["upside_down"] < 0.6
    assert shares["badly_trained"] < shares["ten_digits"] - 0.2
    assert shares["shuffled_labels"] < 0.35
