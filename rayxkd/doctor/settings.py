"""What the doctor is asked to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter


@dataclass(frozen=True, kw_only=True)
class DoctorSettings:
    """What is examined besides this machine: the options of ``jobs/doctor.py``.

    Attributes:
        storage: Addresses that must be readable and writable, from here and from every node:
            folders, or URLs such as s3://bucket/folder. A small file is written and deleted again.
        cluster: Join Ray at RAY_ADDRESS, or start it here, and try every node.
    """

    storage: tuple[str, ...] = ()
    cluster: Annotated[bool, Parameter(negative="--no-cluster")] = True
