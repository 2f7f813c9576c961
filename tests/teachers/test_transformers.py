"""Folders of transformers: the same pixels, logits and class names as the library's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images
from transformers import AutoImageProcessor

from rayxkd.assess import AssessSettings, assess
from rayxkd.status import Status
from rayxkd.teachers import (
    ProbePixels,
    RejectedCard,
    TeacherCard,
    TeacherError,
    open_repositories,
    predict,
)
from rayxkd.teachers.entries import Entries
from rayxkd.teachers.preprocess import normalised, resize_and_crop
from rayxkd.teachers.transformers_processors import read_processor
from tests.teachers.folders import (
    WEIGHTS,
    assert_close,
    assert_head_explains_logits,
    card_of,
    load,
    probe_of,
    random_images,
)
from tests.teachers.transformers_folders import NAMES, NETWORKS, SMALL, VIT, write_transformers


def images() -> list[Image.Image]:
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [*photographs, *random_images(6)]


def change(folder: Path, name: str, **entries: Any) -> Path:
    """Change entries of a JSON file; ``None`` removes one."""
    file = folder / name
    content = json.loads(file.read_text()) | entries
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return folder


def reason_of(folder: Path) -> tuple[Status, str]:
    (card,) = open_repositories([str(folder)])[0].cards()
    if isinstance(card, RejectedCard):
        return card.status, card.reason
    with pytest.raises(TeacherError) as error:
        load(folder)
    return error.value.status, error.value.reason


@pytest.mark.parametrize("kind", NETWORKS)
def test_logits_are_the_librarys_own(kind: str, tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / kind, kind)
    teacher = load(folder)
    found = predict(teacher, ProbePixels(probe_of(images())))
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = getattr(transformers, f"{NETWORKS[kind][0]}ForImageClassification")
    network = model.from_pretrained(folder).eval()
    with torch.inference_mode():
        inputs = processor(images=images(), return_tensors="pt")
        expected = network(**inputs).logits
    assert expected.std() > 1e-4
    assert_close(found.logits_NK, expected)
    assert found.class_names == tuple(NAMES.values())
    assert (teacher.card.num_classes, teacher.card.library) == (3, "transformers")
    assert found.features_ND is not None
    if kind == "levit":  # its head normalises before it is linear
        return
    bias = next(p for n, p in network.named_parameters() if "classifier" in n and "bias" in n)
    assert_head_explains_logits(found, bias.detach())


PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ViT", {}),
    ("ViT", {"size": {"height": 50, "width": 30}, "resample": 1}),
    ("ViT", {"do_rescale": False, "size": SMALL}),
    ("ViT", {"do_normalize": False, "size": SMALL}),
    ("ViT", {"image_mean": 0.4, "image_std": 0.3, "size": SMALL}),
    ("DeiT", {}),
    ("DeiT", {"do_center_crop": False}),
    ("Beit", {"do_center_crop": True}),
    ("Bit", {"size": {"shortest_edge": 30}, "crop_size": {"height": 41, "width": 44}}),
    ("CLIP", {}),
    ("ConvNext", {}),
    ("ConvNext", {"size": {"shortest_edge": 224}}),
    ("MobileNetV1", {}),
    ("MobileNetV2", {"crop_size": {"height": 201, "width": 200}}),
    ("MobileViT", {}),
    ("MobileViT", {"do_flip_channel_order": False}),
    ("Levit", {}),
    ("PoolFormer", {}),
    ("PoolFormer", {"size": {"height": 100, "width": 100}, "crop_pct": 0.75}),
    ("Pvt", {}),
    ("Segformer", {}),
    ("Siglip", {}),
    ("EfficientNet", {}),
    ("EfficientNet", {"include_top": False, "do_center_crop": True}),
    ("EfficientNet", {"rescale_factor": 1 / 127.5, "rescale_offset": True}),
]


@pytest.mark.parametrize("case", range(len(PROCESSORS)))
def test_pixels_are_the_librarys_own(case: int) -> None:
    name, arguments = PROCESSORS[case]
    processor = getattr(transformers, f"{name}ImageProcessorPil")(**arguments)
    wanted = read_processor(
        Entries("preprocessor_config.json", json.loads(processor.to_json_string()))
    )
    for image in images():
        (expected,) = processor(images=[image], return_tensors="pt")["pixel_values"]
        _, height, width = wanted.input_size
        cropped = resize_and_crop(image, wanted)
        assert cropped.size == (width, height)
        values = torch.tensor(list(cropped.tobytes()), dtype=torch.uint8)
        pixels = values.view(1, height, width, 3).permute(0, 3, 1, 2)
        assert_close(normalised(pixels, wanted)[0], expected)


OLDER = [
    ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32}, "squash", (32, 32)),
    ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 64}, "center", (73, 73)),
    ({"image_processor_type": "ViTImageProcessorFast", "size": [48, 32]}, "squash", (48, 32)),
    (
        {"image_processor_type": "BitImageProcessor", "size": 70, "crop_size": 64},
        "center",
        (70, 70),
    ),
]


@pytest.mark.parametrize("case", OLDER)
def test_files_of_older_versions_are_read(
    case: tuple[dict[str, Any], str, tuple[int, int]],
) -> None:
    entries, mode, resize = case
    wanted = read_processor(Entries("preprocessor_config.json", entries))
    assert (wanted.crop_mode, wanted.resize) == (mode, resize)


def test_a_scan_ranks_them_beside_others(tmp_path: Path) -> None:
    for kind in ("vit", "resnet", "mobilevit"):
        write_transformers(tmp_path / "zoo" / kind, kind)
    settings = AssessSettings(
        repository=[str(tmp_path / "zoo")],
        probe="demo://",
        probe_size=20,
        out=str(tmp_path / "out"),
        workers=0,
    )
    table = assess(settings).leaderboard.table.to_pydict()
    assert sorted(table["teacher"]) == ["zoo/mobilevit", "zoo/resnet", "zoo/vit"]
    assert set(table["status"]) == {"ok"}
    assert set(table["num_classes"]) == {3}
    assert sorted(table["num_features"]) == [8, 16, 16]


def test_numbered_labels_are_no_names(tmp_path: Path) -> None:
    folder = change(
        write_transformers(tmp_path / "vit", "vit"), "config.json", id2label=None, num_labels=3
    )
    card = card_of(folder)
    assert (card.num_classes, card.label_names) == (3, ())
    change(folder, "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    assert card_of(folder).label_names == ()


def test_both_files_are_in_the_digest(tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / "vit", "vit")
    first = card_of(folder).card_digest
    change(folder, "preprocessor_config.json", resample=3)
    assert card_of(folder).card_digest != first


def test_old_names_of_weights_are_known(tmp_path: Path) -> None:
    """Early checkpoints call the scale of a normalisation gamma, and count no batches."""
    folder = write_transformers(tmp_path / "resnet", "resnet")
    weights = load_file(folder / WEIGHTS)
    kept = {name: one for name, one in weights.items() if "num_batches" not in name}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})
    load(folder)


CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
REFUSED: list[tuple[str, dict[str, Any], Status, str]] = [
    (CONFIG, {"auto_map": {"AutoModel": "code.Model"}}, Status.UNTRUSTED, "never run"),
    (CONFIG, {"architectures": ["ViTModel"]}, Status.UNSUPPORTED, "no image classifier"),
    (CONFIG, {"architectures": []}, Status.INVALID, "names no 'architectures'"),
    (CONFIG, {"architectures": ["os.system"]}, Status.UNSUPPORTED, "no image classifier"),
    (CONFIG, {"architectures": ["BitForImageClassification"]}, Status.INVALID, "no network of"),
    (CONFIG, {"model_type": "vitt"}, Status.UNSUPPORTED, "did you mean 'vit'"),
    (CONFIG, {"id2label": {"0": "a", "2": "b"}}, Status.INVALID, "number its classes"),
    (CONFIG, {"quantization_config": {"bits": 4}}, Status.UNSUPPORTED, "quantised"),
    (CONFIG, {"hidden_size": 20_000}, Status.INVALID, "asks for a ViTForImageClassification of"),
    (CONFIG, {"num_hidden_layers": 3}, Status.INVALID, "layers.2"),
    (CONFIG, {"intermediate_size": 32}, Status.INVALID, "cannot be built"),
    (CONFIG, {"num_channels": 5}, Status.INVALID, "'num_channels' from 1 to 3"),
    (CONFIG, {"problem_type": "multi_label_classification"}, Status.UNSUPPORTED, "several labels"),
    (PROCESSOR, {"image_processor_type": None}, Status.UNSUPPORTED, "names no image_processor"),
    (PROCESSOR, {"image_processor_type": "Evil"}, Status.UNSUPPORTED, "asks for a Evil"),
    (PROCESSOR, {"size": {"longest_edge": 9}}, Status.UNSUPPORTED, "longest_edge"),
    (PROCESSOR, {"size": {"shortest_edge": 32}}, Status.UNSUPPORTED, "they differ in size"),
    (PROCESSOR, {"size": {"height": 1e9, "width": 9}}, Status.INVALID, "needs a 'height'"),
    (PROCESSOR, {"size": {"height": 5000, "width": 9}}, Status.INVALID, "asks for images of"),
    (PROCESSOR, {"image_std": [0, 1, 1]}, Status.INVALID, "not positive"),
    (PROCESSOR, {"image_mean": [float("inf"), 1, 1]}, Status.INVALID, "does not fit 3 channels"),
    (PROCESSOR, {"resample": 9}, Status.INVALID, "'resample' from 0 to 5"),
    (PROCESSOR, {"do_resize": False}, Status.UNSUPPORTED, "of any size"),
    (PROCESSOR, {"do_resize": "yes"}, Status.INVALID, "true or false"),
]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_says_why(
    case: tuple[str, dict[str, Any], Status, str], tmp_path: Path
) -> None:
    file, entries, status, words = case
    found, reason = reason_of(change(write_transformers(tmp_path / "vit", "vit"), file, **entries))
    assert found == status, reason
    assert words in reason


def test_a_backbone_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / "vit", "vit")
    weights = load_file(folder / WEIGHTS)
    headless = {name: one for name, one in weights.items() if "classifier" not in name}
    save_file(headless, folder / WEIGHTS, {"format": "pt"})
    assert reason_of(folder) == (
        Status.INVALID,
        "the weights do not fit the architecture: 'classifier.bias' is missing",
    )


def test_entries_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    """An attention implementation with a slash in its name is code from a hub."""
    folder = write_transformers(tmp_path / "vit", "vit")
    change(folder, CONFIG, _attn_implementation="owner/kernel", attn_implementation="owner/kernel")
    load(folder)


def test_a_folder_without_its_processor_is_unsupported(tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / "vit", "vit")
    (folder / PROCESSOR).unlink()
    status, reason = reason_of(folder)
    assert status == Status.UNSUPPORTED
    assert PROCESSOR in reason


def test_a_grey_network_takes_grey_images(tmp_path: Path) -> None:
    arguments = VIT | {"num_channels": 1}
    processing = {"size": SMALL, "image_mean": [0.5], "image_std": [0.25]}
    teacher = load(write_transformers(tmp_path / "vit", "vit", arguments, processing))
    assert isinstance(teacher.card, TeacherCard)
    assert teacher.card.preprocessing.input_size == (1, 32, 32)
    grey = [image.convert("L") for image in images()]
    processor = AutoImageProcessor.from_pretrained(tmp_path / "vit", backend="pil")
    network = transformers.ViTForImageClassification.from_pretrained(tmp_path / "vit").eval()
    with torch.inference_mode():
        expected = network(**processor(images=grey, return_tensors="pt")).logits
    assert_close(predict(teacher, ProbePixels(probe_of(grey))).logits_NK, expected)
