"""Training the demo's teachers on Ray, at first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.teachers.demo import Recipe, demo_folder, missing_recipes, train_demo_teacher


def ensure_demo_teachers(cluster: Cluster, console: Console) -> Path:
    """Train the demo's teachers that are not in the cache yet, in parallel.

    Returns:
        The folder that holds them.

    Raises:
        UserError: the cache cannot be written.
    """
    folder = demo_folder()
    missing = missing_recipes(folder)
    if not missing:
        return folder
    console.print(
        f"training {len(missing)} small teachers for the demo (once; kept in {folder})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    ray = cluster.connect()
    train = ray.remote(_train_in_worker).options(num_cpus=1, max_retries=1)
    try:
        ray.get([train.remote(recipe, folder) for recipe in missing])
    except ray.exceptions.RayTaskError as error:
        raise UserError(f"the demo's teachers cannot be made: {error.cause}") from error
    return folder


def _train_in_worker(recipe: Recipe, folder: Path) -> Any:
    import torch

    torch.set_num_threads(1)
    train_demo_teacher(recipe, folder)
