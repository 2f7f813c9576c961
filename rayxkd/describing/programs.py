"""What a program's file says of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rayxkd.errors import UserError
from rayxkd.teachers.loaders.onnx import signature
from rayxkd.teachers.loaders.vetting import vet_program

PROGRAMS = {".pt2": "torch.export", ".onnx": "onnx"}


@dataclass(frozen=True)
class Signature:
    """Shapes of a program's image and of its outputs; sizes that are free are ``None``.

    Attributes:
        image: batch, channels, height, width.
        outputs: of its outputs, the logits first.
    """

    image: tuple[int | None, ...]
    outputs: tuple[tuple[int | None, ...], ...]

    def entries(self, file: str) -> dict[str, Any]:
        """Entries of a card.

        Raises:
            UserError: it takes no image, or returns no logits.
        """
        sizes = [*self.image[1:]] if len(self.image) == 4 else []
        logits = self.outputs[0] if self.outputs else ()
        if len(sizes) != 3 or len(logits) != 2 or not logits[1]:
            raise UserError(
                f"{file} takes {list(self.image)} and returns {[list(one) for one in self.outputs]}"
                ": a teacher takes images [B, C, H, W] and returns logits [B, K]"
            )
        found: dict[str, Any] = {"num_classes": logits[1]}
        if len(self.outputs) > 1 and len(self.outputs[1]) == 2 and self.outputs[1][1]:
            found["num_features"] = self.outputs[1][1]
        if all(sizes):
            found["pretrained_cfg"] = {"input_size": sizes}
        return found


def read_signature(path: Path) -> Signature:
    """Read what a program takes and returns.

    Raises:
        TeacherError: it is no program, or one that could run code.
    """
    if path.suffix == ".onnx":
        return Signature(*signature(path))
    vet_program(path)
    exported = torch.export.load(path)
    graph = exported.graph_signature
    shapes = {node.name: _sizes(node.meta.get("val")) for node in exported.graph.nodes if node.meta}
    images = [shapes.get(name, ()) for name in graph.user_inputs]
    outputs = tuple(shapes.get(str(name), ()) for name in graph.user_outputs)
    return Signature(images[0] if images else (), outputs)


def _sizes(value: Any) -> tuple[int | None, ...]:
    shape: Sequence[Any] = getattr(value, "shape", ())
    return tuple(size if isinstance(size, int) else None for size in shape)
