"""What the image processors of transformers do, as a :class:`Preprocessing`.

What a folder's ``preprocessor_config.json`` leaves out is the default of the library's class of
that name, which is listed here: so cards are read without the library, and teachers of all
libraries share the pixels of the probe set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayxkd.status import Status
from rayxkd.teachers.card import LARGEST_SIDE, Preprocessing
from rayxkd.teachers.entries import Entries
from rayxkd.teachers.errors import TeacherError, shortened

# Pillow's numbers for its filters.
_RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_CHANNELS = 3
_EDGE = "shortest_edge"
# Mean and standard deviation of channels in [0, 1].
_Colours = tuple[tuple[float, ...], tuple[float, ...]]
_HALF: _Colours = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET: _Colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP: _Colours = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)


@dataclass(frozen=True)
class _Processor:
    """The defaults of one image processor, and what it does besides.

    Attributes:
        size: height and width, or the shorter edge.
        crop: side of the crop, where it crops.
        resample: name of Pillow's filter.
        colours: what it normalises by.
        square: whether a size of one number is that of both sides.
        longer: the shorter edge becomes so many times the size.
        crop_pct: the shorter edge is divided by it.
        squashes_from: from this shorter edge on, images are squashed and not cropped.
        bgr: gives blue, green and red, and never normalises.
        twice: divides by std once more.
    """

    size: Mapping[str, int]
    crop: int | None = None
    resample: str = "bicubic"
    colours: _Colours = _HALF
    square: bool = True
    longer: float = 1.0
    crop_pct: float | None = None
    squashes_from: int | None = None
    bgr: bool = False
    twice: bool = False


def _sides(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


_SQUASHED = _Processor(_sides(224))
_CROPPED = _Processor({_EDGE: 224}, 224, square=False)
_MOBILENET = replace(_CROPPED, size={_EDGE: 256}, resample="bilinear")
_PROCESSORS: dict[str, _Processor] = {
    "BeitImageProcessor": _SQUASHED,
    "BitImageProcessor": replace(_CROPPED, colours=_CLIP),
    "CLIPImageProcessor": replace(_CROPPED, colours=_CLIP),
    "ConvNextImageProcessor": _Processor(
        {_EDGE: 384}, square=False, crop_pct=224 / 256, squashes_from=384
    ),
    "DeiTImageProcessor": _Processor(_sides(256), 224),
    "EfficientNetImageProcessor": _Processor(_sides(346), twice=True),
    "LevitImageProcessor": replace(_CROPPED, longer=256 / 224, colours=_IMAGENET),
    "MobileNetV1ImageProcessor": _MOBILENET,
    "MobileNetV2ImageProcessor": _MOBILENET,
    "MobileViTImageProcessor": replace(_CROPPED, crop=256, bgr=True),
    "PoolFormerImageProcessor": replace(_CROPPED, crop_pct=0.9, colours=_IMAGENET),
    "PvtImageProcessor": replace(_SQUASHED, colours=_IMAGENET),
    "SegformerImageProcessor": _Processor(_sides(512), resample="bilinear", colours=_IMAGENET),
    "SiglipImageProcessor": replace(_SQUASHED, square=False),
    "ViTImageProcessor": replace(_SQUASHED, resample="bilinear"),
}


def read_processor(entries: Entries, channels: int = _CHANNELS) -> Preprocessing:
    """Read what a folder's image processor does.

    Args:
        entries: of ``preprocessor_config.json``.
        channels: of the images that the network takes, 1 or 3.

    Raises:
        TeacherError: ``invalid``, or ``unsupported``: the processor does something else.
    """
    processor = _PROCESSORS[_processor_name(entries)]
    geometry = _geometry(entries, processor)
    height, width = geometry.input_size[1:]
    if max(height, width) > LARGEST_SIDE or max(geometry.resize or ()) > 2 * LARGEST_SIDE:
        raise entries.invalid(f"asks for images of {height} x {width}")
    mean, std = _scaling(entries, processor, channels)
    code = entries.whole("resample", 0, 5, _RESAMPLING.index(processor.resample))
    return replace(
        geometry,
        input_size=(channels, height, width),
        mean=mean,
        std=std,
        interpolation=_RESAMPLING[code],
        floor_margin=True,
        bgr=processor.bgr and entries.flag("do_flip_channel_order", default=True),
    )


def _processor_name(entries: Entries) -> str:
    named = entries.get("image_processor_type") or entries.get("feature_extractor_type")
    name = re.sub("(Fast|Pil)$", "", str(named)).replace("FeatureExtractor", "ImageProcessor")
    if name not in _PROCESSORS:
        what = "names no image_processor_type" if named is None else f"asks for a {name}"
        reason = f"{entries.file} {shortened(what, 100)}; read are {', '.join(_PROCESSORS)}"
        raise TeacherError(Status.UNSUPPORTED, reason)
    return name


def _geometry(entries: Entries, processor: _Processor) -> Preprocessing:
    """Size of the images, before and after the crop."""
    if not entries.flag("do_resize", default=True):
        raise TeacherError(Status.UNSUPPORTED, f"{entries.file} leaves images of any size")
    size = _size(entries, "size", processor.size, square=processor.square)
    crop = _crop(entries, processor)
    edge = size.get(_EDGE)
    if processor.squashes_from and edge is not None:
        if edge >= processor.squashes_from:
            size, edge = _sides(edge), None
        elif crop:
            raise TeacherError(Status.UNSUPPORTED, f"{entries.file} crops images twice")
        else:
            crop = _sides(edge)
    elif processor.crop_pct and size.get("height") == size.get("width"):
        edge = size.get("height", edge)
    if edge is None:
        before = (size["height"], size["width"])
        after = (crop.get("height", before[0]), crop.get("width", before[1]))
        return Preprocessing((_CHANNELS, *after), crop_mode="squash", resize=before)
    if not crop:
        reason = f"{entries.file} keeps the shape of images without a crop: they differ in size"
        raise TeacherError(Status.UNSUPPORTED, reason)
    edge = int(processor.longer * edge / _crop_pct(entries, processor))
    return Preprocessing((_CHANNELS, crop["height"], crop["width"]), resize=(edge, edge))


def _crop(entries: Entries, processor: _Processor) -> Mapping[str, int]:
    """Height and width of the crop, nothing where there is none."""
    if not entries.flag("do_center_crop", default=processor.crop is not None):
        return {}
    default = {} if processor.crop is None else _sides(processor.crop)
    crop = _size(entries, "crop_size", default, square=True)
    return _sides(crop[_EDGE]) if _EDGE in crop else crop


def _size(
    entries: Entries, key: str, default: Mapping[str, int], *, square: bool
) -> Mapping[str, int]:
    """Height and width, or the shorter edge; older files give one number, or two."""
    value: Any = default if entries.get(key) is None else entries.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = _sides(value) if square else {_EDGE: value}
    elif isinstance(value, list) and len(value) == 2:
        value = {"height": value[0], "width": value[1]}
    told = Entries(entries.file, value if isinstance(value, Mapping) else {})
    if told.get("longest_edge") is not None:
        raise TeacherError(Status.UNSUPPORTED, f"{entries.file} has a '{key}' with a longest_edge")
    keys = ("height", "width") if told.get(_EDGE) is None else (_EDGE,)
    return {side: told.whole(side, 1, 2 * LARGEST_SIDE) for side in keys}


def _crop_pct(entries: Entries, processor: _Processor) -> float:
    if processor.crop_pct is None:
        return 1.0
    value = entries.number("crop_pct", processor.crop_pct)
    if not 0.1 <= value <= 2:
        raise entries.invalid(f"has a crop_pct of {value}")
    return value


def _scaling(
    entries: Entries, processor: _Processor, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of channels in [0, 1] that do the same as all steps in turn.

    With u in [0, 1], a processor gives (a u + b - mean) / std, where a is 255 rescale_factor and b
    is -1 with rescale_offset: that is (u - (mean - b) / a) / (std / a).
    """
    factor, offset = 255.0, 0.0
    if entries.flag("do_rescale", default=True):
        factor *= entries.number("rescale_factor", 1 / 255)
        offset = -1.0 if entries.flag("rescale_offset", default=False) else 0.0
    mean, std = (0.0,) * channels, (1.0,) * channels
    told = _channels(entries, "image_std", processor.colours[1], channels)
    if not processor.bgr and entries.flag("do_normalize", default=True):
        mean, std = _channels(entries, "image_mean", processor.colours[0], channels), told
    if processor.twice and entries.flag("include_top", default=True):
        std = tuple(one * again for one, again in zip(std, told, strict=True))
    if factor <= 0 or min(std) <= 0:
        raise entries.invalid("has a rescale_factor or an image_std that is not positive")
    return (
        tuple((value - offset) / factor for value in mean),
        tuple(value / factor for value in std),
    )


def _channels(
    entries: Entries, key: str, default: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    value = entries.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (entries.number(key, 0.0),) * channels
    values = entries.numbers(key, default[:channels])
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise entries.invalid(f"has an {key} that does not fit {channels} channels")
    return values
