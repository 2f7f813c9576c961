"""What a scan is asked to do, and the part of it that its results depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from rayxkd.assess.racing.budget import Budget
from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.errors import UserError
from rayxkd.fleet.settings import WorkerSettings, check_positive
from rayxkd.secrets import recordable

# Raised when a formula changes, so that rows of before are not mixed with rows of after.
_METHOD_VERSION = 1
# The same for what only costs of a student's reference depend on.
_SOLVER_VERSION = 3
LABELS = "labels"


@dataclass(frozen=True, kw_only=True)
class AssessSettings(WorkerSettings):
    """What a scan is asked to do: the options of ``jobs/assess.py``.

    Attributes:
        repository: Teachers: folders or URLs that hold teacher folders at any depth, or demo://.
        probe: Labelled images of the task: a folder of class folders, Parquet, or demo://.
        out: Directory or URL of the leaderboard; a scan that was stopped continues there.
        cost: Ground cost: learned, features, cooccurrence or prototype; by default learned for
            labels, cooccurrence for a student.
        temperature: Temperature of the teachers' softmax; by default the cost's own choice.
        class_vectors: Vectors of class names that the learned cost shrinks towards: Parquet (name,
            vector) or .npz (names, vectors); a teacher with names that are not there goes without.
        reference: What predictions are moved to: labels, a student's folder, or a .npy file.
        metrics: Other scores to compute: leep, nce, logme, h_score, knn, parc, nleep, otce, f_otce,
            transrate, gbc, sfda, linear_probe.
        probe_size: How many images to draw, the same share of every class.
        seed: Seed of the draw, the folds and the bootstrap.
        batch_size: Images in one forward pass, halved where the memory does not suffice; by default
            64 on a GPU, and on a CPU less for large images.
        budget: Race the teachers within a time (30m, 2h), a number of images (20000img) or a share
            of the images of the scan without a budget (30%): who cannot be the best is stopped.
        keep: With a budget, how many of the best to look for.
        index: An index of rayxkd index: only the teachers that --shortlist names are assessed.
        shortlist: How many teachers to assess, the best of --index by their sketches.
        fresh: Throw away what an earlier scan left in --out.
        retry_failed: Assess failed teachers again.
        keep_predictions: Keep what every teacher says of the probe set beside the leaderboard, for
            later assessments and for distillation (4 KB an image and 1,000 classes).
        no_evidence: Do not keep what explains ranks beside the leaderboard (17 KB a teacher, and
            a thumbnail of each probe image).
        license: Licenses that teachers may have, such as apache-2.0 mit: others are not loaded.
        pins: A file that sha256sum wrote (digest, folder/model.safetensors): weights that differ
            from it, or are not in it, are not loaded.
        trust_code: Load formats that can run code of the repository's owner.
    """

    repository: tuple[str, ...] = (DEMO_SCHEME,)
    probe: str = DEMO_SCHEME
    out: str = "leaderboard"
    cost: str | None = None
    temperature: float | None = None
    class_vectors: str | None = None
    reference: str = LABELS
    metrics: tuple[str, ...] = ()
    probe_size: int = 512
    seed: int = 0
    batch_size: int | None = None
    budget: timedelta | str | None = None
    keep: int = 1
    index: str | None = None
    shortlist: int | None = None
    fresh: bool = False
    retry_failed: bool = False
    keep_predictions: bool = False
    no_evidence: bool = False
    license: tuple[str, ...] = ()
    pins: str | None = None
    trust_code: bool = False

    @property
    def cost_name(self) -> str:
        """The ground cost that is taken."""
        return self.cost or ("learned" if self.reference == LABELS else "cooccurrence")

    def check(self) -> None:
        """Refuse names and numbers that cannot be right, before anything is started.

        Raises:
            UserError: the first that is wrong.
        """
        from rayxkd.metrics import metric_named  # --help needs no torch
        from rayxkd.transport import FeatureCost, LearnedCost, ground_cost

        ground_cost(self.cost_name)
        likelihoods = (LearnedCost.name, FeatureCost.name)
        if self.cost_name in likelihoods and self.reference != LABELS:
            raise UserError(
                f"--cost {self.cost_name} is a likelihood of labels, not comparable where a "
                "student's predictions are the --reference: use cooccurrence or prototype"
            )
        if self.class_vectors is not None and self.cost_name != LearnedCost.name:
            raise UserError(
                f"--class-vectors works with --cost {LearnedCost.name} only, not {self.cost_name}: "
                "leave one of the two out"
            )
        for name in self.metrics:
            metric_named(name)
        check_positive(
            {
                "temperature": self.temperature,
                "probe-size": self.probe_size,
                "batch-size": self.batch_size,
                "shortlist": self.shortlist,
                "keep": self.keep,
            }
        )
        self.check_workers()
        if (self.index is None) != (self.shortlist is None):
            raise UserError("--index and --shortlist N belong together: give both or neither")
        if not self.repository:
            raise UserError("--repository needs at least one address")
        _ = self.race_budget

    @property
    def race_budget(self) -> Budget | None:
        """The budget; ``None`` is no limit.

        Raises:
            UserError: it is not understood.
        """
        return None if self.budget is None else Budget.of(self.budget)

    def scoring(self) -> Scoring:
        """The part that results depend on."""
        return Scoring(
            self.cost_name,
            self.temperature,
            self.reference,
            tuple(dict.fromkeys(self.metrics)),
            self.seed,
        )

    def recorded(self) -> dict[str, Any]:
        """What an output directory belongs to, by option name; addresses without their secrets.

        So a scan goes on where a password or a signature was renewed.
        """
        content = {
            "probe": self.probe,
            "probe-size": self.probe_size,
            "cost": self.cost_name,
            "temperature": self.temperature,
            "class-vectors": self.class_vectors,
            "reference": self.reference,
            "metrics": sorted(set(self.metrics)),
            "seed": self.seed,
        }
        return recordable(content)


@dataclass(frozen=True)
class Scoring:
    """How one teacher is scored: with the teacher and the probe set, all that a row depends on."""

    cost: str
    temperature: float | None
    reference: str
    metrics: tuple[str, ...]
    seed: int
    folds: int = 5

    def digest(self, reference_digest: str, vectors_digest: str | None = None) -> str:
        """SHA-256 of these settings and of the contents of the reference and the class vectors."""
        content: dict[str, Any] = {
            **asdict(self),
            "metrics": sorted(self.metrics),
            "reference": reference_digest,
            "method": _METHOD_VERSION,
        }
        if self.reference != LABELS:
            content["solver"] = _SOLVER_VERSION
        if vectors_digest is not None:  # without, digests are those of before there were any
            content["class_vectors"] = vectors_digest
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
