"""What is left to do: which teachers are to be assessed, and which rows of before still hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from rayxkd.assess.rows import empty_row
from rayxkd.assess.task import Job, Task
from rayxkd.errors import UserError
from rayxkd.fleet.order import longest_first
from rayxkd.leaderboard import Assessment
from rayxkd.status import Status
from rayxkd.teachers import Card, RejectedCard, Repository, TeacherCard

Key = tuple[str, str]


@dataclass(frozen=True)
class Agenda:
    """The work of a scan.

    Attributes:
        jobs: teachers to assess, the largest first, so that none is left to run alone at the end.
        holding: rows of an earlier scan that answer the present question.
        rejected: new rows of folders that hold no teacher that can be loaded.
        known: rows of teachers among the jobs that hold, where a race is to be run again.
    """

    jobs: list[Job]
    holding: list[Assessment]
    rejected: list[Assessment]
    known: dict[str, Assessment] = field(default_factory=dict)


def make_agenda(
    listed: Sequence[tuple[Repository, list[Card]]],
    earlier: dict[Key, Assessment],
    task: Task,
    *,
    retry_failed: bool,
    raced: Callable[[Job, Assessment], bool] = lambda *_: False,
) -> Agenda:
    """Compare what the repositories list with what the journal knows.

    A row holds if probe set, configuration, card and weights are the same. Where the file system
    says that the weights may have changed, the worker compares their digest. Teachers that were
    raced are jobs again: the race is run again from what is known of them.

    Raises:
        UserError: the journal has teachers of another repository under the same names.
    """
    valid = {key: row for key, row in earlier.items() if _holds(row, task, retry_failed)}
    agenda = Agenda([], _of_other_repositories(valid, [repo for repo, _ in listed]), [])
    for repository, cards in listed:
        for card in cards:
            known = valid.get((card.repository, card.teacher))
            if isinstance(card, RejectedCard):
                row = _rejected_row(task, card)
                same = known is not None and (known.status, known.reason) == (
                    row.status,
                    row.reason,
                )
                (agenda.holding if same else agenda.rejected).append(
                    known if known and same else row
                )
                continue
            version = _version(card)
            if known is not None and known.weights_version == version:
                job = Job(card, repository, version)
                if raced(job, known):
                    agenda.jobs.append(job)
                    agenda.known[card.teacher] = known
                else:
                    agenda.holding.append(known)
            else:
                digest = None if known is None else known.teacher_digest
                agenda.jobs.append(Job(card, repository, version, digest))
    agenda.jobs.sort(key=lambda job: longest_first(job.card.weights_bytes, job.card.teacher))
    return agenda


def _holds(row: Assessment, task: Task, retry_failed: bool) -> bool:
    same = (row.probe_digest, row.config_digest) == (task.probe_digest, task.config_digest)
    again = retry_failed and not row.is_ok
    partial = row.status is Status.ELIMINATED
    now_trusted = task.trust_code and row.status is Status.UNTRUSTED
    return same and not again and not now_trusted and not partial


def _of_other_repositories(
    valid: dict[Key, Assessment], scanned: Iterable[Repository]
) -> list[Assessment]:
    """Rows of repositories that are not scanned now: they stay on the leaderboard."""
    prefixes = {repository.address: repository.prefix for repository in scanned}
    others = [row for row in valid.values() if row.repository not in prefixes]
    for row in others:
        if any(f"{row.teacher}/".startswith(f"{prefix}/") for prefix in prefixes.values()):
            raise UserError(
                f"--out holds '{row.teacher}' of {row.repository}: two repositories of one name "
                "need one scan (--repository A B) or an --out each"
            )
    return others


def _rejected_row(task: Task, card: RejectedCard) -> Assessment:
    return replace(
        empty_row(task, card),
        status=card.status,
        reason=card.reason,
        teacher_digest=card.card_digest,
        attempts=0,
    )


def _version(card: TeacherCard) -> str:
    """The teacher's mark, which changes with what is demanded of its weights, too."""
    return f"{card.mark}:{card.pin[:16]}" if card.pin else card.mark
