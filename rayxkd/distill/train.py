"""Training on Ray Train, or in this process; after a crash it goes on from the last epoch."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rayxkd.distill.checkpoint import Checkpoint
from rayxkd.distill.faculty import ChosenTeacher
from rayxkd.distill.loop import Place, Training
from rayxkd.distill.material import Material
from rayxkd.distill.settings import DistillSettings
from rayxkd.distill.students import StudentSpec
from rayxkd.distill.teacher_pass import OnlineTeachers
from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.machines import Resources, resources, this_node
from rayxkd.storage import Storage

Row = dict[str, float]
Tell = Callable[[Row], None]


@dataclass(frozen=True)
class Assignment:
    """One training, as it is handed to whoever does it.

    Attributes:
        settings: of the distillation.
        spec: the student.
        material: images and what the teachers said.
        storage: where its checkpoint lies.
        teachers: to be asked in every step; none where they were asked before.
    """

    settings: DistillSettings
    spec: StudentSpec
    material: Material
    storage: Storage
    teachers: tuple[ChosenTeacher, ...] = ()

    def open(self, place: Place) -> Training:
        """The training, at its last checkpoint if there is one.

        Raises:
            UserError: the checkpoint is damaged.
        """
        ask = None
        if self.teachers:
            ask = OnlineTeachers(
                self.teachers,
                self.material.training.images,
                place.device,
                trust_code=self.settings.trust_code,
            )
        training = Training(self.settings, self.spec, self.material, place, ask)
        state = Checkpoint(self.storage).load(place.device)
        if state is not None and state["digest"] == self.settings.digest():
            training.load(state)
        return training


def train_here(assignment: Assignment, tell: Tell) -> Training:
    """Train in this process, on the first GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = assignment.open(Place(device=device))
    _train(training, assignment.storage, tell)
    return training


def train_on_ray(
    assignment: Assignment,
    cluster: Cluster,
    tell: Tell,
    *,
    cpus: float | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Training:
    """Train in worker processes with Ray Train.

    Args:
        assignment: what to do.
        cluster: where.
        tell: is told each epoch's row.
        cpus: processors for each worker; by default an equal share of all.
        note: is told on how many machines they are, once they are there.

    Returns:
        The training as its last checkpoint has it, in this process.

    Raises:
        UserError: more is asked for than the cluster holds, or the workers failed too often.
    """
    settings = assignment.settings
    ray = cluster.connect()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    found = resources(ray)
    gpus = found.gpu_share(settings.gpus_per_worker)
    if cpus is None:
        cpus = _processors(settings.workers, gpus, found)
    rows: Any = Queue(actor_options={"num_cpus": 0})
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={
            "assignment": ray.put(assignment),
            "rows": rows,
            "threads": max(1, int(cpus)),
        },
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": cpus, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            failure_config=FailureConfig(max_failures=settings.max_failures),
            **ray_storage(assignment.storage),
        ),
    )
    with _Listener(rows, tell, note, settings.workers):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise UserError(f"the training failed: {_cause(error)}") from error
    assignment.storage.refresh()  # Ray wrote there, which our listing does not know
    assignment.storage.remove(RAY_FOLDER)
    return assignment.open(Place())


RAY_FOLDER = ".ray"


def _train(training: Training, storage: Storage, tell: Tell, *, first: bool = True) -> None:
    """All epochs that are left, with a checkpoint after each."""
    checkpoint = Checkpoint(storage)
    while not training.is_done:
        row = training.train_epoch()
        if first:
            checkpoint.save(training.state())
            tell(row)


def _train_worker(config: dict[str, Any]) -> None:
    """What every worker of Ray Train does."""
    import ray
    import ray.train.torch

    torch.set_num_threads(config["threads"])
    assignment: Assignment = ray.get(config["assignment"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    place = Place(
        rank,
        context.get_world_size(),
        ray.train.torch.get_device(),
        ray.train.torch.prepare_model,
    )
    config["rows"].put(this_node())
    training = assignment.open(place)

    def tell(row: Row) -> None:
        config["rows"].put(row)

    _train(training, assignment.storage, tell, first=rank == 0)
    ray.train.report(training.history[-1])


def _processors(workers: int, gpus: float, found: Resources) -> int:
    """Processors for each worker.

    Raises:
        UserError: Ray Train would wait for ever.
    """
    if not found.may_grow and found.places(1, gpus) < workers:
        raise found.too_small_for(workers, gpus)
    return found.cpus_each(workers, gpus)


def ray_storage(storage: Storage) -> dict[str, Any]:
    """Where Ray Train keeps its own notes: beside ours, whatever file system that is."""
    if storage.is_local:
        return {"storage_path": str(storage.local_path(RAY_FOLDER))}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    filesystem = PyFileSystem(FSSpecHandler(storage.filesystem))
    return {"storage_path": storage.path(RAY_FOLDER), "storage_filesystem": filesystem}


def _cause(error: BaseException) -> str:
    """The first line of what a worker said last."""
    failures: Sequence[BaseException] = tuple(getattr(error, "worker_failures", {}).values())
    text = str(failures[0] if failures else error).strip()
    return text.splitlines()[-1] if text else type(error).__name__


class _Listener:
    """Passes on the rows that workers send, while the main thread waits for them."""

    def __init__(self, rows: Any, tell: Tell, note: Callable[[str], None], workers: int) -> None:
        self._rows, self._tell, self._note = rows, tell, note
        self._workers = workers
        self._nodes: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._rows.shutdown()

    def _listen(self) -> None:
        from ray.util.queue import Empty

        while True:
            try:
                said = self._rows.get(timeout=0.5)
            except Empty:
                if self._stop.is_set():
                    return
                continue
            if isinstance(said, str):
                self._greet(said)
            else:
                self._tell(said)

    def _greet(self, node: str) -> None:
        """One more worker is there; one that is started anew after a loss is not counted again."""
        self._nodes.append(node)
        if len(self._nodes) == self._workers:
            machines = len(set(self._nodes))
            self._note(f"{self._workers} worker(s) on {machines} machine(s)")
