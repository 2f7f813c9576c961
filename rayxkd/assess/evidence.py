"""What is kept of a teacher to explain its rank later, made while its predictions are at hand.

Legend: N probe images, K teacher classes, M target classes, S teacher classes that are kept, P
images about which predictions are kept.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rayxkd.data import ProbeSet
from rayxkd.leaderboard import Assessment
from rayxkd.leaderboard.evidence import Evidence, ProbePictures
from rayxkd.transport import CrossFittedCost, Predictions, TransportScore

# Pairs of classes that are kept of one teacher, and how many of its classes at least and at most.
_PAIRS, _FEWEST, _MOST = 4096, 4, 48
_TOP, _WORST = 3, 12
# Images that every teacher is compared on.
_SHOWN = 24
_LONGEST_NAME = 200
# Of larger probe sets only the shown images have a picture.
_PICTURES = 2048
_SIDE, _QUALITY = 112, 80


@dataclass(frozen=True)
class Judged:
    """One teacher after its score was computed.

    Attributes:
        predictions: what it said of the probe set.
        ground_cost: what its score was computed with.
        score: its cost for every image; with a transport map where the reference is a student.
    """

    predictions: Predictions
    ground_cost: CrossFittedCost
    score: TransportScore


def shown_images(labels_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the images about which the predictions of every teacher are kept, ascending.

    Some of every class, or one of each of some classes where there are more of them than images.
    """
    order = np.random.default_rng(0).permutation(len(labels_N))
    turn_N = np.empty(len(labels_N), dtype=np.int64)
    for label in np.unique(labels_N):
        of_class = order[labels_N[order] == label]
        turn_N[of_class] = np.arange(len(of_class))
    return np.sort(order[np.argsort(turn_N[order], kind="stable")][:_SHOWN])


def evidence_of(row: Assessment, judged: Judged, labels_N: Tensor, shown_P: Tensor) -> Evidence:
    """What is kept of a teacher.

    Mass is that of softmax(logits) at temperature 1, which is what the teacher says; at the
    temperature of a learned cost it is spread so evenly that its order tells people nothing. Where
    the reference is a student, it is the mass that was transported. Kept are the classes whose
    mass is most above chance, map[k, m] - sum_m' map[k, m'] sum_k' map[k', m] (ours), for each of
    the target classes in turn.

    Args:
        row: whose it is.
        judged: its predictions and its score.
        labels_N: target labels, int64.
        shown_P: places of the images about which predictions are kept for every teacher.
    """
    map_KM, temperature = _map(judged, labels_N)
    source_S = _most_telling(map_KM)
    names = _names(judged)
    cost_SM = torch.stack([fitted.cost_KM[source_S] for fitted in judged.ground_cost.costs])
    pictured_P = _pictured(judged.score, shown_P)
    top_names, top_shares = _top(judged.predictions.rows(pictured_P))
    return Evidence(
        repository=row.repository,
        teacher=row.teacher,
        teacher_digest=row.teacher_digest,
        probe_digest=row.probe_digest,
        config_digest=row.config_digest,
        temperature=temperature,
        source_S=source_S.numpy().astype(np.int32),
        source_names=tuple(names[place] for place in source_S.tolist()),
        map_SM=_float32(map_KM[source_S]),
        cost_SM=_float32(cost_SM.mean(dim=0)),
        rest_M=_float32(map_KM.sum(dim=0) - map_KM[source_S].sum(dim=0)).clip(min=0),
        image_cost_N=_float32(judged.score.cost_N),
        nearest_N=_nearest(judged).numpy().astype(np.int32),
        pictured_P=pictured_P.numpy().astype(np.int32),
        top_names=top_names,
        top_shares=top_shares,
    )


def pictures_of(probe: ProbeSet) -> ProbePictures:
    """The probe images as thumbnails; of a large probe set only those that are shown."""
    shown_N = np.zeros(len(probe), dtype=np.bool_)
    shown_N[shown_images(probe.labels_N)] = True
    every = len(probe) <= _PICTURES
    return ProbePictures(
        probe_digest=probe.digest,
        labels_N=probe.labels_N,
        indices_N=probe.indices_N,
        class_names=probe.class_names,
        pictures=tuple(
            _thumbnail(probe, place) if every or shown else None
            for place, shown in enumerate(shown_N)
        ),
        shown_N=shown_N,
    )


def _map(judged: Judged, labels_N: Tensor) -> tuple[Tensor, float]:
    """The transport map [K, M], and the temperature of its mass."""
    fitted = judged.ground_cost.costs[0]
    if judged.score.map_KM is not None:
        return judged.score.map_KM, fitted.temperature
    mass_NK = replace(fitted, temperature=1.0).source_NK(judged.predictions)
    map_MK = mass_NK.new_zeros(fitted.cost_KM.shape[1], mass_NK.shape[1])
    return map_MK.index_add_(0, labels_N, mass_NK).T / len(labels_N), 1.0


def _most_telling(map_KM: Tensor) -> Tensor:
    """Places of the classes with most mass above chance for one of the target classes, int64."""
    most = max(_FEWEST, min(_MOST, _PAIRS // map_KM.shape[1]))
    chance_KM = map_KM.sum(dim=1, keepdim=True) * map_KM.sum(dim=0)
    each = min(len(map_KM), _MOST)
    order_JM = (map_KM - chance_KM).topk(each, dim=0).indices
    places = dict.fromkeys(order_JM.flatten().tolist())  # the first of every class, the second, ...
    return torch.tensor(list(places)[:most])


def _names(judged: Judged) -> list[str]:
    """What the sources of mass are called."""
    if judged.ground_cost.costs[0].features is not None:
        return [f"channel {place}" for place in range(len(judged.ground_cost.costs[0].cost_KM))]
    return _class_names(judged.predictions)


def _class_names(predictions: Predictions) -> list[str]:
    if predictions.class_names is None:
        return [f"class {place}" for place in range(predictions.num_classes)]
    return [name[:_LONGEST_NAME] for name in predictions.class_names]


def _nearest(judged: Judged) -> Tensor:
    """The target class to which each image's whole prediction moves at the least cost, int64."""
    fold_N = judged.ground_cost.fold_N
    nearest_N = torch.empty_like(fold_N)
    for fold, fitted in enumerate(judged.ground_cost.costs):
        rows = fold_N == fold
        source_BK = fitted.source_NK(judged.predictions.rows(rows))
        nearest_N[rows] = (source_BK @ fitted.cost_KM).argmin(dim=1)
    return nearest_N


def _pictured(score: TransportScore, shown_P: Tensor) -> Tensor:
    """The images that cost most, and those that are shown of every teacher; ascending."""
    worst = score.cost_N.topk(min(_WORST, len(score.cost_N))).indices
    return torch.from_numpy(np.union1d(worst.numpy(force=True), shown_P.numpy()))


def _top(
    predictions: Predictions,
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[float, ...], ...]]:
    """Names and probabilities of the likeliest classes of every image."""
    names: Sequence[str] = _class_names(predictions)
    share_PJ, place_PJ = predictions.probabilities_NK().topk(
        min(_TOP, predictions.num_classes), dim=1
    )
    told = tuple(tuple(names[place] for place in places) for places in place_PJ.tolist())
    return told, tuple(map(tuple, share_PJ.tolist()))


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().numpy(force=True)
    return array


def _thumbnail(probe: ProbeSet, place: int) -> bytes:
    image = probe.decoded(place)
    image.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # a JPEG is decoded no larger than that
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
