"""What the epochs of a training measured: as a picture, and as TensorBoard's scalars."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import pyarrow as pa

from rayxkd.storage import Storage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TENSORBOARD_FILE = "tensorboard/events.out.tfevents.0.rayxkd"


def learning_curves_png(metrics: pa.Table) -> bytes:
    """Draw the columns ``loss*`` and ``accuracy*`` over the column ``epoch``.

    Args:
        metrics: a row for each epoch. Accuracies are in [0, 1]; a null was not measured.

    Returns:
        A PNG image.

    Raises:
        KeyError: there is no column ``epoch``.
    """
    # Without pyplot, which keeps figures and a back end for the whole process.
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    _draw(losses, "loss", metrics)
    _draw(accuracies, "accuracy", metrics)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=144)
    return file.getvalue()


def _draw(axes: Axes, prefix: str, metrics: pa.Table) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = metrics["epoch"].to_pylist()
    names = [name for name in metrics.column_names if name.startswith(prefix)]
    for name in names:
        pairs = zip(epochs, metrics[name].to_pylist(), strict=True)
        known = [(epoch, value) for epoch, value in pairs if value is not None]
        if known:
            marker = "o" if len(known) <= 20 else ""
            axes.plot(*zip(*known, strict=True), marker=marker, markersize=3, label=_label(name))
    if axes.get_lines():
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="grey")
    axes.set_title(prefix)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _label(column: str) -> str:
    """``accuracy_validation`` is "validation", the loss itself "total"."""
    _, _, rest = column.partition("_")
    return rest.replace("_", " ") or ("total" if column == "loss" else column)


def write_tensorboard(storage: Storage, metrics: pa.Table) -> None:
    """Write every numeric column as a scalar of TensorBoard, with the epoch as the step.

    A file of an earlier training is replaced. Nulls are left out.

    Args:
        storage: the student's folder; the file lies below ``tensorboard/``.
        metrics: as for :func:`learning_curves_png`.

    Raises:
        KeyError: there is no column ``epoch``.
        OSError: it cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    # Made in memory and under a name of our own: TensorBoard's has the name of this machine in it,
    # and each is another, so that curves of two trainings would be shown as one.
    file = io.BytesIO()
    records = RecordWriter(file)
    now = time.time()
    records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    epochs = metrics["epoch"].to_pylist()
    for name in _scalars(metrics):
        for epoch, value in zip(epochs, metrics[name].to_pylist(), strict=True):
            if value is not None:
                summary = Summary(value=[Summary.Value(tag=name, simple_value=float(value))])
                event = Event(wall_time=now, step=epoch, summary=summary)
                records.write(event.SerializeToString())
    storage.write(TENSORBOARD_FILE, file.getvalue())


def _scalars(metrics: pa.Table) -> list[str]:
    kinds = {column.name: column.type for column in metrics.schema}
    return [
        name
        for name, kind in kinds.items()
        if name != "epoch" and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    ]
