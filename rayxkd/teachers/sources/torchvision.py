"""``torchvision://``: the classifiers of torchvision and their published weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.sources.downloads import fetched, file_name, sha256_prefix
from rayxkd.teachers.sources.library import Description, LibraryRepository

# Weights that name no licence come with the library, under its own.
_LIBRARY_LICENSE = "bsd-3-clause"
_LICENSES = {"https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "cc-by-nc-4.0"}
# Without weights an architecture says nothing of its classes.
_CLASSES = 1000


class TorchvisionRepository(LibraryRepository):
    """Names are those of the architecture and of the weights: ``resnet50.IMAGENET1K_V2``.

    Weights without a classifier are left out.
    """

    library: ClassVar[str] = "torchvision"
    pretrained_loader: ClassVar[str] = "torchvision weights"
    untrained_loader: ClassVar[str] = "torchvision untrained"

    def names(self) -> list[str]:
        """See :meth:`LibraryRepository.names`."""
        architectures = _models().list_models(module=_models())
        if self.untrained:
            return list(architectures)
        return [
            f"{architecture}.{weights.name}"
            for architecture in architectures
            for weights in _models().get_model_weights(architecture)
            if weights.meta["categories"]
        ]

    def license_of(self, name: str) -> str | None:
        """See :meth:`LibraryRepository.license_of`."""
        if self.untrained:
            return None
        named = str(_weights(name).meta.get("license", _LIBRARY_LICENSE))
        return _LICENSES.get(named, named)

    def parameters_of(self, name: str) -> int:
        """See :meth:`LibraryRepository.parameters_of`."""
        weights = self._some_weights(name)
        return int(weights.meta["num_params"])

    def describe(self, name: str) -> Description:
        """See :meth:`LibraryRepository.describe`."""
        architecture = name.split(".", 1)[0]
        weights = self._some_weights(name)
        meta, pretrained_cfg = weights.meta, _pretrained_cfg(weights.transforms())
        if self.untrained:
            return Description(
                architecture=architecture,
                num_classes=_CLASSES,
                num_features=None,
                label_names=(),
                pretrained_cfg=pretrained_cfg,
                model_args={},
                license=None,
                weights_bytes=4 * self.parameters_of(name),
                weights_name="",
                mark=f"torchvision {_version()}",
            )
        names = tuple(str(one) for one in meta["categories"])
        accuracy = meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
        return Description(
            architecture=architecture,
            num_classes=len(names),
            num_features=None,
            label_names=names,
            pretrained_cfg=pretrained_cfg,
            model_args={"weights": weights.name},
            license=self.license_of(name),
            weights_bytes=4 * self.parameters_of(name),
            weights_name=file_name(weights.url),
            mark=weights.url,
            pin=sha256_prefix(weights.url),
            accuracy=None if accuracy is None else accuracy / 100,
        )

    def fetch(self, card: TeacherCard) -> Path:
        """See :meth:`LibraryRepository.fetch`."""
        return fetched(_weights(card.folder).url)

    def _some_weights(self, name: str) -> Any:
        """Those of a name; for an architecture alone its best, which tell its size."""
        if self.untrained:
            return _models().get_model_weights(name).DEFAULT
        return _weights(name)


def _models() -> Any:
    """torchvision takes a second to import, which who has other teachers need not wait for."""
    from torchvision import models

    return models


def _version() -> str:
    import torchvision

    return str(torchvision.__version__)


def _weights(name: str) -> Any:
    architecture, _, entry = name.partition(".")
    return _models().get_model_weights(architecture)[entry]


def size_of(architecture: str) -> tuple[int, int, int]:
    """Parameters, width before the head (0: not known), and classes of published weights."""
    meta = _models().get_model_weights(architecture).DEFAULT.meta
    return int(meta["num_params"]), 0, len(meta["categories"])


def default_preprocessing(architecture: str) -> dict[str, Any]:
    """How the best published weights of an architecture want their images, as a card says it."""
    return dict(_pretrained_cfg(_models().get_model_weights(architecture).DEFAULT.transforms()))


def _pretrained_cfg(transforms: Any) -> Mapping[str, Any]:
    """The preset of weights in the words of a card."""
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    return {
        "input_size": [3, crop, crop],
        "mean": list(transforms.mean),
        "std": list(transforms.std),
        "interpolation": transforms.interpolation.value,
        # Half a pixel more, so that the floor of crop / crop_pct is the size that was meant.
        "crop_pct": crop / (resize + 0.5),
    }
