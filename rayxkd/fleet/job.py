"""What ``ray job status`` and ``ray job list`` show of a job while it runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

# Ray has no public way for a job to say how far it is: what it keeps of a job is JSON in its
# key-value store, of which we change the message and add to the metadata. Where another version
# keeps it elsewhere, nothing is told and the work goes on.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_EVERY_SECONDS = 1.0


class JobNote:
    """The message and the metadata of the submitted job that this process is."""

    def __init__(self, key: bytes, now: Callable[[], float] = time.monotonic) -> None:
        self._key = key
        self._now = now
        self._told = -_EVERY_SECONDS

    @classmethod
    def of_this_job(cls) -> JobNote | None:
        """That of the job, or nothing where this process was not submitted as one."""
        try:
            job = json.loads(os.environ[_JOB_VARIABLE])["metadata"]["job_submission_id"]
            from ray.dashboard.modules.job.common import JobInfoStorageClient

            return cls(JobInfoStorageClient.JOB_DATA_KEY.format(job_id=job).encode())
        except (LookupError, ValueError, TypeError, ImportError, AttributeError):
            return None

    def tell(self, message: str, metadata: Mapping[str, str], *, at_once: bool = False) -> None:
        """Show this instead of what was shown before; calls in quick succession are left out."""
        if not at_once and self._now() - self._told < _EVERY_SECONDS:
            return
        self._told = self._now()
        with suppress(Exception):  # nothing that is shown is worth the work
            self._write(message, metadata)

    def _write(self, message: str, metadata: Mapping[str, str]) -> None:
        import ray._private.ray_constants as names
        from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

        info: dict[str, Any] = json.loads(
            _internal_kv_get(self._key, namespace=names.KV_NAMESPACE_JOB)
        )
        if info["status"] != "RUNNING":  # its end is told by Ray
            return
        info |= {"message": message, "metadata": {**(info.get("metadata") or {}), **metadata}}
        _internal_kv_put(
            self._key, json.dumps(info).encode(), overwrite=True, namespace=names.KV_NAMESPACE_JOB
        )
