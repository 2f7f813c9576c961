"""Image sets of torchvision, downloaded by it from a server on the loopback interface."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from rayxkd.data import open_image_set
from rayxkd.errors import UserError
from tests.web_server import serve_files


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder that a web server shows, and a cache that is empty."""
    monkeypatch.setenv("TORCHVISION_DATASETS", str(tmp_path / "cache"))
    with serve_files(tmp_path / "web") as url:
        yield tmp_path / "web", f"{url}/"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def digits(web: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """scikit-learn's digits in the files of MNIST, 28 x 28, the last 200 for testing."""
    folder, url = web
    source = load_digits()
    pixels = np.zeros((len(source.target), 28, 28), dtype=np.uint8)
    pixels[:, 10:18, 10:18] = source.images * 15
    resources = []
    for kind, part in (("train", slice(0, -200)), ("t10k", slice(-200, None))):
        images, labels = pixels[part], source.target[part].astype(np.uint8)
        for name, head, values in (
            (f"{kind}-images-idx3-ubyte.gz", (0x803, len(images), 28, 28), images),
            (f"{kind}-labels-idx1-ubyte.gz", (0x801, len(labels)), labels),
        ):
            content = gzip.compress(struct.pack(f">{len(head)}i", *head) + values.tobytes())
            (folder / name).write_bytes(content)
            resources.append((name, md5(content)))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [url])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return pixels, source.target


def test_a_set_is_downloaded_once_and_read(digits: Any, web: tuple[Path, str]) -> None:
    pixels, target = digits
    images = open_image_set("torchvision://MNIST")
    assert len(images) == len(target) - 200
    assert images.class_names[3] == "3 - three"
    assert images.labels_N.tolist() == target[:-200].tolist()
    (content,) = images.read([7])
    assert content is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels[7])
    for file in web[0].iterdir():
        file.unlink()
    test = open_image_set("torchvision://MNIST/test#per_class=3")
    assert len(test) == 30


def test_pickled_batches_are_checked_and_read(
    web: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = web
    rng = np.random.default_rng(0)
    archive, lists = io.BytesIO(), {}
    batches: dict[str, dict[str, Any]] = {
        "train": {"data": rng.integers(0, 256, (6, 3072), np.uint8), "fine_labels": [2, 1, 0] * 2},
        "test": {"data": rng.integers(0, 256, (3, 3072), np.uint8), "fine_labels": [0, 1, 2]},
        "meta": {"fine_label_names": ["apple", "baby", "bear"]},
    }
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, batch in batches.items():
            content = pickle.dumps(batch)
            lists[name] = [[name, md5(content)]]
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (folder / "c.tar.gz").write_bytes(archive.getvalue())
    known = datasets.CIFAR100
    monkeypatch.setattr(known, "url", f"{url}c.tar.gz")
    monkeypatch.setattr(known, "tgz_md5", md5(archive.getvalue()))
    monkeypatch.setattr(known, "train_list", lists["train"])
    monkeypatch.setattr(known, "test_list", lists["test"])
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": lists["meta"][0][1]})
    images = open_image_set("torchvision://CIFAR100")
    assert images.class_names == ("apple", "baby", "bear")
    assert images.labels_N.tolist() == [2, 1, 0, 2, 1, 0]
    (content_,) = images.read([4])
    assert content_ is not None
    expected = batches["train"]["data"][4].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content_))), expected)


def test_folders_of_torchvision_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EuroSAT lies there already: class folders."""
    monkeypatch.setenv("TORCHVISION_DATASETS", str(tmp_path))
    for place, name in enumerate(("Forest", "River")):
        (tmp_path / "eurosat/2750" / name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (4, 4), (place * 100, number, 0))
            image.save(tmp_path / f"eurosat/2750/{name}/{number}.png")
    images = open_image_set("torchvision://EuroSAT")
    assert images.class_names == ("Forest", "River")
    assert images.labels_N.tolist() == [0, 0, 0, 1, 1, 1]


def test_damaged_downloads_are_refused(digits: Any, web: tuple[Path, str]) -> None:
    file = web[0] / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"MNIST is not in .* and cannot be downloaded"):
        open_image_set("torchvision://MNIST")


def test_offline_says_what_is_missing(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=f"MNIST is not in {tmp_path}/cache"):
        open_image_set("torchvision://MNIST")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("torchvision://CIFAR", "unknown image set of torchvision 'CIFAR': Known: CIFAR10"),
        ("torchvision://", "unknown image set of torchvision"),
        ("torchvision://CIFAR100/valid", "split of torchvision://CIFAR100"),
        ("torchvision://MNIST#clases=a", "did you mean 'classes'"),
    ],
)
def test_unknown_names_are_told(address: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_image_set(address)


def test_every_set_that_is_named_is_one() -> None:
    from rayxkd.data.library import _SETS

    assert set(_SETS) <= set(datasets.__all__)
