"""The demo's repository: a dozen small teachers of handwritten digits with different label spaces.

Each is a convolutional network of some 10,000 to 20,000 numbers, trained in seconds on scans that
the demo's task does not use, and saved as a ``torch.export`` program: a teacher folder like any
other.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor, nn

from rayxkd.data.digits import DIGIT_NAMES, Digits, digits_for_teachers
from rayxkd.storage import Storage
from rayxkd.teachers.card import CARD_FILE, WEIGHT_FILES

# Part of the cache folder's name: raise it when a recipe changes.
_VERSION = 1
_EPOCHS = 30
_BATCH = 64
_WIDTH = 64


@dataclass(frozen=True)
class Recipe:
    """How a demo teacher comes about.

    Attributes:
        name: its folder.
        label_names: its K classes.
        classes: its label for each of the ten digits; -1 leaves a digit out.
        turn: quarter turns of every scan.
        images: how many scans it learns from, at most.
        epochs: how long.
        shuffled: its labels are dealt at random.
    """

    name: str
    label_names: tuple[str, ...]
    classes: tuple[int, ...]
    turn: int = 0
    images: int | None = None
    epochs: int = _EPOCHS
    shuffled: bool = False

    def examples(self) -> tuple[Tensor, Tensor]:
        """Scans as float32 [N, 1, 8, 8] in [-1, 1] and labels int64 [N]."""
        source: Digits = digits_for_teachers()
        labels_N = np.array(self.classes)[source.digits_N]
        kept = np.flatnonzero(labels_N >= 0)[: self.images]
        pixels = np.rot90(source.pixels[kept], self.turn, axes=(1, 2)).copy()
        labels_N = labels_N[kept]
        if self.shuffled:
            labels_N = np.random.default_rng(0).permutation(labels_N)
        images = torch.from_numpy(pixels).float()[:, None] / 127.5 - 1
        return images, torch.from_numpy(labels_N)


def _some(name: str, digits: tuple[int, ...]) -> Recipe:
    """A teacher that tells these digits apart and knows no other."""
    place = {digit: label for label, digit in enumerate(digits)}
    classes = tuple(place.get(digit, -1) for digit in range(10))
    return Recipe(name, tuple(DIGIT_NAMES[digit] for digit in digits), classes)


_TEN = tuple(range(10))
RECIPES: tuple[Recipe, ...] = (
    _some("ten_digits", _TEN),
    _some("odd_digits", (1, 3, 5, 7, 9)),
    _some("even_digits", (0, 2, 4, 6, 8)),
    _some("low_digits", (0, 1, 2, 3, 4)),
    _some("one_or_seven", (1, 7)),
    Recipe("parity", ("even", "odd"), tuple(digit % 2 for digit in _TEN)),
    Recipe("has_a_loop", ("no loop", "loop"), tuple(int(d in (0, 6, 8, 9)) for d in _TEN)),
    Recipe("small_or_large", ("0 to 4", "5 to 9"), tuple(int(digit >= 5) for digit in _TEN)),
    Recipe("upside_down", tuple(f"{name}, turned" for name in DIGIT_NAMES), _TEN, turn=2),
    Recipe("lying_digits", tuple(f"{name}, lying" for name in DIGIT_NAMES), _TEN, turn=1),
    Recipe("badly_trained", DIGIT_NAMES, _TEN, images=40, epochs=2),
    Recipe("shuffled_labels", DIGIT_NAMES, _TEN, shuffled=True),
)


def demo_folder() -> Path:
    """Where the demo's teachers are kept, in the user's cache directory."""
    return Path(platformdirs.user_cache_path("rayxkd")) / f"demo-{_VERSION}"


def demo_storage(leaderboard: Storage) -> Storage:
    """Where the demo's teachers are for a leaderboard: in the cache, or beside one in a bucket.

    What lies in a bucket is there for all machines of a cluster.
    """
    if leaderboard.is_local:
        return Storage.at(str(demo_folder()))
    return leaderboard.child(f"demo-{_VERSION}")


def missing_recipes(place: Storage) -> list[Recipe]:
    """The teachers that are not there yet.

    Raises:
        OSError: the place cannot be read.
    """
    return [recipe for recipe in RECIPES if not place.exists(f"{recipe.name}/{CARD_FILE}")]


def make_demo_teacher(recipe: Recipe, place: Storage) -> None:
    """Train one teacher and write its folder, the card last: with it, the teacher is there.

    Raises:
        OSError: the place cannot be written.
    """
    if place.is_local:
        train_demo_teacher(recipe, place.local_path(""))
        return
    with tempfile.TemporaryDirectory() as folder:
        train_demo_teacher(recipe, Path(folder))
        for name in (WEIGHT_FILES["torch.export"], CARD_FILE):
            relative = f"{recipe.name}/{name}"
            place.write(relative, (Path(folder) / relative).read_bytes())


def train_demo_teacher(recipe: Recipe, folder: Path) -> None:
    """Train one teacher and put its folder in place, whole or not at all."""
    torch.manual_seed(0)
    images, labels_N = recipe.examples()
    network = DigitNetwork(len(recipe.label_names))
    _train(network, images, labels_N, recipe.epochs)
    temporary = folder / f".{recipe.name}.{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        batch = torch.export.Dim("batch", min=1, max=65536)
        program = torch.export.export(
            network.eval(), (images[:2],), dynamic_shapes={"images": {0: batch}}
        )
        torch.export.save(program, temporary / WEIGHT_FILES["torch.export"])
        (temporary / CARD_FILE).write_text(json.dumps(_card(recipe), indent=1))
        target = folder / recipe.name
        if target.exists():  # half a teacher, left by a version that did not finish
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class DigitNetwork(nn.Module):
    """Two convolutions and a hidden layer; returns (logits [B, K], features [B, 64])."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 16, _WIDTH),
            nn.ReLU(),
        )
        self.head = nn.Linear(_WIDTH, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images are [B, 1, 8, 8] in [-1, 1]."""
        features = self.body(images)
        return self.head(features), features


def _train(network: nn.Module, images: Tensor, labels_N: Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    steps = epochs * -(-len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), _BATCH):
            logits, _ = network(images[rows])
            loss = nn.functional.cross_entropy(logits, labels_N[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _card(recipe: Recipe) -> dict[str, object]:
    return {
        "library_name": "torch.export",
        "num_classes": len(recipe.label_names),
        "num_features": _WIDTH,
        "label_names": recipe.label_names,
        "pretrained_cfg": {
            "input_size": [1, 8, 8],
            "mean": [0.5],
            "std": [0.5],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "license": "apache-2.0",
        },
    }
