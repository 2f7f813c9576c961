"""What loading a teacher imports, so that it can be imported beforehand."""

from __future__ import annotations

from collections.abc import Iterable

from rayxkd.teachers.card import TRANSFORMERS

_MODULES = {
    "timm": ("timm",),
    "torchvision": ("torchvision.models",),
    TRANSFORMERS: ("transformers.modeling_utils",),
    # Reading a program takes most of PyTorch's compiler.
    "torch.export": ("torch._dynamo", "networkx", "torch._functorch.aot_autograd"),
    "onnx": ("onnxruntime",),
}


def modules_of(libraries: Iterable[str]) -> tuple[str, ...]:
    """Modules that take long to import, of those that teachers of some libraries need.

    Some may not be installed.

    Args:
        libraries: as cards name them.
    """
    # Of a library's own catalogue: 'timm pretrained'.
    names = {library.partition(" ")[0] for library in libraries}
    return tuple(module for name in sorted(names) for module in _MODULES.get(name, ()))
