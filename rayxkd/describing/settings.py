"""What is known of bare weights files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from rayxkd.errors import UserError

Library = Literal["timm", "torchvision", "rayxkd"]


@dataclass(frozen=True, kw_only=True)
class CardSettings:
    """What ``rayxkd card`` is told; whatever is not told is guessed from the file.

    Attributes:
        architecture: Name of the network in its library.
        library: Who builds it: timm, torchvision or rayxkd.
        label_names: Text file with the name of one class a line, in the order of the outputs.
        model_args: Arguments of the architecture as JSON, such as '{"width": 16}'.
        input_size: Side of the images in pixels.
        mean: Subtracted from each channel of an image in [0, 1].
        std: Each channel is divided by it then.
        interpolation: Filter that resizes images.
        crop_pct: Side of the crop over side of the resized image.
        license: Of the weights.
        overwrite: Replace a card that is there.
    """

    architecture: str | None = None
    library: Library | None = None
    label_names: str | None = None
    model_args: str | None = None
    input_size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str | None = None
    crop_pct: float | None = None
    license: str | None = None
    overwrite: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the architecture.

        Raises:
            UserError: they are no JSON object.
        """
        try:
            arguments = json.loads(self.model_args or "{}")
        except ValueError as error:
            raise UserError(f"--model-args is not JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise UserError("--model-args must be a JSON object, such as '{\"width\": 16}'")
        return arguments

    def preprocessing(self, channels: int, default: dict[str, Any]) -> dict[str, Any]:
        """A card's ``pretrained_cfg``: what is told, and otherwise the default."""
        told = {
            "input_size": self.input_size and [channels, self.input_size, self.input_size],
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
        }
        return default | {key: value for key, value in told.items() if value}
