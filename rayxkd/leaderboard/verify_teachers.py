"""Does a leaderboard hold the teachers of its repositories, as they are now? Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.errors import some_of
from rayxkd.leaderboard.verify import Finding, some_faults
from rayxkd.storage import Storage
from rayxkd.teachers import (
    Card,
    RejectedCard,
    Repository,
    TeacherError,
    demo_repository,
    open_repositories,
    teacher_digest,
)
from rayxkd.teachers.demo import demo_storage

Row = dict[str, Any]


def verify_teachers(
    rows: Sequence[Row], leaderboard: str, addresses: Sequence[str], *, digests: bool
) -> Iterator[Finding]:
    """Compare the rows with what the repositories hold, a finding for each.

    Args:
        rows: of the leaderboard.
        leaderboard: where it lies.
        addresses: the repositories, as they were given to the scan.
        digests: read the weights too, and compare their SHA-256.

    Raises:
        UserError: a repository cannot be opened or holds no teacher.
    """
    for repository in _repositories(leaderboard, addresses):
        cards = {card.teacher: card for card in repository.cards()}
        known = {row["teacher"]: row for row in rows if row["repository"] == repository.address}
        yield _presence(repository, cards, known)
        if digests:
            both = [(cards[name], known[name]) for name in cards if name in known]
            yield _digests(repository, both)


def _repositories(leaderboard: str, addresses: Sequence[str]) -> list[Repository]:
    plain = [address for address in addresses if not address.startswith(DEMO_SCHEME)]
    found = open_repositories(plain)
    if len(plain) < len(addresses):
        found.append(demo_repository(demo_storage(Storage.at(leaderboard))))
    return found


def _presence(repository: Repository, cards: dict[str, Card], known: dict[str, Row]) -> Finding:
    missing, gone = sorted(cards.keys() - known.keys()), sorted(known.keys() - cards.keys())
    faults = []
    if missing:
        faults.append(f"{len(missing)} teacher(s) have no row: {some_of(missing)}")
    if gone:
        faults.append(f"{len(gone)} row(s) have no teacher any more: {some_of(gone)}")
    good = f"{repository.address}: {len(cards)} teacher(s), a row each"
    detail = f"{repository.address}: {'; '.join(faults)}" if faults else good
    return Finding("repository", detail, not faults)


def _digests(repository: Repository, both: Sequence[tuple[Card, Row]]) -> Finding:
    """A row of a teacher that could not be read has no digest, and nothing to compare."""
    with_digest = [(card, row) for card, row in both if row["teacher_digest"]]
    changed = []
    for card, row in with_digest:
        found, why = _digest_now(repository, card)
        if found != row["teacher_digest"]:
            changed.append(f"'{card.teacher}': {why or 'not the one that was assessed'}")
    good = f"{repository.address}: {len(with_digest)} teacher(s) unchanged"
    told = f"{repository.address}: {some_faults(changed)}"
    return Finding("weights", told if changed else good, not changed)


def _digest_now(repository: Repository, card: Card) -> tuple[str, str]:
    """The digest that a scan would record now, or why there is none."""
    if isinstance(card, RejectedCard):
        return card.card_digest, ""
    try:
        with repository.weights(card) as weights:
            return teacher_digest(card, weights), ""
    except TeacherError as error:
        return "", error.reason
