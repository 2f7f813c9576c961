"""What an index is made of."""

from __future__ import annotations

from dataclasses import dataclass

from rayxkd.errors import UserError
from rayxkd.fleet.settings import WorkerSettings, check_positive

# The feature that needs no network; see rayxkd.sketches.thumbnail.
THUMBNAIL = "thumbnail"


@dataclass(frozen=True, kw_only=True)
class IndexSettings(WorkerSettings):
    """What is sketched: the options of ``jobs/index.py``.

    Attributes:
        repository: Teachers: folders or URLs that hold teacher folders at any depth.
        reference: Images that every teacher is asked about, once, and no labels: a folder, or
            Parquet; several share --reference-size evenly. Take images of many kinds, and none of
            a task's probe set.
        space: The common feature space: thumbnail, which needs no network, or the folder of a
            teacher whose features are taken.
        out: Directory or URL of the index; teachers that are in it and unchanged are not asked
            again.
        reference_size: How many images to draw.
        seed: Seed of the draw.
        batch_size: Images in one forward pass, halved where the memory does not suffice; by default
            64 on a GPU, and on a CPU less for large images.
        fresh: Throw away what is in --out.
        trust_code: Load formats that can run code of the repository's owner.
    """

    repository: tuple[str, ...]
    reference: tuple[str, ...]
    space: str = THUMBNAIL
    out: str = "index"
    reference_size: int = 2000
    seed: int = 0
    batch_size: int | None = None
    fresh: bool = False
    trust_code: bool = False

    def check(self) -> None:
        """Refuse what cannot be right, before anything is read.

        Raises:
            UserError: the first that is wrong.
        """
        if not self.repository or not self.reference:
            raise UserError("--repository and --reference need at least one address each")
        if self.reference_size < 100:
            raise UserError(
                f"--reference-size must be 100 or more, not {self.reference_size}: a sketch is "
                "made of means over these images"
            )
        check_positive({"batch-size": self.batch_size})
        self.check_workers()
