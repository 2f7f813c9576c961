"""Teachers of a model hub, from a server on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import transformers

from rayxkd.assess import AssessSettings, assess
from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.teachers import (
    ProbePixels,
    RejectedCard,
    TeacherCard,
    TeacherError,
    load_teacher,
    open_repositories,
    predict,
    reopen,
    teacher_digest,
)
from tests.teachers.folders import (
    CPU,
    assert_close,
    preprocessing,
    probe_of,
    random_images,
    write_card,
    write_weights,
)
from tests.teachers.hub_server import Hub, ask, serve_hub
from tests.teachers.transformers_folders import write_transformers

NETWORK = "test_resnet"
NAMES = ["red", "green", "blue"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two owners; the client's library asks it, with a cache of its own."""
    for place, model in enumerate(("ann/small", "ann/other", "bob/deep/folder")):
        torch.manual_seed(place)
        folder = write_card(
            tmp_path / "hub" / model,
            architecture=NETWORK,
            num_classes=3,
            num_features=96,
            label_names=NAMES,
            pretrained_cfg=preprocessing(32),
        )
        write_weights(folder, timm.create_model(NETWORK, num_classes=3))
    with serve_hub(tmp_path / "hub") as hub:
        ask(hub, tmp_path / "cache", monkeypatch)
        yield hub


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as known

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(known, "HF_HUB_OFFLINE", True)


def cards(*addresses: str) -> list[TeacherCard | RejectedCard]:
    (repository,) = open_repositories(addresses)
    return repository.cards()


def rejected(address: str) -> RejectedCard:
    (card,) = cards(address)
    assert isinstance(card, RejectedCard), card
    return card


def names(*addresses: str) -> list[str]:
    return [card.teacher for card in cards(*addresses)]


def test_a_scan_says_what_the_library_says(hub: Hub, tmp_path: Path) -> None:
    settings = AssessSettings(repository=("hf://ann/small",), out=str(tmp_path / "b"), workers=0)
    (row,) = assess(settings).leaderboard.table.to_pylist()
    assert row["reason"] == ""
    assert (row["teacher"], row["repository"], row["status"]) == ("hf/ann/small", "hf://", "ok")
    assert (row["num_classes"], row["num_features"], row["license"]) == (3, 96, "apache-2.0")

    (card,) = cards("hf://ann/small")
    assert isinstance(card, TeacherCard)
    assert card.label_names == tuple(NAMES)
    assert card.preprocessing.input_size == (3, 32, 32)
    probe = ProbePixels(probe_of(random_images(4)))
    with open_repositories(["hf://ann/small"])[0].weights(card) as weights:
        assert teacher_digest(card, weights) == row["teacher_digest"]
        said = predict(load_teacher(card, weights, CPU), probe)
        network = timm.create_model(NETWORK, num_classes=3, checkpoint_path=str(weights)).eval()
    with torch.inference_mode():
        assert_close(said.logits_NK, network(probe.batch(card.preprocessing, slice(0, 4))))


def test_a_model_of_transformers_is_read_from_both_its_files(hub: Hub, tmp_path: Path) -> None:
    write_transformers(tmp_path / "hub/cas/vit", "vit")
    repository = open_repositories(["hf://cas/vit"])[0]
    (card,) = repository.cards()
    assert isinstance(card, TeacherCard), card
    assert (card.library, card.num_classes) == ("transformers", 3)
    assert card.preprocessing.resize == (32, 32)
    probe = ProbePixels(probe_of(random_images(4)))
    with repository.weights(card) as weights:
        said = predict(load_teacher(card, weights, CPU), probe)
    network = transformers.ViTForImageClassification.from_pretrained("cas/vit").eval()
    with torch.inference_mode():
        expected = network(probe.batch(card.preprocessing, slice(0, 4))).logits
    assert_close(said.logits_NK, expected)


def test_owners_searches_and_names_are_one_repository(hub: Hub) -> None:
    hub.tags["ann/other"] = ["tiny"]
    assert names("hf://ann") == ["hf/ann/other", "hf/ann/small"]
    assert names("hf://?search=smal&limit=5") == ["hf/ann/small"]
    assert names("hf://?author=ann&tag=tiny") == ["hf/ann/other"]
    assert names("hf://ann/?limit=1") == ["hf/ann/other"]
    both = names("hf://ann/small", "hf://ann", "hf://bob/deep/folder")
    assert both == ["hf/ann/small", "hf/bob/deep/folder", "hf/ann/other"]


def test_a_teacher_of_a_leaderboard_is_found_again(hub: Hub) -> None:
    for name in ("hf/ann/small", "hf/ann/small@main", "hf/bob/deep/folder"):
        (card,) = reopen("hf://", name).cards()
        assert isinstance(card, TeacherCard), card
        assert card.teacher == name


def test_what_is_downloaded_is_not_downloaded_again(hub: Hub) -> None:
    for _ in range(2):
        (repository,) = open_repositories(["hf://ann/small"])
        (card,) = repository.cards()
        assert isinstance(card, TeacherCard)
        with repository.weights(card) as weights:
            assert weights.name == "model.safetensors"
    fetched = [one for one in hub.requests if one.startswith("GET") and "resolve" in one]
    assert len(fetched) == 2, fetched  # the card and the weights


def test_the_hub_is_asked_again_where_it_is_overloaded(hub: Hub) -> None:
    hub.failures = 2
    (card,) = cards("hf://ann/small")
    assert isinstance(card, TeacherCard), card


def test_other_bytes_than_the_hub_lists_are_refused(hub: Hub) -> None:
    hub.corrupt.add("model.safetensors")
    (repository,) = open_repositories(["hf://ann/small"])
    (card,) = repository.cards()
    assert isinstance(card, TeacherCard)
    with repository.weights(card) as weights, pytest.raises(TeacherError) as caught:
        teacher_digest(card, weights)
    assert caught.value.status is Status.UNTRUSTED
    assert "the pinned one is" in caught.value.reason


def test_offline_what_is_cached_is_used(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository,) = open_repositories(["hf://ann/small"])
    (before,) = repository.cards()
    assert isinstance(before, TeacherCard)
    with repository.weights(before):
        pass
    offline(monkeypatch)
    asked = len(hub.requests)
    (card,) = repository.cards()
    assert isinstance(card, TeacherCard), card
    assert (card.card_digest, card.weights_bytes) == (before.card_digest, before.weights_bytes)
    assert card.weights_version == before.weights_version
    with repository.weights(card) as weights:
        assert weights.is_file()
    assert len(hub.requests) == asked


def test_offline_what_is_missing_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    told = "ann/other is not in the hub's cache, and HF_HUB_OFFLINE is set: download it with"
    assert told in rejected("hf://ann/other").reason
    with pytest.raises(UserError, match="a search asks the hub, and HF_HUB_OFFLINE is set"):
        cards("hf://ann")


def test_models_that_are_not_there_cost_their_row(hub: Hub) -> None:
    hub.gated.add("ann/other")
    assert "is not on the hub, or private" in rejected("hf://ann/nobody").reason
    assert "has terms: accept them" in rejected("hf://ann/other").reason
    assert "is not there at that revision" in rejected("hf://ann/small@v9").reason
    assert "the folder has no config.json" in rejected("hf://bob/deep").reason
    with pytest.raises(UserError, match="the hub finds no image classifier"):
        cards("hf://carol")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://a b/c", "names no model"),
        ("hf://ann/small/../x", "names no model"),
        ("hf://", "names no model"),
        ("hf://?serch=x", "did you mean 'search'"),
        ("hf://?limit=0", "limit is a number from 1 on"),
        ("hf://?search=", "give each key once"),
    ],
)
def test_wrong_addresses(address: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        open_repositories([address])


def test_a_hub_that_does_not_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as known

    monkeypatch.setattr("rayxkd.retries.WAITS", (0.01,))
    monkeypatch.setattr(known, "ENDPOINT", "http://127.0.0.1:9")
    reason = rejected("hf://ann/small").reason
    assert "ann/small cannot be downloaded" in reason
    assert "refused" in reason
