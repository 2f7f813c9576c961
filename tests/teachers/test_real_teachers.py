"""Five real pretrained classifiers and real photographs, where they are at hand."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from rayxkd.data import ProbeSet, open_image_set, sample_probe_set
from rayxkd.teachers import ProbePixels, TeacherCard, open_repositories, predict
from rayxkd.teachers.preprocess import resize_and_crop
from rayxkd.transport.predictions import Predictions
from tests.teachers.folders import assert_close, assert_head_explains_logits, card_of, load

# K, D, and a class that its names must hold.
REAL = {
    "mobilenetv1_025_imagenet": (1001, 256, "daisy"),
    "mobilenetv1_050_imagenet": (1001, 512, "daisy"),
    "mobilenetv2_imagenet": (1001, 1280, "daisy"),
    "mobilenetv2_inat_birds": (965, 1280, "Turdus migratorius"),
    "mobilenetv2_inat_insects": (1022, 1280, "Danaus plexippus"),
}
COUNT = 60
IMAGENET = [name for name in REAL if name.endswith("imagenet")]


@pytest.fixture(scope="session")
def flowers(shared: Path) -> ProbeSet:
    images = open_image_set(str(shared / "data" / "flowers" / "test.parquet"))
    return sample_probe_set(images, COUNT)


@pytest.fixture(scope="session")
def said(shared: Path, flowers: ProbeSet):
    pixels = ProbePixels(flowers)
    return cache(lambda name: predict(load(shared / "zoo" / name), pixels))


def test_all_five_have_good_cards(shared):
    cards = open_repositories([str(shared / "zoo")])[0].cards()
    assert [card.teacher for card in cards] == [f"zoo/{name}" for name in sorted(REAL)]
    for card in cards:
        assert isinstance(card, TeacherCard)
        classes, width, example = REAL[card.teacher.removeprefix("zoo/")]
        assert (card.num_classes, card.num_features) == (classes, width)
        assert len(card.label_names) == classes
        assert sum(example in name for name in card.label_names) >= 1
        assert card.license
        assert 3_000_000 < card.weights_bytes < 8_000_000


@pytest.mark.parametrize("name", REAL)
def test_they_load_and_answer(said, shared, name):
    predictions: Predictions = said(name)
    classes, width, _ = REAL[name]
    assert predictions.logits_NK.shape == (COUNT, classes)
    assert predictions.features_ND is not None
    assert predictions.features_ND.shape == (COUNT, width)
    assert predictions.is_finite
    # Different images, different answers.
    assert len(predictions.logits_NK.argmax(1).unique()) > 5


@pytest.mark.parametrize("name", [name for name in REAL if name.startswith("mobilenetv2")])
def test_their_heads_explain_their_logits(said, shared, name):
    classifier = load(shared / "zoo" / name).module.get_classifier()
    assert_head_explains_logits(said(name), classifier.bias.detach())


@pytest.mark.parametrize("name", IMAGENET)
def test_daisies_are_called_daisies(said, shared, flowers, name):
    names = card_of(shared / "zoo" / name).label_names
    (daisy,) = (k for k, text in enumerate(names) if text == "daisy")
    is_daisy_N = torch.tensor([flowers.class_names[m] == "daisy" for m in flowers.labels_N])
    called_daisy_N = said(name).logits_NK.argmax(1) == daisy
    # The photographs were once some 32 pixels wide: even the best names one daisy in five.
    hits, false_alarms = (called_daisy_N[rows].float().mean() for rows in (is_daisy_N, ~is_daisy_N))
    assert hits > max(0.05, 2 * false_alarms)
    daisy_N = said(name).probabilities_NK()[:, daisy]
    assert daisy_N[is_daisy_N].mean() > 1.2 * daisy_N[~is_daisy_N].mean()


def test_a_real_teacher_says_what_timm_says(said, shared, flowers):
    """The weights in timm's own network, the images through timm's own transform."""
    import timm
    import timm.data
    from safetensors.torch import load_file

    folder = shared / "zoo" / "mobilenetv2_imagenet"
    card = card_of(folder)
    network = timm.create_model(card.architecture, num_classes=1001, **card.model_args).eval()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    wanted = card.preprocessing
    transform = timm.data.create_transform(
        input_size=wanted.input_size,
        mean=wanted.mean,
        std=wanted.std,
        interpolation=wanted.interpolation,
        crop_pct=wanted.crop_pct,
        crop_mode=wanted.crop_mode,
    )
    rows = pq.read_table(shared / "data" / "flowers" / "test.parquet").column("image").to_pylist()
    files = [rows[int(place)]["bytes"] for place in flowers.indices_N[:8]]
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    with torch.inference_mode():
        expected = network(torch.stack([transform(image) for image in images]))
    torch.testing.assert_close(said(folder.name).logits_NK[:8], expected, rtol=1e-4, atol=1e-4)
    assert resize_and_crop(images[0], wanted).size == wanted.input_size[:0:-1]


def test_names_of_living_things_are_names(shared):
    for name in ("mobilenetv2_inat_birds", "mobilenetv2_inat_insects"):
        names = card_of(shared / "zoo" / name).label_names
        latin = [text for text in names if re.match(r"[A-Z][a-z]+ [a-z-]+ \(.+\)", text)]
        assert len(latin) > 0.95 * len(names)
        assert names[-1] == "background"


def test_larger_networks_of_one_kind_agree(said):
    """Two MobileNets trained on the same task say the same more often than chance."""
    small, large = (said(name).logits_NK.argmax(1) for name in IMAGENET[:2])
    assert (small == large).float().mean() > 0.2
    assert_close(said(IMAGENET[0]).logits_NK, said(IMAGENET[0]).logits_NK)
