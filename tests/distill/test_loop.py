"""The training loop on the demo's images, with teachers that are made up."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rayxkd.data import EncodedImages
from rayxkd.data.views import View
from rayxkd.distill import DistillSettings, TrainingSettings, TransportSettings
from rayxkd.distill.gather import gather_task
from rayxkd.distill.loop import Place, Training
from rayxkd.distill.material import LabelledImages, Material, TaughtBy, joined
from rayxkd.distill.objectives import UNLABELLED, TeacherSays
from rayxkd.distill.students import student_spec
from rayxkd.teachers import Said

VIEWS = 2
SHORT = TrainingSettings(epochs=4, epoch_images=96, batch_size=32)
# All that counts is said here: the defaults are free to become better.
SETTINGS = DistillSettings(
    training=SHORT,
    transport=TransportSettings(form="target", epsilon=1.0),
    weight=(1.0,),
    views=VIEWS,
    test="demo://test",
)
SPEC = student_spec("small_resnet8", 5, image_size=8)


def said_of(labels: np.ndarray, *, strength: float = 3.0, seed: int = 0) -> Said:
    """A teacher of seven classes that knows the labels more or less."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels) * VIEWS, 7)).astype(np.float32)
    logits[np.arange(len(logits)), np.repeat(labels, VIEWS)] += strength
    features = np.tanh(logits @ rng.normal(size=(7, 6)).astype(np.float32))
    return Said(logits, features)


def taught(labels: np.ndarray, **changes: Any) -> TaughtBy:
    return TaughtBy("made up", 1.0, said_of(labels, **changes), ())


@pytest.fixture(scope="module")
def material() -> Material:
    task = gather_task(replace(SETTINGS, objective=("cross_entropy",)))
    training = task.training
    return Material(
        task.class_names, training, None, task.test, VIEWS, (taught(training.labels_N),)
    )


@pytest.fixture(scope="module")
def more(material: Material) -> Material:
    """The test images once more as images without label, of which the teacher knows the class."""
    test = material.test
    assert test is not None
    others = LabelledImages(test.images, np.full(len(test), UNLABELLED, np.int64))
    known = np.concatenate([material.training.labels_N, test.labels_N])
    return replace(material, training=joined(material.training, others), faculty=(taught(known),))


def trained(settings: DistillSettings, material: Material, epochs: int | None = None) -> Training:
    training = Training(settings, SPEC, material)
    while not training.is_done and training.epoch != epochs:
        training.train_epoch()
    return training


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


def changed(settings: DistillSettings = SETTINGS, **changes: Any) -> DistillSettings:
    return replace(settings, training=replace(settings.training, **changes))


@pytest.mark.parametrize("augment", ["none", "crop", "strong"])
def test_the_same_seed_gives_the_same_student_to_the_bit(material: Material, augment: str) -> None:
    settings = changed(epochs=2, augment=augment)
    first = trained(settings, material)
    torch.manual_seed(12345)  # whatever else draws numbers in this process
    torch.rand(7)
    second = trained(settings, material)
    assert_same(weights(first), weights(second))
    assert first.history == second.history
    other = trained(replace(settings, training=replace(settings.training, seed=1)), material)
    assert differ(weights(first), weights(other))


VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "last weights": {"ema": 0.0},
    "adamw": {"optimizer": "adamw"},
    "strong": {"augment": "strong"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("objective", ["transport", "probe"])
def test_a_training_that_goes_on_ends_as_an_undisturbed_one(
    material: Material, variant: str, objective: str
) -> None:
    settings = replace(changed(**VARIANTS[variant]), objective=(objective,))
    undisturbed = trained(settings, material)
    stopped = trained(settings, material, epochs=2)
    buffer = io.BytesIO()
    torch.save(stopped.state(), buffer)
    stopped.train_epoch()  # and dies before it could save this one
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    torch.manual_seed(999)
    went_on = Training(settings, SPEC, material)
    went_on.load(state)
    assert went_on.epoch == 2
    while not went_on.is_done:
        went_on.train_epoch()
    assert_same(weights(undisturbed), weights(went_on))
    assert undisturbed.history == went_on.history


def test_a_state_of_every_epoch_will_do(material: Material) -> None:
    undisturbed = weights(trained(SETTINGS, material))
    training = Training(SETTINGS, SPEC, material)
    for epoch in range(SHORT.epochs):
        after = Training(SETTINGS, SPEC, material)
        after.load(copy.deepcopy(training.state()))
        assert after.epoch == epoch
        after.train_epoch()
        training = after
    assert training.is_done
    assert_same(undisturbed, weights(training))


def test_averaged_weights_count_and_can_be_turned_off(material: Material) -> None:
    averaged, plain = trained(SETTINGS, material), trained(changed(ema=0.0), material)
    assert averaged.network is not averaged.student
    assert plain.network is plain.student
    assert differ(weights(averaged), averaged.student.state_dict())
    # The average is only watched: what is trained is the same.
    assert_same(averaged.student.state_dict(), plain.student.state_dict())
    assert plain.state()["average"] is None


def test_an_average_is_that_of_its_formula(material: Material) -> None:
    """a <- d a + (1 - d) w with d = min(decay, (1 + n) / (10 + n)) after n updates."""
    training = Training(changed(epochs=1, ema=0.9), SPEC, material)
    expected: dict[str, torch.Tensor] = {}
    count = 0
    average = training._average
    assert average is not None
    update = average.update_parameters

    def followed(student: torch.nn.Module) -> None:
        nonlocal count
        for name, value in student.state_dict().items():
            if count == 0 or not value.is_floating_point():
                expected[name] = value.clone()
            else:
                decay = min(0.9, (1 + count) / (10 + count))
                expected[name] = decay * expected[name] + (1 - decay) * value
        count += 1
        update(student)

    average.update_parameters = followed  # type: ignore[method-assign]
    training.train_epoch()
    assert count == 4
    found = training.network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_unlabelled_images_do_not_touch_what_asks_no_teacher(
    material: Material, more: Material
) -> None:
    for name in ("cross_entropy", "label_smoothing", "confidence_penalty"):
        settings = replace(changed(epochs=1), objective=(name,))
        labels_only = trained(settings, replace(material, faculty=()))
        with_others = trained(changed(settings, epoch_images=96), replace(more, faculty=()))
        assert_same(weights(labels_only), weights(with_others))


@pytest.mark.parametrize("objective", ["transport", "sorted_logits", "probe", "relation"])
def test_unlabelled_images_teach_where_a_teacher_is_asked(
    material: Material, more: Material, objective: str
) -> None:
    settings = replace(changed(epochs=1, epoch_images=288), objective=(objective,))
    alone, together = trained(settings, material), trained(settings, more)
    assert alone._plan.steps == together._plan.steps
    assert differ(weights(alone), weights(together))
    seen = np.concatenate(list(together._plan.batches(0)))
    assert (seen >= 100).mean() == 0.75


def test_labels_of_unlabelled_images_have_no_part(more: Material) -> None:
    """What is said of images is all there is to know of them: a lying label changes nothing."""
    settings = changed(epochs=1)
    first = trained(settings, more)
    assert first.history[0]["loss_cross_entropy"] > 0
    lying = replace(
        more, faculty=(replace(more.faculty[0], said=said_of(np.zeros(288, int), seed=0)),)
    )
    assert differ(weights(first), weights(trained(settings, lying)))


def test_the_student_becomes_good(material: Material) -> None:
    training = trained(changed(epochs=12, epoch_images=320), material)
    accuracy = [row["accuracy_test"] for row in training.history]
    assert accuracy[-1] > 0.75, "chance is 0.2"
    assert training.history[-1]["loss"] < training.history[0]["loss"] / 2
    test = material.test
    assert test is not None
    assert training.correct(test) / len(test) == pytest.approx(accuracy[-1])


def test_a_teacher_that_knows_helps_through_unlabelled_images(
    material: Material, more: Material
) -> None:
    """Two labels a class; the teacher's word on all other images."""
    few = np.concatenate([np.flatnonzero(material.training.labels_N == m)[:2] for m in range(5)])
    contents = [more.training.images.encoded(int(place)) for place in few]
    labelled = LabelledImages(
        EncodedImages(
            np.frombuffer(b"".join(contents), np.uint8), np.cumsum([len(c) for c in contents])
        ),
        material.training.labels_N[few],
    )
    test = material.test
    assert test is not None
    others = LabelledImages(test.images, np.full(len(test), UNLABELLED, np.int64))
    known = np.concatenate([labelled.labels_N, test.labels_N])
    taught_by = (taught(known, strength=6.0),)
    there = replace(material, training=joined(labelled, others), faculty=taught_by)
    settings = changed(epochs=10, epoch_images=256, learning_rate=0.03)
    alone = trained(replace(settings, objective=("cross_entropy",)), there)
    helped = trained(settings, there)
    gain = helped.history[-1]["accuracy_test"] - alone.history[-1]["accuracy_test"]
    assert gain > 0.05


def test_a_history_says_what_was_measured(material: Material) -> None:
    validation = material.test
    watched = replace(material, validation=validation)
    settings = replace(
        changed(epochs=3), objective=("transport", "cross_entropy", "relation"), weight=(2, 1, 3)
    )
    rows = trained(settings, watched).history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        parts = (row[f"loss_{name}"] for name in ("cross_entropy", "transport", "relation"))
        cross_entropy, transport, relation = parts
        expected = cross_entropy + 2 * transport + 3 * relation
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        assert row["accuracy_validation"] == row["accuracy_test"]
    assert rows[0]["learning_rate"] > rows[1]["learning_rate"] > rows[2]["learning_rate"]


def test_the_test_set_is_looked_at_now_and_then_only(material: Material) -> None:
    settings = changed(epochs=45, epoch_images=1, batch_size=16)
    cheap = replace(
        material,
        training=LabelledImages(material.training.images.first(8), material.training.labels_N[:8]),
        faculty=(),
    )
    rows = trained(replace(settings, objective=("cross_entropy",)), cheap).history
    looked = [row["epoch"] for row in rows if "accuracy_test" in row]
    assert looked == [*range(2, 45, 2), 45]


def test_the_learning_rate_rises_and_falls(material: Material) -> None:
    training = Training(changed(epochs=10, warmup=0.5, learning_rate=0.08), SPEC, material)
    rates = []
    for _ in range(10 * training._plan.steps):
        rates.append(training._schedule.get_last_lr()[0])
        training._optimizer.step()
        training._schedule.step()
    top = int(np.argmax(rates))
    assert 0 < top <= len(rates) // 2
    assert max(rates) <= 0.08
    assert rates[0] < 0.01
    assert rates[-1] < 0.001
    assert np.diff(rates[top:]).max() <= 0


def test_gradients_are_clipped(material: Material) -> None:
    wild = changed(epochs=1, clip=1e-9, weight_decay=0.0, ema=0.0)
    training = Training(wild, SPEC, material)
    before = {name: value.clone() for name, value in training.student.named_parameters()}
    training.train_epoch()
    for name, value in training.student.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-8)


def test_a_teacher_is_asked_online_about_what_the_student_sees(material: Material) -> None:
    asked: list[tuple[np.ndarray, Sequence[View]]] = []
    word = material.faculty[0].said.rows(np.arange(0, 200, VIEWS))

    def ask(places: np.ndarray, views: Sequence[View]) -> tuple[TeacherSays, ...]:
        asked.append((places, views))
        said = word.rows(places)
        features = said.features_RD
        assert features is not None
        return (TeacherSays(torch.from_numpy(said.logits_RK), torch.from_numpy(features)),)

    faculty = (replace(material.faculty[0], said=word),)
    online = replace(material, faculty=faculty)
    settings = replace(changed(epochs=2), teacher_pass="online")
    first = Training(settings, SPEC, online, Place(), ask)
    while not first.is_done:
        first.train_epoch()
    assert len(asked) == 2 * first._plan.steps
    assert all(len(places) == len(views) == 32 for places, views in asked)
    assert len({view for _, views in asked for view in views}) > 150
    second = Training(settings, SPEC, online, Place(), ask)
    while not second.is_done:
        second.train_epoch()
    assert_same(weights(first), weights(second))


def test_ranks_see_parts_of_the_same_batch(material: Material) -> None:
    """Two workers together see what one would see, each with chance of its own."""
    seen: list[np.ndarray] = []
    for rank in range(2):
        training = Training(changed(epochs=1), SPEC, material, Place(rank, 2))
        original = training._batch
        parts: list[np.ndarray] = []

        def noted(
            places: np.ndarray, rng: Any, original: Any = original, parts: Any = parts
        ) -> Any:
            parts.append(places)
            return original(places, rng)

        training._batch = noted  # type: ignore[method-assign]
        training.train_epoch()
        seen.append(np.stack(parts))
    whole = np.stack(list(training._plan.batches(0)))
    assert (np.sort(np.concatenate(seen, axis=1)) == np.sort(whole)).all()
