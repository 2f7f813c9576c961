"""Small image sets on disk, written the way users have them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ("daisy", "rose", "tulip")


def encoded_image(seed: int, form: str = "PNG") -> bytes:
    """An image of 8 x 8 random pixels; every seed gives another one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form)
    return buffer.getvalue()


def write_folders(root: Path, counts: Mapping[str, int]) -> Path:
    """Class folders with that many images each; no two images are the same."""
    seed = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:04d}.png").write_bytes(encoded_image(seed))
            seed += 1
    return root


def image_table(
    images: Sequence[bytes | None],
    labels: Sequence[int | None],
    names: Sequence[str] | None = NAMES,
) -> pa.Table:
    """Images and labels as the `datasets` library lays them out; an image may be null."""
    values = [
        None if content is None else {"bytes": content, "path": f"{place}.png"}
        for place, content in enumerate(images)
    ]
    table = pa.table({"image": pa.array(values, IMAGE_TYPE), "label": pa.array(labels, pa.int64())})
    if names is None:
        return table
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(names), "_type": "ClassLabel"},
    }
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def write_images(
    path: Path,
    labels: Sequence[int],
    *,
    names: Sequence[str] | None = NAMES,
    first_seed: int = 0,
    row_group_size: int | None = None,
) -> list[bytes]:
    """Write a Parquet file of as many different images as there are labels, and return these."""
    images = [encoded_image(first_seed + place) for place in range(len(labels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(image_table(images, labels, names), path, row_group_size=row_group_size)
    return images


def write_unlabelled(path: Path, count: int, *, first_seed: int = 0) -> list[bytes]:
    """Write a Parquet file of images without a column of labels, and return these."""
    images = [encoded_image(first_seed + place) for place in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(image_table(images, [0] * count, None).drop_columns("label"), path)
    return images
