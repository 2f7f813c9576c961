"""Figures that a simulation works with where the user gives none, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """What one teacher took.

    Attributes:
        teacher: its name.
        weights_bytes: size of its weights file.
        load: seconds of reading, checking and building it.
        forward: seconds of preprocessing and forward passes.
        scoring: seconds of ground cost, transport, interval and metrics.
        status: of its row.
        attempts: how often it was tried.
    """

    teacher: str
    weights_bytes: int
    load: float
    forward: float
    scoring: float
    status: str = "ok"
    attempts: int = 1


# Medians of four scans in the calling process on 2026-11-25 (torch 2.15, one thread, an AMD EPYC
# that others used too): five published MobileNets, 512 photographs of five kinds of flowers, cost
# 'learned'. The first teacher's load also held the import of timm (5 to 8 s), which belongs to the
# start of a worker, so that of the insects is from the one scan where it was not the first.
SOURCE = "a scan of five MobileNets, 512 photographs, a CPU core (yours: --leaderboard)"
SCAN = (
    Measured("mobilenetv2_imagenet", 7_103_586, 0.08, 20.66, 0.82),
    Measured("mobilenetv2_inat_birds", 7_011_354, 0.06, 15.83, 0.46),
    Measured("mobilenetv2_inat_insects", 7_157_388, 0.04, 23.99, 0.94),
    Measured("mobilenetv1_050_imagenet", 6_340_441, 0.58, 1.73, 0.48),
    Measured("mobilenetv1_025_imagenet", 3_788_889, 0.18, 2.26, 0.53),
)


@dataclass(frozen=True)
class Spread:
    """How teachers of a large repository differ in size and speed.

    Sizes are log-normal about those that were measured, loading takes time in proportion, and a
    forward pass as size ** ``exponent`` times a log-normal residual. Ours; the defaults are the
    moments of 1,430 models of timm (parameters from 0.36 to 2,599 million, median 29, and
    images a second): ``results/benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv`` of
    huggingface/pytorch-image-models, Apache-2.0, commit aa4b585.

    Attributes:
        sizes: standard deviation of the logarithm of the size.
        exponent: of the forward pass's time by size.
        residual: standard deviation of the logarithm of its time, the size being known.
        most: largest multiple of the size; the largest of timm is 90 times their median.
    """

    sizes: float = 1.36
    exponent: float = 0.88
    residual: float = 0.77
    most: float = 90.0
