"""Transferability scores that others published, to compare the transport cost with.

Each is one file and a pure function of the same predictions; a new one is a file and a line here.
"""

from __future__ import annotations

from rayxkd.errors import unknown_name
from rayxkd.metrics.base import Metric
from rayxkd.metrics.f_otce import FOTCE
from rayxkd.metrics.gbc import GBC
from rayxkd.metrics.h_score import HScore
from rayxkd.metrics.knn import KNN
from rayxkd.metrics.leep import LEEP
from rayxkd.metrics.linear_probe import LinearProbe
from rayxkd.metrics.logme import LogME
from rayxkd.metrics.nce import NCE
from rayxkd.metrics.nleep import NLEEP
from rayxkd.metrics.otce import OTCE
from rayxkd.metrics.parc import PARC
from rayxkd.metrics.sfda import SFDA
from rayxkd.metrics.transrate import TransRate

__all__ = ["METRICS", "Metric", "metric_named"]

METRICS: dict[str, type[Metric]] = {
    "leep": LEEP,
    "nce": NCE,
    "logme": LogME,
    "h_score": HScore,
    "knn": KNN,
    "parc": PARC,
    "nleep": NLEEP,
    "otce": OTCE,
    "f_otce": FOTCE,
    "transrate": TransRate,
    "gbc": GBC,
    "sfda": SFDA,
    "linear_probe": LinearProbe,
}


def metric_named(name: str) -> Metric:
    """The metric of that name, ready to :meth:`~Metric.fit`.

    Raises:
        UserError: no metric has that name; the message offers the nearest ones.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]()
