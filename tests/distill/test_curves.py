from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rayxkd.distill.curves import learning_curves_png, write_tensorboard
from rayxkd.storage import Storage

METRICS = pa.table(
    {
        "epoch": [1, 2, 3],
        "loss": [2.0, 1.0, 0.5],
        "loss_transport": pa.array([None, 0.75, 0.25]),
        "accuracy_validation": [0.25, 0.5, float("nan")],
        "accuracy_test": pa.array([None, None, None], pa.float64()),
        "images": [100, 200, 300],
        "note": ["a", "b", "c"],
    }
)


def picture(metrics: pa.Table) -> np.ndarray:
    image = Image.open(io.BytesIO(learning_curves_png(metrics)))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def coloured(pixels: np.ndarray) -> int:
    """Pixels that are no shade of grey: those of curves and their marks."""
    return int((np.ptp(pixels, axis=2) > 60).sum())


def test_both_panels_show_curves():
    pixels = picture(METRICS)
    height, width, _ = pixels.shape
    assert (height, width) == (518, 1296)
    assert coloured(pixels[:, : width // 2]) > 300
    assert coloured(pixels[:, width // 2 :]) > 300


def test_every_measured_column_has_its_curve():
    columns = ["epoch", "loss", "loss_transport", "accuracy_validation"]
    counts = [coloured(picture(METRICS.select(columns[:end]))) for end in range(1, 5)]
    assert counts[0] == 0
    assert counts == sorted(set(counts))
    assert coloured(picture(METRICS.select([*columns, "accuracy_test", "images"]))) == counts[-1]


def test_a_gap_of_nulls_is_bridged():
    sparse = METRICS.select(["epoch"]).append_column("loss", pa.array([1.0, None, 0.0]))
    dots = sparse.slice(0, 1)
    assert coloured(picture(sparse)) > 4 * coloured(picture(dots))


def test_no_epoch_is_no_error():
    assert coloured(picture(METRICS.slice(0, 0))) == 0


def test_drawing_leaves_pyplot_alone():
    import matplotlib.pyplot as plt

    learning_curves_png(METRICS)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "draw", [learning_curves_png, lambda table: write_tensorboard(None, table)]
)
def test_metrics_need_epochs(draw):
    with pytest.raises(KeyError, match="epoch"):
        draw(METRICS.drop_columns(["epoch"]))


# TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_every_number(tmp_path):
    write_tensorboard(Storage.at(str(tmp_path)), METRICS)
    found = scalars(tmp_path)
    assert set(found) == {"loss", "loss_transport", "accuracy_validation", "images"}
    assert found["loss"] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert found["loss_transport"] == [(2, 0.75), (3, 0.25)]
    assert found["images"] == [(1, 100.0), (2, 200.0), (3, 300.0)]
    assert np.isnan(found["accuracy_validation"][2][1])


def test_tensorboard_shows_the_last_training_only(tmp_path):
    storage = Storage.at(str(tmp_path))
    write_tensorboard(storage, METRICS)
    write_tensorboard(storage, METRICS.slice(1, 1).select(["epoch", "loss"]))
    assert scalars(tmp_path) == {"loss": [(2, 1.0)]}
