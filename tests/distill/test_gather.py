"""The images of a task: which are learnt from, and what is wrong with them in one line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rayxkd.data import open_image_set
from rayxkd.distill import DistillSettings, TrainingSettings
from rayxkd.distill.gather import Task, gather_task
from rayxkd.distill.mixtures import mixtures
from rayxkd.distill.objectives import UNLABELLED
from rayxkd.errors import UserError

PLAIN = DistillSettings(objective=("cross_entropy",))


def folder(path: Path, counts: dict[str, int], *, first: int = 0) -> str:
    """Class folders of small images, each of its own."""
    for place, (name, count) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for number in range(count):
            colour = (first + 16 * place, number, 99)
            Image.new("RGB", (12, 9), colour).save(path / name / f"{number:03}.png")
    return str(path)


def gathered(**changes: Any) -> Task:
    return gather_task(replace(PLAIN, **changes))


def refused(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        gathered(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_demo() -> None:
    task = gathered(test="demo://test")
    assert task.class_names == ("five", "six", "seven", "eight", "nine")
    assert np.bincount(task.training.labels_N).tolist() == [20] * 5
    assert task.validation is None
    assert task.test is not None
    assert len(task.test) == 188
    assert (task.unlabelled, task.mixtures) == (0, 0)
    assert not set(task.training.images.digests) & set(task.test.images.digests)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.3, 0.5, 0.9])
def test_a_share_of_every_class_is_held_back(tmp_path: Path, share: float) -> None:
    data = folder(tmp_path / "data", {"a": 20, "b": 40, "c": 20})
    whole = gathered(data=data)
    task = gathered(data=data, validation=share)
    assert task.validation is not None
    held, kept = task.validation, task.training
    assert np.bincount(held.labels_N) == pytest.approx(share * np.array([20, 40, 20]), abs=1)
    assert len(held) == pytest.approx(share * 80, abs=0.5)
    digests = held.images.digests, kept.images.digests
    assert not set(digests[0]) & set(digests[1])
    assert sorted([*digests[0], *digests[1]]) == sorted(whole.training.images.digests)
    # Each image keeps its label.
    label = dict(zip(whole.training.images.digests, whole.training.labels_N, strict=True))
    assert [label[digest] for digest in digests[0]] == held.labels_N.tolist()
    assert [label[digest] for digest in digests[1]] == kept.labels_N.tolist()


def test_what_is_held_back_follows_the_seed() -> None:
    def held(seed: int) -> list[str]:
        task = gathered(validation=0.2, training=TrainingSettings(seed=seed))
        assert task.validation is not None
        return task.validation.images.digests

    assert held(0) == held(0)
    assert held(0) != held(1)


def test_unlabelled_images_come_after_the_labelled(tmp_path: Path) -> None:
    more = folder(tmp_path / "more", {"whatever": 7, "their": 3, "labels": 2}, first=100)
    task = gathered(unlabelled=more, objective=("transport",), mixtures=5)
    assert (task.unlabelled, task.mixtures) == (12, 5)
    assert task.training.num_labelled == 100
    assert (task.training.labels_N[:100] != UNLABELLED).all()
    assert (task.training.labels_N[100:] == UNLABELLED).all()
    assert len(task.training) == len(task.training.images) == 117
    found = set(task.training.images.digests[100:112])
    everything = open_image_set(more, labelled=False)
    assert len(everything) == 12
    assert len(found) == 12
    assert task.training.images.decoded(100).size == (12, 9)


def test_images_without_label_are_not_read_where_no_teacher_speaks(tmp_path: Path) -> None:
    assert gathered(unlabelled=str(tmp_path / "nowhere")).unlabelled == 0
    assert "nowhere" in refused(unlabelled=str(tmp_path / "nowhere"), objective=("probe",))


def test_the_digest_follows_images_labels_and_their_order(tmp_path: Path) -> None:
    one = gathered(data=folder(tmp_path / "one", {"a": 5, "b": 5}))
    same = gathered(data=folder(tmp_path / "two", {"a": 5, "b": 5}))
    more = gathered(data=folder(tmp_path / "three", {"a": 5, "b": 6}))
    others = gathered(data=folder(tmp_path / "four", {"a": 5, "b": 5}, first=9))
    renamed = gathered(data=folder(tmp_path / "five", {"a": 5, "c": 5}))
    assert one.digest == same.digest
    assert len({task.digest for task in (one, more, others, renamed)}) == 4


def test_a_test_set_of_some_classes_in_another_order(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"a": 4, "b": 4, "c": 4})
    test = folder(tmp_path / "test", {"c": 2, "b": 3})
    task = gathered(data=data, test=test)
    assert task.test is not None
    assert task.test.labels_N.tolist() == [1, 1, 1, 2, 2]


def test_a_test_set_of_unknown_classes_is_refused(tmp_path: Path) -> None:
    test = folder(tmp_path / "test", {"five": 2, "ten": 2, "eleven": 2})
    line = refused(test=test)
    assert f"--test {test} has classes that the labelled images do not have" in line
    assert "'eleven', 'ten'" in line
    assert "'five'" not in line


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    assert "nowhere" in refused(data=str(tmp_path / "nowhere"))
    assert "nowhere" in refused(test=str(tmp_path / "nowhere"))
    assert "one class only" in refused(data=folder(tmp_path / "one", {"a": 5}))
    lonely = folder(tmp_path / "lonely", {"a": 5, "b": 1})
    assert "class 'b' has 1 readable image(s)" in refused(data=lonely)
    pair = folder(tmp_path / "pair", {"a": 2, "b": 2})
    assert "leaves" in refused(data=pair, validation=0.9)
    assert "of 4 images is none: raise it" in refused(data=pair, validation=0.0001)
    damaged = folder(tmp_path / "damaged", {"a": 10, "b": 10})
    for number in range(3):
        (tmp_path / "damaged" / "a" / f"{number:03}.png").write_bytes(b"no image")
    assert "3 of 20 images cannot be decoded" in refused(data=damaged)


def test_a_few_damaged_images_are_left_out(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"a": 100, "b": 100})
    (tmp_path / "data" / "b" / "004.png").write_bytes(b"no image")
    task = gathered(data=data)
    assert np.bincount(task.training.labels_N).tolist() == [100, 99]
    assert len(task.training.images) == 199


# Mixtures


def test_mixtures_follow_their_seed() -> None:
    images = gathered().training.images
    first, second, other = mixtures(images, 8, 1), mixtures(images, 8, 1), mixtures(images, 8, 2)
    assert first.digests == second.digests
    assert not set(first.digests) & set(other.digests)
    assert len(set(first.digests)) == 8


def test_mixtures_are_blends_of_two_images(tmp_path: Path) -> None:
    """Of a black and a white image: even grey, as dark as the share says."""
    for name, value in (("black", 0), ("white", 255)):
        (tmp_path / name).mkdir()
        for number in range(2):
            image = Image.new("RGB", (16, 16 + number), (value,) * 3)
            image.save(tmp_path / name / f"{number}.png")
    images = gathered(data=str(tmp_path)).training.images
    levels = []
    for place in range(40):
        pixels = np.asarray(mixtures(images, 40, 0).decoded(place))
        assert np.ptp(pixels) <= 2
        levels.append(int(pixels.mean()))
    pure = sum(level in (0, 255) for level in levels)
    assert 4 < pure < 25, "a third of all pairs are of one colour"
    assert np.std(levels) > 50


def test_mixtures_of_any_mode_and_size() -> None:
    contents = []
    for mode, size in (("L", (9, 5)), ("RGBA", (5, 30)), ("P", (1, 1)), ("RGB", (40, 40))):
        file = io.BytesIO()
        Image.new(mode, size).save(file, format="PNG")
        contents.append(file.getvalue())
    from rayxkd.data import EncodedImages

    images = EncodedImages(
        np.frombuffer(b"".join(contents), np.uint8), np.cumsum([len(c) for c in contents])
    )
    blends = mixtures(images, 20)
    assert len(blends) == 20
    assert {blends.decoded(place).mode for place in range(20)} == {"RGB"}
