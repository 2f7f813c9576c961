"""Teachers of transformers: the library builds them, and fits the names of older weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails
from rayxkd.teachers.loaders.limits import (
    NOT_IN_OLD_WEIGHTS,
    check_finite,
    size_limited,
    sketch_within,
)
from rayxkd.teachers.loaders.modules import linear_heads
from rayxkd.teachers.loaders.state_dicts import StoredWeights, open_weights
from rayxkd.teachers.teacher import ModuleTeacher

# Parts of the names of entries that make the library look for code or weights elsewhere.
_NOT_FOLLOWED = ("auto_map", "_implementation", "kernel_config", "backbone", "name_or_path")


class _Logits(nn.Module):
    """A network of transformers that returns its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=images_BCHW).logits
        return logits


def load_transformers(card: TeacherCard, weights: Path, device: torch.device) -> ModuleTeacher:
    """An image classifier of transformers; nothing is fetched, and no code of the folder is run.

    Raises:
        TeacherError: transformers is missing or does not know the network, or the weights do not
            fit.
    """
    stored = open_weights(weights, card.weights_file)
    failing = invalid_where_it_fails(f"{card.architecture} cannot be built from its folder")
    with failing, _silent():
        create, load = _recipes(card, stored)
        sketch_within(stored.header, card.architecture, create)
        with size_limited(stored.header, card.architecture):
            network, missing = load()
    lacking = sorted(name for name in missing if not name.endswith(NOT_IN_OLD_WEIGHTS))
    if lacking:
        reason = f"the weights do not fit the architecture: '{lacking[0]}' is missing"
        raise TeacherError(Status.INVALID, reason)
    check_finite(network)
    return ModuleTeacher(card, _Logits(network), _head(network, card.num_classes), device)


def _recipes(
    card: TeacherCard, stored: StoredWeights
) -> tuple[Callable[[], nn.Module], Callable[[], tuple[nn.Module, set[str]]]]:
    """How the network is built with random weights, and how with those of a file.

    The second also tells the names of the weights that the file lacks.
    """
    import transformers

    kind, name = str(card.model_args["model_type"]), str(card.architecture)
    _check_known(kind, name)
    network: Any = getattr(transformers, name)
    configuration = transformers.CONFIG_MAPPING[kind]
    entries = _followed(card.model_args)

    def load() -> tuple[nn.Module, set[str]]:
        model, found = network.from_pretrained(
            None,
            config=configuration.from_dict(entries),
            state_dict=stored.read(),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
        return model, {str(missing) for missing in found["missing_keys"]}

    return lambda: network(configuration.from_dict(entries)), load


def _check_known(kind: str, name: str) -> None:
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
    )

    if kind not in CLASSIFIERS:
        error = unknown_name(
            f"model_type of transformers {transformers.__version__}", kind, CLASSIFIERS
        )
        raise TeacherError(Status.UNSUPPORTED, one_line(error))
    known = CLASSIFIERS[kind]
    if name not in ((known,) if isinstance(known, str) else known):
        raise TeacherError(Status.INVALID, f"{name} is no network of the model_type '{kind}'")


def _followed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a configuration, and of those in it, that describe the network."""
    return {
        key: _followed(value) if isinstance(value, dict) else value
        for key, value in entries.items()
        if not any(part in str(key) for part in _NOT_FOLLOWED)
    }


def _head(network: nn.Module, num_classes: int) -> nn.Linear | None:
    """The only linear layer with one output a class: some networks take the mean of two."""
    matching = linear_heads(network, num_classes)
    return matching[0] if len(matching) == 1 else None


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the library from writing reports and progress of its own."""
    try:
        from transformers import utils
    except ImportError as error:
        reason = "needs transformers, which is not installed: install rayxkd[transformers]"
        raise TeacherError(Status.UNSUPPORTED, reason) from error
    logging: Any = utils.logging
    before, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if shown:
            logging.enable_progress_bar()
