"""What a scan prepares: its task, the teachers that it is about, and the schema of its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console

from rayxkd.assess.demo import ensure_demo_teachers
from rayxkd.assess.names import NameVectors, open_name_vectors, without_vectors
from rayxkd.assess.racing.ledger import race_predictions
from rayxkd.assess.reference import reference_digest, student_probabilities_NM
from rayxkd.assess.settings import LABELS, AssessSettings
from rayxkd.assess.task import Task
from rayxkd.console import teller
from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.progress import CardsProgress
from rayxkd.leaderboard import leaderboard_schema
from rayxkd.sketches.shortlist import Shortlist, make_shortlist
from rayxkd.storage import Storage
from rayxkd.teachers import (
    Card,
    Forward,
    Repository,
    demo_repository,
    open_repositories,
    predictions_of,
)
from rayxkd.teachers.admission import open_pins, with_license
from rayxkd.teachers.demo import demo_storage
from rayxkd.transport import ground_cost


def make_task(settings: AssessSettings) -> Task:
    """Read the images, the reference and the vectors of class names.

    Raises:
        UserError: one of them cannot be read, or they do not fit together.
    """
    images = open_image_set(settings.probe)
    name_vectors = None
    if settings.class_vectors is not None:
        name_vectors = open_name_vectors(settings.class_vectors, images.class_names)
    probe = sample_probe_set(images, settings.probe_size, settings.seed)
    reference_NM = None
    if settings.reference != LABELS:
        reference_NM = student_probabilities_NM(
            settings.reference, images, probe, trust_code=settings.trust_code
        )
    scoring = settings.scoring()
    vectors_digest = None if name_vectors is None else name_vectors.digest
    return Task(
        probe=probe,
        reference_NM=reference_NM,
        name_vectors=name_vectors,
        scoring=scoring,
        forward=Forward(batch_size=settings.batch_size),
        probe_digest=probe.digest,
        config_digest=scoring.digest(reference_digest(reference_NM), vectors_digest),
        trust_code=settings.trust_code,
        predictions=_prediction_store(settings),
        evidence=None if settings.no_evidence else Storage.at(settings.out),
    )


def _prediction_store(settings: AssessSettings) -> Storage | None:
    """Where predictions are kept: a race asks no teacher twice about an image."""
    if settings.keep_predictions:
        return predictions_of(settings.out)
    return None if settings.budget is None else race_predictions(Storage.at(settings.out))


def read_repositories(
    settings: AssessSettings, console: Console
) -> list[tuple[Repository, list[Card]]]:
    """The cards of every repository but the demo's; those that are not wanted are rejected ones.

    Raises:
        UserError: a repository, or the file of ``--pins``, cannot be read.
    """
    plain = [one for one in settings.repository if not one.startswith(DEMO_SCHEME)]
    pins = None if settings.pins is None else open_pins(settings.pins)

    def admitted(card: Card, prefix: str) -> Card:
        card = with_license(card, settings.license)
        return card if pins is None else pins.applied(card, prefix)

    with CardsProgress(console) as progress:
        return [
            (one, [admitted(card, one.prefix) for card in one.cards(progress.tell)])
            for one in open_repositories(plain)
        ]


def demo_teachers(
    out: Storage, cluster: Cluster, console: Console
) -> tuple[Repository, list[Card]]:
    """The demo's, which are made if they are not there yet."""
    place = demo_storage(out)
    ensure_demo_teachers(cluster, console, place)
    demo = demo_repository(place)
    return demo, demo.cards()


def tell_who_goes_without(
    vectors: NameVectors, listed: Sequence[tuple[Repository, list[Card]]], console: Console
) -> None:
    """Say which teachers have class names without vectors, if any."""
    line = without_vectors([card for _, cards in listed for card in cards], vectors)
    if line:
        teller(console)(line)


def shorten(
    settings: AssessSettings,
    task: Task,
    listed: list[tuple[Repository, list[Card]]],
    tell: Callable[[str], None],
) -> Shortlist | None:
    """The best teachers by their sketches, where there is an index."""
    if settings.index is None or settings.shortlist is None:
        return None
    shortlist = make_shortlist(
        settings.index, settings.shortlist, listed, task.probe, trust_code=settings.trust_code
    )
    tell(shortlist.line())
    return shortlist


def make_schema(settings: AssessSettings, task: Task, shortlist: Shortlist | None) -> pa.Schema:
    """The schema of the table, with what a reader should know of the scan."""
    recorded = settings.recorded()
    about: dict[str, Any] = {
        "settings": recorded,
        "probe": recorded["probe"],
        "probe_images": len(task.probe),
        "probe_skipped": task.probe.skipped,
        "class_names": list(task.probe.class_names),
    }
    if shortlist is not None:
        about["shortlist"] = shortlist.about()
    unit = ground_cost(task.scoring.cost).unit
    return leaderboard_schema(sorted(task.scoring.metrics), unit, about)
