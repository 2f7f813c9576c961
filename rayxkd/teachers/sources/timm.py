"""``timm://``: the classifiers of timm, by architecture and tag of their weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from rayxkd.cache import LocalCache
from rayxkd.errors import UserError
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.sources.downloads import fetched, file_name, sha256_prefix
from rayxkd.teachers.sources.hub_files import hub_file
from rayxkd.teachers.sources.library import Description, LibraryRepository

# Without weights an architecture that was made for features has no number of classes.
_CLASSES = 1000
_CFG_KEYS = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class TimmRepository(LibraryRepository):
    """Names are those of timm: ``resnet18.a1_in1k``; without weights those of architectures.

    Weights without a classifier (``num_classes`` 0, or the image towers of image-text models, whose
    outputs are an embedding) are left out.
    """

    library: ClassVar[str] = "timm"
    pretrained_loader: ClassVar[str] = "timm pretrained"
    untrained_loader: ClassVar[str] = "timm untrained"

    def names(self) -> list[str]:
        """See :meth:`LibraryRepository.names`."""
        timm = _library()
        if self.untrained:
            return list(timm.list_models())
        return [name for name in timm.list_pretrained() if _classifies(_cfg(name))]

    def license_of(self, name: str) -> str | None:
        """See :meth:`LibraryRepository.license_of`."""
        return None if self.untrained else _cfg(name).license

    def parameters_of(self, name: str) -> int:
        """See :meth:`LibraryRepository.parameters_of`."""
        return _size(name)["parameters"]

    def describe(self, name: str) -> Description:
        """See :meth:`LibraryRepository.describe`."""
        cfg, timm = _cfg(name), _library()
        num_classes = cfg.num_classes or _CLASSES
        size = _size(name)
        entries = {key: getattr(cfg, key) for key in _CFG_KEYS}
        mark = f"timm {timm.__version__}" if self.untrained else _source(cfg)
        return Description(
            architecture=name,
            num_classes=num_classes,
            num_features=size["features"] or None,
            label_names=() if self.untrained else _label_names(cfg),
            pretrained_cfg=entries,
            model_args={},
            license=self.license_of(name),
            weights_bytes=4 * size["parameters"],
            weights_name="" if self.untrained else _weights_name(cfg),
            mark=mark,
            pin="" if self.untrained or cfg.hf_hub_id else sha256_prefix(cfg.url),
        )

    def fetch(self, card: TeacherCard) -> Path:
        """See :meth:`LibraryRepository.fetch`."""
        cfg = _cfg(card.folder)
        if not cfg.hf_hub_id:
            return fetched(cfg.url)
        names = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _WEIGHTS
        return hub_file(cfg.hf_hub_id, names)


def size_of(architecture: str) -> tuple[int, int, int]:
    """Parameters, width before the head, and classes of an architecture without arguments."""
    size = _size(architecture)
    return size["parameters"], size["features"], int(_cfg(architecture).num_classes or 0)


def default_preprocessing(architecture: str) -> dict[str, Any]:
    """How the default weights of an architecture want their images, as a card says it."""
    cfg = _cfg(architecture)
    return {key: getattr(cfg, key) for key in _CFG_KEYS}


def _library() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError("timm:// needs timm, which is not installed: install rayxkd[timm]") from (
            error
        )
    return timm


def _cfg(name: str) -> Any:
    return _library().get_pretrained_cfg(name)


def _classifies(cfg: Any) -> bool:
    """Whether outputs are classes: embeddings have round widths and name no set of classes."""
    known = bool(cfg.label_names) or _imagenet(cfg) is not None
    return bool(cfg.num_classes) and (known or cfg.num_classes % 128 != 0)


def _imagenet(cfg: Any) -> str | None:
    """Which of the selections of ImageNet's classes the classifier has."""
    from timm.data.imagenet_info import infer_imagenet_subset

    found: str | None = infer_imagenet_subset(cfg.to_dict())
    return found


def _label_names(cfg: Any) -> tuple[str, ...]:
    subset = _imagenet(cfg)
    if cfg.label_names or subset is None:
        return tuple(cfg.label_names or ())
    return _imagenet_names(subset)


@cache
def _imagenet_names(subset: str) -> tuple[str, ...]:
    """Words for each class, as WordNet has them."""
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo(subset)
    return tuple(str(info.index_to_description(label)) for label in range(info.num_classes()))


def _source(cfg: Any) -> str:
    """Where weights come from; another place is another teacher."""
    return f"{cfg.hf_hub_id} {cfg.hf_hub_filename or ''}" if cfg.hf_hub_id else str(cfg.url)


def _weights_name(cfg: Any) -> str:
    if not cfg.hf_hub_id:
        return file_name(cfg.url)
    return str(cfg.hf_hub_filename or _WEIGHTS[0])


def _size(name: str) -> Mapping[str, int]:
    """Parameters and width of an architecture: it is built without memory, once a machine."""
    architecture = name.split(".", 1)[0]
    key = f"{_library().__version__} {architecture}"
    with LocalCache.of_user("architectures").file(key, lambda path: _measure(name, path)) as path:
        return dict(json.loads(path.read_text()))


def _measure(name: str, path: Path) -> None:
    import torch

    size = {"parameters": 0, "features": 0}
    # One that cannot be built says so when it is assessed.
    with suppress(Exception), warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = _library().create_model(name.split(".", 1)[0], pretrained=False)
        size["parameters"] = sum(one.numel() for one in model.parameters())
        size["features"] = int(getattr(model, "head_hidden_size", 0) or model.num_features)
    path.write_text(json.dumps(size))
