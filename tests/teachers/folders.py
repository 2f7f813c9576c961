"""Teacher folders as their owners write them, and images to ask them about."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from rayxkd.data import ProbeSet
from rayxkd.teachers import ProbePixels, Teacher, TeacherCard, load_teacher, open_repositories
from rayxkd.transport.predictions import Predictions

PROGRAM = {"library_name": "torch.export"}
CPU = torch.device("cpu")


def write_card(folder: Path, **entries: Any) -> Path:
    """Write `config.json`; keywords are its entries."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(entries))
    return folder


def write_weights(folder: Path, network: nn.Module) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)
    return folder


WEIGHTS = "model.safetensors"


def preprocessing(side: int, channels: int = 3, **more: Any) -> dict[str, Any]:
    """A `pretrained_cfg` for small images."""
    values = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "crop_pct": 0.9}
    if channels == 1:
        values |= {"mean": [0.5], "std": [0.25]}
    return {"input_size": [channels, side, side], **values, **more}


def card_of(folder: Path) -> TeacherCard:
    """The card of a folder that is a teacher itself."""
    (card,) = open_repositories([str(folder)])[0].cards()
    assert isinstance(card, TeacherCard), card
    return card


def load(folder: Path, *, trust_code: bool = False) -> Teacher:
    card = card_of(folder)
    return load_teacher(card, folder / card.weights_file, CPU, trust_code=trust_code)


def export(
    network: nn.Module, folder: Path, example: Tensor, *, dynamic: bool = True, **entries: Any
) -> Path:
    """A `torch.export` teacher of a network, its batch free or fixed to the example's."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = ({0: torch.export.Dim("batch", min=1, max=1024)},) if dynamic else None
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")
    return write_card(folder, **PROGRAM, **entries)


def random_images(count: int, mode: str = "RGB", seed: int = 0) -> list[Image.Image]:
    """Noise of several sizes and shapes, with some structure for resizing to find."""
    rng = np.random.default_rng(seed)
    images = []
    for place in range(count):
        height, width = (int(side) for side in rng.integers(24, 80, 2))
        coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height + place % 3))
        images.append(image.convert(mode))
    return images


def probe_of(images: list[Image.Image], labels: list[int] | None = None) -> ProbeSet:
    """A probe set of these images, as PNG files."""
    labels = labels or [place % 2 for place in range(len(images))]
    files = []
    for image in images:
        file = io.BytesIO()
        image.save(file, format="PNG")
        files.append(file.getvalue())
    return ProbeSet(
        "images",
        tuple(f"class {label}" for label in range(max(labels) + 1)),
        np.array(labels),
        np.arange(len(images)),
        np.frombuffer(b"".join(files), dtype=np.uint8),
        np.cumsum([len(file) for file in files]),
    )


def pixels_of(count: int, mode: str = "RGB") -> ProbePixels:
    return ProbePixels(probe_of(random_images(count, mode)))


def assert_close(found: Tensor | None, expected: Tensor) -> None:
    """Equal to 1e-5 of the largest value: sums in another order differ by so much in float32."""
    assert found is not None
    largest = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * largest)


def assert_head_explains_logits(predictions: Predictions, bias_K: Tensor) -> None:
    assert predictions.features_ND is not None
    assert predictions.head_KD is not None
    assert_close(predictions.features_ND @ predictions.head_KD.T + bias_K, predictions.logits_NK)


class PoolNet(nn.Module):
    """A convolution, global pooling, flatten and a linear head; K = 5, D = 4."""

    def __init__(self, *, returns: str = "both", channels: int = 3) -> None:
        super().__init__()
        self.returns = returns
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Any:
        features = torch.flatten(self.body(images), 1)
        logits = self.head(features)
        outputs = {
            "both": (logits, features),
            "logits": logits,
            "dict": {"logits": logits},
            "three": (logits, features, features),
            "maps": (logits, self.body(images)),
        }
        return outputs[self.returns]
