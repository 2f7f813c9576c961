"""One trial of a search, as Ray Tune runs it.

With one worker a trial trains in the process that Tune starts, and uses again, for it: on 2 cores
two to three seconds a trial of 6 epochs on the demo. Ray Train, which is used for more workers,
took about a minute for the same on the same busy machine: its controller, its workers and their
placement group are made anew for every trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from rayxkd.distill.material import Material
from rayxkd.distill.search.settings import TuneSettings
from rayxkd.distill.search.space import Space
from rayxkd.distill.settings import DistillSettings
from rayxkd.distill.students import StudentSpec
from rayxkd.distill.train import Assignment, Row, train_here, train_on_ray
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.machines import Resources
from rayxkd.storage import Storage

EPOCH, ACCURACY = "epoch", "accuracy_validation"
_TRIALS = "trials"
# What a process takes that only waits for others; 0 is refused by Tune.
_WAITING = 0.01
# How many trials at a time on a cluster that grows when there is work.
_GROWING = 8


@dataclass(frozen=True)
class Share:
    """What one trial gets of the cluster.

    Attributes:
        concurrent: how many trials there are at a time.
        workers: processes that train one trial.
        cpus: processors for each of them.
        gpus: GPUs for each of them.
    """

    concurrent: int
    workers: int
    cpus: float
    gpus: float

    @property
    def of_tune(self) -> dict[str, float]:
        """What Tune sets aside for the process of a trial; Ray Train asks for its own workers."""
        if self.workers > 1:
            return {"CPU": _WAITING}
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}


def share_of(found: Resources, settings: TuneSettings) -> Share:
    """Divide the cluster equally between trials.

    Raises:
        UserError: it cannot hold even one: Tune would wait for ever.
    """
    workers = settings.workers
    gpus = found.gpu_share(settings.gpus_per_worker)
    if found.may_grow:
        concurrent = min(settings.max_concurrent or _GROWING, settings.trials)
        return Share(concurrent, workers, 1.0 - _set_aside(concurrent, workers), gpus)
    fitting = found.places(1, gpus) // workers
    if fitting < 1:
        raise found.too_small_for(workers, gpus)
    concurrent = min(settings.max_concurrent or fitting, settings.trials)
    cpus = (found.cpus - _set_aside(concurrent, workers)) / (concurrent * workers)
    return Share(concurrent, workers, int(100 * cpus) / 100, gpus)


def _set_aside(concurrent: int, workers: int) -> float:
    """Processors for the processes that wait for Ray Train's, which may all be on one machine."""
    return _WAITING * concurrent if workers > 1 else 0.0


@dataclass(frozen=True)
class Orders:
    """What all trials have in common; Tune shares it through the object store.

    Attributes:
        space: what is searched, around the base setting.
        spec: the student.
        material: images and what the teachers said.
        storage: of the search.
        share: of one trial.
    """

    space: Space
    spec: StudentSpec
    material: Material
    storage: Storage
    share: Share

    def assignment(self, parameters: Mapping[str, Any]) -> Assignment:
        """The training of one trial.

        Its checkpoint lies where its setting says: whoever tries that setting again, such as a
        search whose last notes were lost with its process, goes on from there.
        """
        setting = replace(self.space.setting(parameters), gpus_per_worker=self.share.gpus)
        folder = trial_folder(self.storage, setting)
        return Assignment(setting, self.spec, self.material, folder)


def trial_folder(storage: Storage, setting: DistillSettings) -> Storage:
    """Where the checkpoint of a setting lies."""
    return storage.child(f"{_TRIALS}/{setting.digest()[:24]}")


def run_trial(parameters: dict[str, Any], orders: Orders) -> None:
    """Train and report the accuracy after every epoch; Ray Tune calls this in a process of its own.

    A trial that was stopped goes on from its last epoch, and reports that one again.
    """
    from ray import tune

    assignment = orders.assignment(parameters)
    reported: list[float] = []

    def tell(row: Row) -> None:
        reported.append(row[EPOCH])
        tune.report({EPOCH: int(row[EPOCH]), ACCURACY: row[ACCURACY]})

    if orders.share.workers > 1:
        training = train_on_ray(assignment, Cluster(), tell, cpus=orders.share.cpus)
    else:
        torch.set_num_threads(max(1, int(orders.share.cpus)))
        training = train_here(assignment, tell)
    if not reported:  # all was done before Tune took note of it
        tell(training.history[-1])
