"""What other libraries raise, as the reason of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, one_line


@contextmanager
def invalid_where_it_fails(what: str) -> Iterator[None]:
    """Have whatever a library raises over a damaged or unknown file cost the teacher its row.

    Args:
        what: what did not work, in words that stand before those of the library.

    Raises:
        TeacherError: ``invalid``. Its cause tells whoever loads whether memory was refused.
    """
    try:
        yield
    except (TeacherError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise TeacherError(Status.INVALID, f"{what}: {one_line(error)}") from error
