"""What a race learnt on its way, kept beside the leaderboard: a file a teacher and round.

So a race that was killed is run again from these files, and ends as it would have ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from rayxkd.assess.racing.part import Judgement
from rayxkd.assess.racing.race import Heat
from rayxkd.assess.task import Job, Task
from rayxkd.leaderboard import Assessment
from rayxkd.leaderboard.journal import RACE, table_from
from rayxkd.leaderboard.schema import parquet_of
from rayxkd.storage import Storage
from rayxkd.teachers import PredictionStore

_HEATS, _PREDICTIONS = f"{RACE}/heats", f"{RACE}/predictions"
_COSTS = pa.list_(pa.float64())


class Ledger:
    """The judgements of one task below a leaderboard's directory."""

    def __init__(self, storage: Storage, task: Task, schema: pa.Schema) -> None:
        """Open it and list what is there.

        Args:
            storage: the leaderboard's directory.
            task: what teachers are asked.
            schema: of the leaderboard.
        """
        self._storage = storage
        self._digests = f"{task.probe_digest}\n{task.config_digest}\n{task.scoring.seed}"
        fields = [pa.field(name, _COSTS) for name in ("race_cost", "race_coarse_cost")]
        self._schema = pa.schema([*schema, *fields])
        found = storage.find(_HEATS) if storage.exists(_HEATS) else {}
        self._files = set(found)
        self._teachers = {file.rpartition("_")[0] for file in found}

    def knows(self, job: Job) -> bool:
        """Whether a teacher was in a race about this task before."""
        return self._stem(job) in self._teachers

    def read(self, jobs: list[Job]) -> dict[str, Judgement]:
        """What is known of teachers on their ``images``, by name."""
        files = {self._file(job): job.card.teacher for job in jobs}
        contents = self._storage.read_many(file for file in files if file in self._files)
        found = {files[file]: self._read(content) for file, content in contents.items()}
        return {teacher: judged for teacher, judged in found.items() if judged is not None}

    def write(self, job: Job, judged: Judgement) -> None:
        """Keep a judgement that did not fail.

        Raises:
            OSError: it cannot be written.
        """
        if judged.heat is None:
            return
        row = {
            **judged.row.as_row(),
            "rank": None,
            "tied": None,
            "race_cost": judged.heat.cost_P,
            "race_coarse_cost": judged.heat.coarse_P,
        }
        table = pa.Table.from_pylist([row], schema=self._schema)
        self._storage.write(self._file(job), parquet_of(table))

    def _read(self, content: bytes | Exception) -> Judgement | None:
        """A judgement; one that cannot be read is made anew."""
        if not isinstance(content, bytes):
            return None
        try:
            row = table_from(content).to_pylist()[0]
            heat = Heat(np.array(row["race_cost"]), np.array(row["race_coarse_cost"]))
            return Judgement(Assessment.from_row(row, ()), heat)
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError):
            return None

    def _stem(self, job: Job) -> str:
        key = f"{job.card.repository}\n{job.card.teacher}\n{job.version}\n{self._digests}"
        return f"{_HEATS}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"

    def _file(self, job: Job) -> str:
        return f"{self._stem(job)}_{job.images}.parquet"


def race_predictions(out: Storage) -> Storage:
    """Where predictions are kept until a teacher's race is over."""
    return out.child(_PREDICTIONS)


def forgetter(store: Storage) -> Callable[[str], None]:
    """A function that deletes what a teacher said, by its digest."""
    return lambda digest: PredictionStore(store, digest).remove()
