"""Training the demo's teachers on Ray, at first use."""

from __future__ import annotations

from rich.console import Console

from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.storage import Storage
from rayxkd.teachers.demo import Recipe, make_demo_teacher, missing_recipes


def ensure_demo_teachers(cluster: Cluster, console: Console, place: Storage) -> None:
    """Train the demo's teachers that are not in their place yet, in parallel.

    Raises:
        UserError: the place cannot be written.
    """
    try:
        missing = missing_recipes(place)
    except OSError as error:
        raise UserError(f"{place.url} cannot be read: {error}") from error
    if not missing:
        return
    console.print(
        f"training {len(missing)} small teachers for the demo (once; kept in {place.url})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    ray = cluster.connect()
    train = ray.remote(_train_in_worker).options(num_cpus=1, max_retries=1)
    try:
        ray.get([train.remote(recipe, place) for recipe in missing])
    except ray.exceptions.RayTaskError as error:
        raise UserError(f"the demo's teachers cannot be made: {error.cause}") from error


def _train_in_worker(recipe: Recipe, place: Storage) -> None:
    import torch

    torch.set_num_threads(1)
    make_demo_teacher(recipe, place)
