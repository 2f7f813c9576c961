"""The scan again as a plain script: no Ray, and nothing of rayxkd but its documented formulas.

NumPy, Pillow, SciPy, timm and torch only; float64 throughout, one teacher after another.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

Array = NDArray[np.float64]
TEMPERATURES = (1.0, 4.0, 16.0)
RIDGES = (0.05, 0.15, 0.5, 1.5)
FOLDS = 5


def sample(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """A stratified sample: shares by largest remainder, first images of a seeded shuffle."""
    counts = np.bincount(labels)
    share = counts * size / counts.sum()
    quota = np.floor(share).astype(int)
    for label in np.argsort(-(share - quota), kind="stable")[: size - quota.sum()]:
        quota[label] += 1
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == m][: quota[m]] for m in range(len(counts))]
    return np.sort(np.concatenate(chosen))


def read_images(parquet: Path, size: int, seed: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    table = pq.read_table(parquet)
    labels = table["label"].to_numpy()
    rows = sample(labels, size, seed)
    images = [Image.open(io.BytesIO(table["image"][int(i)].as_py()["bytes"])) for i in rows]
    return images, labels[rows]


def pixels(image: Image.Image, config: dict) -> Array:
    """Resize the shorter side to floor(side / crop_pct), cut out the middle, normalise."""
    side = config["input_size"][1]
    short = math.floor(side / config["crop_pct"])
    image = image.convert("RGB")
    width, height = image.size
    if width <= height:
        size = (short, int(short * height / width))
    else:
        size = (int(short * width / height), short)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    values = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    normal = (values - np.float32(config["mean"])) / np.float32(config["std"])
    return normal.transpose(2, 0, 1)


def teacher_output(folder: Path, images: list[Image.Image]) -> tuple[Array, Array]:
    """Logits [N, K] and what the last linear layer makes them of, [N, D]."""
    config = json.loads((folder / "config.json").read_text())
    if config.get("library_name") == "torch.export":
        model = torch.export.load(folder / "model.pt2").module()
    else:
        import timm
        from safetensors.torch import load_file

        model = timm.create_model(
            config["architecture"], num_classes=config["num_classes"], **config["model_args"]
        )
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
    batches = []
    with torch.no_grad():
        for start in range(0, len(images), 32):
            batch = [
                pixels(image, config["pretrained_cfg"]) for image in images[start : start + 32]
            ]
            pixels_BCHW = torch.from_numpy(np.stack(batch))
            if config.get("library_name") == "torch.export":
                batches.append(model(pixels_BCHW))
            else:
                maps = model.forward_features(pixels_BCHW)
                batches.append((model(pixels_BCHW), model.forward_head(maps, pre_logits=True)))
    logits, features = (torch.cat(parts).double().numpy() for parts in zip(*batches, strict=True))
    return logits, features


def standardised(features: Array) -> Array:
    centred = features - features.mean(axis=0)
    return centred / np.sqrt((centred**2).mean())


def folds_of(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=int)
    fold[order] = np.arange(len(labels)) % FOLDS
    return fold


def cooccurrence(p: Array, y: NDArray[np.int64], classes: int) -> Array:
    target = np.eye(classes)[y]
    return -np.log((p.T @ target + target.mean(axis=0)) / (p.sum(axis=0)[:, None] + 1))


def learned(p: Array, y: NDArray[np.int64], inside: NDArray[np.bool_], ridge: float) -> Array:
    """C of least regularised loss on the images inside, for p [N, K] of one temperature."""
    classes = int(y.max()) + 1
    prior = cooccurrence(p[inside], y[inside], classes)
    mean = p.mean(axis=0)
    centred = p - mean
    scale = math.sqrt((centred**2).sum(axis=1).mean())
    features, target = (centred / scale)[inside], np.eye(classes)[y[inside]]
    fixed = p[inside] @ prior

    def objective(flat: Array) -> tuple[float, Array]:
        change = flat.reshape(prior.shape)
        log_p = log_softmax(-(fixed + features @ change), axis=1)
        loss = -(log_p * target).sum() + ridge / 2 * (change**2).sum()
        return loss, (features.T @ (target - np.exp(log_p)) + ridge * change).ravel()

    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-16, "gtol": 1e-7, "maxcor": 30}
    best = minimize(
        objective, np.zeros(prior.size), jac=True, method="L-BFGS-B", options=options
    ).x.reshape(prior.shape)
    return prior + (best - mean @ best) / scale


def losses(logits: Array, y: NDArray[np.int64], fold: int, folds: NDArray, choice: tuple) -> Array:
    """Loss of every image of one fold, in nats, under the cost fitted without that fold."""
    temperature, ridge = choice
    p = softmax(logits / temperature, axis=1)
    cost = learned(p, y, folds != fold, ridge)
    held = folds == fold
    return -log_softmax(-(p[held] @ cost), axis=1)[np.arange(held.sum()), y[held]]


def learned_cost(logits: Array, y: NDArray[np.int64], seed: int) -> float:
    """Mean cross-fitted cost at the temperature, then the ridge, of least cross-fitted cost."""
    folds = folds_of(y, seed)

    def mean_loss(temperature: float, ridge: float) -> float:
        choice = (temperature, ridge)
        parts = [losses(logits, y, fold, folds, choice) for fold in range(FOLDS)]
        return float(np.concatenate(parts).mean())

    middle = RIDGES[len(RIDGES) // 2]
    temperature = min(TEMPERATURES, key=lambda t: mean_loss(t, middle))
    return min(mean_loss(temperature, ridge) for ridge in RIDGES)


def plain_costs(
    zoo: Path, parquet: Path, size: int = 512, seed: int = 0, cost: str = "learned"
) -> dict[str, float]:
    """The transport cost of every teacher folder of a zoo, with label references."""
    images, y = read_images(parquet, size, seed)
    found = {}
    for folder in sorted(zoo.iterdir()):
        if (folder / "config.json").is_file():
            logits, features = teacher_output(folder, images)
            source = standardised(features) if cost == "features" else logits
            found[folder.name] = learned_cost(source, y, seed)
    return found
