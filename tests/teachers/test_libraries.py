"""Teachers that torchvision and timm know by name; their weights lie on the loopback interface."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torchvision import models

from rayxkd.assess import AssessSettings, assess
from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.teachers import (
    Card,
    ProbePixels,
    RejectedCard,
    Repository,
    TeacherCard,
    TeacherError,
    load_teacher,
    open_repositories,
    predict,
    reopen,
)
from rayxkd.transport.predictions import Predictions
from tests.teachers.folders import CPU, assert_close, probe_of
from tests.teachers.hub_server import ask, serve_hub
from tests.web_server import serve_files

ARCHITECTURE = "shufflenet_v2_x0_5"
TORCHVISION = f"torchvision://{ARCHITECTURE}"
TIMM_NAMES = ("test_vit.r160_in1k", "test_efficientnet.r160_in1k")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which a web server shows it."""
    with serve_files(tmp_path / "web") as url:
        yield tmp_path / "web", url


@pytest.fixture
def published(
    files: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Path]:
    """An entry of torchvision's weights that lies on this machine, and its file."""
    folder, url = files
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.manual_seed(0)
    torch.save(models.get_model(ARCHITECTURE, weights=None).state_dict(), folder / "weights")
    digest = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    file = (folder / "weights").rename(folder / f"shufflenet-{digest[:8]}.pth")
    entry = models.get_model_weights(ARCHITECTURE).IMAGENET1K_V1
    monkeypatch.setattr(entry.value, "url", f"{url}/{file.name}")
    return entry, file


@pytest.fixture
def timm_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Weights of timm's smallest networks where its hub would have them."""
    for name in TIMM_NAMES:
        torch.manual_seed(1)
        network = timm.create_model(name.split(".")[0])
        folder = tmp_path / "hub" / "timm" / name
        folder.mkdir(parents=True)
        save_file(network.state_dict(), folder / "model.safetensors")
    with serve_hub(tmp_path / "hub") as hub:
        ask(hub, tmp_path / "cache", monkeypatch)
        yield


def photographs() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def only(address: str) -> tuple[Repository, TeacherCard]:
    (repository,) = open_repositories([address])
    (card,) = repository.cards()
    assert isinstance(card, TeacherCard), card
    return repository, card


def answers(address: str) -> tuple[TeacherCard, Predictions]:
    repository, card = only(address)
    with repository.weights(card) as weights:
        teacher = load_teacher(card, weights, CPU)
    return card, predict(teacher, ProbePixels(probe_of(photographs())))


def names(*addresses: str) -> list[str]:
    cards: list[Card] = []
    for repository in open_repositories(addresses):
        cards += repository.cards()
    assert not [card for card in cards if isinstance(card, RejectedCard)]
    return [card.teacher for card in cards]


@torch.inference_mode()
def test_torchvision_says_what_torchvision_says(published: tuple[Any, Path]) -> None:
    entry, _ = published
    card, said = answers(TORCHVISION)
    assert card.teacher == f"torchvision/{ARCHITECTURE}.IMAGENET1K_V1"
    assert list(card.label_names) == entry.meta["categories"]
    assert card.own_accuracy == pytest.approx(0.6055, abs=1e-3)
    network = models.get_model(ARCHITECTURE, weights=entry).eval()
    images = torch.stack([entry.transforms()(image) for image in photographs()])
    assert_close(said.logits_NK, network(images))
    assert said.features_ND is not None
    assert said.features_ND.shape == (2, 1024)
    assert said.class_names is not None


def test_torchvision_is_scanned(published: tuple[Any, Path], tmp_path: Path) -> None:
    settings = AssessSettings(repository=(TORCHVISION,), out=str(tmp_path / "b"), workers=0)
    (row,) = assess(settings).leaderboard.table.to_pylist()
    assert row["reason"] == ""
    assert (row["status"], row["repository"]) == ("ok", "torchvision://")
    assert (row["num_classes"], row["num_features"]) == (1000, 1024)
    assert row["license"] == "bsd-3-clause"
    (card,) = reopen(row["repository"], row["teacher"]).cards()
    assert card.teacher == row["teacher"]


def test_weights_are_downloaded_once_and_checked(
    published: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = published
    repository, card = only(TORCHVISION)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TeacherError, match="HF_HUB_OFFLINE is set: download http"):
        repository.weights(card).__enter__()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with repository.weights(card) as weights:
        assert weights.read_bytes() == file.read_bytes()
    file.unlink()
    with repository.weights(card) as weights:
        weights.unlink()
    monkeypatch.setattr("rayxkd.retries.WAITS", (0.01,))
    with pytest.raises(TeacherError, match=r"cannot be downloaded from http.*404"):
        repository.weights(card).__enter__()
    file.write_bytes(b"something else")
    with pytest.raises(TeacherError, match="invalid hash value") as caught:
        repository.weights(card).__enter__()
    assert caught.value.status is Status.UNTRUSTED


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("canary"),))


def test_pickles_that_are_no_weights_are_not_run(
    files: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, url = files
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Runs()}, folder / "weights.pth")
    entry = models.get_model_weights(ARCHITECTURE).IMAGENET1K_V1
    monkeypatch.setattr(entry.value, "url", f"{url}/weights.pth")
    repository, card = only(TORCHVISION)
    with repository.weights(card) as weights, pytest.raises(TeacherError, match="cannot be built"):
        load_teacher(card, weights, CPU)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", TIMM_NAMES)
@torch.inference_mode()
def test_timm_says_what_timm_says(name: str, timm_hub: None) -> None:
    card, said = answers(f"timm://{name}")
    network = timm.create_model(name, pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    images = torch.stack([transform(image) for image in photographs()])
    assert_close(said.logits_NK, network(images))
    assert card.teacher == f"timm/{name}"
    assert card.label_names[0] == "tench, Tinca tinca"
    assert (card.num_classes, card.license) == (1000, "apache-2.0")
    assert said.features_ND is not None
    assert card.num_features == said.features_ND.shape[1]


def test_all_that_the_libraries_have_is_listed() -> None:
    with_classes = [
        entry
        for architecture in models.list_models(module=models)
        for entry in models.get_model_weights(architecture)
        if entry.meta["categories"]
    ]
    assert len(names("torchvision://")) == len(with_classes) > 100
    architectures = models.list_models(module=models)
    assert len(names("torchvision://?weights=random")) == len(architectures)
    repository = open_repositories(["timm://"])[0]
    assert 1400 < len(repository.names()) < len(timm.list_pretrained())  # type: ignore[attr-defined]


def test_selections() -> None:
    assert names("torchvision://resnet18") == ["torchvision/resnet18.IMAGENET1K_V1"]
    both = names("torchvision://resnet50,vgg11*", "torchvision://resnet18")
    assert both == [
        *("torchvision/resnet18.IMAGENET1K_V1", "torchvision/resnet50.IMAGENET1K_V1"),
        *("torchvision/resnet50.IMAGENET1K_V2", "torchvision/vgg11.IMAGENET1K_V1"),
        "torchvision/vgg11_bn.IMAGENET1K_V1",
    ]
    assert names("torchvision://regnet*?license=cc-by-nc-4.0&max_parameters=100M") == [
        "torchvision/regnet_y_16gf.IMAGENET1K_SWAG_E2E_V1",
        "torchvision/regnet_y_16gf.IMAGENET1K_SWAG_LINEAR_V1",
    ]
    assert names("timm://test_vit*?license=apache-2.0,mit") == [
        *("timm/test_vit2.r160_in1k", "timm/test_vit3.r160_in1k", "timm/test_vit.r160_in1k"),
    ]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("torchvision://resnt18", "did you mean 'resnet"),
        ("timm://resnt18", "did you mean 'resnet"),
        ("timm://resnet18?licence=mit", "did you mean 'license'"),
        ("timm://resnet18?license=", "give each key once"),
        ("timm://resnet18?max_parameters=many", "max_parameters is a number such as 25M"),
        ("timm://resnet18?weights=none", "unknown kind of weights 'none'"),
        ("timm://resnet18?license=nobody", "leaves no teacher"),
    ],
)
def test_wrong_addresses(address: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        names(address)


# A sample of families, small ones; `jobs/assess.py` with ?weights=random runs them all.
SAMPLE = (
    *("mobilenet_v3_small", "squeezenet1_1"),
    *("test_convnext", "test_byobnet", "test_mambaout"),
)
SLOW_SAMPLE = (
    *("googlenet", "inception_v3", "maxvit_t", "swin_v2_t", "mnasnet0_5", "densenet121"),
    *("efficientvit_m0", "levit_128s", "mobilevit_xxs", "tinynet_e", "ghostnet_050", "lcnet_035"),
    *("pvt_v2_b0", "poolformer_s12", "xcit_nano_12_p16_224", "gmixer_12_224", "coat_tiny"),
    *("lambda_resnet26t",),  # convolutions over three axes
)


def assess_untrained(selected: list[str], out: Path) -> None:
    """Scan architectures with random weights on few images: all are ``ok``."""
    libraries = ("torchvision", "timm")
    known = {"torchvision": set(models.list_models(module=models)), "timm": set(timm.list_models())}
    addresses = []
    for library in libraries:
        mine = [name for name in selected if name in known[library]]
        addresses.append(f"{library}://{','.join(mine)}?weights=random")
    settings = AssessSettings(
        repository=tuple(addresses), out=str(out), workers=0, probe_size=20, no_evidence=True
    )
    rows = assess(settings).leaderboard.table.to_pylist()
    assert {row["teacher"].rpartition("/")[2] for row in rows} == set(selected)
    assert [row["reason"] for row in rows if row["status"] != "ok"] == []
    assert all(row["num_classes"] == 1000 and row["parameters"] > 0 for row in rows)


def test_untrained_networks_of_some_families(tmp_path: Path) -> None:
    assess_untrained(list(SAMPLE), tmp_path / "b")


@pytest.mark.slow
@pytest.mark.long
def test_untrained_networks_of_more_families(tmp_path: Path) -> None:
    assess_untrained(list(SLOW_SAMPLE), tmp_path / "b")


def test_untrained_networks_are_drawn_with_a_seed(tmp_path: Path) -> None:
    address = f"torchvision://{ARCHITECTURE}?weights=random"
    before = torch.random.get_rng_state()
    (_, first), (_, second) = answers(address), answers(address)
    assert torch.equal(first.logits_NK, second.logits_NK)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_untrained_vision_transformer_takes_images_of_the_size_of_its_card() -> None:
    repository, card = only("torchvision://vit_b_32?weights=random")
    wanted = replace(card.preprocessing, input_size=(3, 64, 64))
    with repository.weights(card) as weights:
        teacher = load_teacher(replace(card, preprocessing=wanted), weights, CPU)
    assert predict(teacher, ProbePixels(probe_of(photographs()))).logits_NK.shape[1] == 1000
