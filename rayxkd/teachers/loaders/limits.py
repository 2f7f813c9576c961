"""What other people's files may ask for: memory in proportion to what they really hold.

A card of a few bytes can ask for a model of any size. So a model is first built on torch's meta
device, where tensors have shapes but no memory, and compared with the header of its weights file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.safetensors_header import SafetensorsHeader

# A model may take so many times the bytes of its weights file (weights in half precision and tables
# that are not stored), and so much in any case.
_TIMES_THE_WEIGHTS = 4
_ALWAYS_ALLOWED = 256 * 1024 * 1024
# Batch normalisations count batches since torch 0.4.1; torch takes weights without the count.
NOT_IN_OLD_WEIGHTS = ".num_batches_tracked"


class _TooLargeError(BaseException):
    """Passes through libraries that catch every ``Exception``."""


class MemoryBudget(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it is entered, and ends what exceeds it.

    Sizes are known before memory is taken: whatever makes a tensor of no other tensor is asked on
    the meta device first.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = limit

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator unless it makes a tensor that is too large."""
        kwargs = kwargs or {}
        if "device" in kwargs and not any(isinstance(one, Tensor) for one in args):
            made = func(*args, **{**kwargs, "device": torch.device("meta"), "pin_memory": None})
            self._left -= made.untyped_storage().nbytes() if isinstance(made, Tensor) else 0
            if self._left < 0:
                raise _TooLargeError
        return func(*args, **kwargs)


@contextmanager
def size_limited(header: SafetensorsHeader, architecture: str | None) -> Iterator[None]:
    """Let tensors be made in proportion to a weights file.

    Args:
        header: of the weights file.
        architecture: what is built, for the reason.

    Raises:
        TeacherError: ``invalid``: more memory would be taken.
    """
    limit = _TIMES_THE_WEIGHTS * header.nbytes + _ALWAYS_ALLOWED
    try:
        with MemoryBudget(limit):
            yield
    except _TooLargeError:
        reason = (
            f"its card asks for a {architecture} of more than {limit / 2**20:,.0f} MiB, but its "
            f"weights file holds {header.nbytes / 2**20:,.1f} MiB"
        )
        raise TeacherError(Status.INVALID, reason) from None


def build_within(
    header: SafetensorsHeader, architecture: str | None, create: Callable[[], nn.Module]
) -> nn.Module:
    """Build a model on the CPU, once it is sure that the weights of a file fit it.

    Args:
        header: of the weights file.
        architecture: what is built, for the reason.
        create: builds it, on the device that is torch's default.

    Raises:
        TeacherError: ``invalid``: the model is far larger than its weights file, or the first
            tensor that differs from it.
    """
    sketch = sketch_within(header, architecture, create)
    if sketch is not None:
        check_fits(sketch.state_dict(), header)
        del sketch
    with size_limited(header, architecture):
        return create()


def sketch_within(
    header: SafetensorsHeader, architecture: str | None, create: Callable[[], nn.Module]
) -> nn.Module | None:
    """The model without memory; ``None`` where building it computes with numbers of tensors.

    Raises:
        TeacherError: ``invalid``: it is far larger than its weights file.
    """
    with size_limited(header, architecture), torch.device("meta"):
        return _unless_it_needs_numbers(create)


def check_fits(wanted: Mapping[str, Any], header: SafetensorsHeader) -> None:
    """Compare the names and shapes that a model has with those of its weights file.

    Args:
        wanted: the model's state, on any device.
        header: of the weights file.

    Raises:
        TeacherError: ``invalid``, with the first tensor that differs.
    """
    for name, tensor in wanted.items():
        stored = header.tensors.get(name)
        if stored is None and name.endswith(NOT_IN_OLD_WEIGHTS):
            continue
        if stored is None:
            raise _unfit(f"'{name}' is missing")
        if isinstance(tensor, Tensor) and stored.shape != tuple(tensor.shape):
            has, needs = list(stored.shape), list(tensor.shape)
            raise _unfit(f"'{name}' is of shape {has}, the architecture wants {needs}")
    for name in header.tensors:
        if name not in wanted:
            raise _unfit(f"the architecture has no '{name[:80]}'")


def check_finite(model: nn.Module) -> None:
    """Refuse weights that are no numbers.

    Buffers are not looked at, but for the statistics of normalisations: masks of attention hold
    infinities.

    Raises:
        TeacherError: ``invalid``, with the first tensor that holds NaN or infinity.
    """
    statistics = (
        (name, tensor)
        for name, tensor in model.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    )
    for name, tensor in [*model.named_parameters(), *statistics]:
        if not _is_finite(tensor.detach()):
            reason = f"its weights are not finite: '{name}' holds NaN or infinity"
            raise TeacherError(Status.INVALID, reason)


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.is_meta:
        return True
    if tensor.element_size() == 1:  # torch computes nothing in eight bits
        tensor = tensor.float()
    # One pass without a copy; NaN is passed on.
    least, most = torch.aminmax(tensor)
    return bool(torch.isfinite(least) & torch.isfinite(most))


def _unless_it_needs_numbers(create: Callable[[], nn.Module]) -> nn.Module | None:
    try:
        return create()
    except (NotImplementedError, RuntimeError) as error:
        if "meta" in str(error).lower():
            return None
        raise


def _unfit(what: str) -> TeacherError:
    return TeacherError(Status.INVALID, f"the weights do not fit the architecture: {what}")
