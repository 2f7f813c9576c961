"""The actor: an assessor on one share of the machines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rayxkd.assess.asker import Asker
from rayxkd.assess.assessor import Assessor
from rayxkd.assess.racing.part import Judge
from rayxkd.assess.task import Job, Task
from rayxkd.fleet.actor_pool import Worn
from rayxkd.fleet.machines import this_node
from rayxkd.fleet.memory import MemoryGuard, share_of_node
from rayxkd.fleet.plan import WorkerPlan


class Worker:
    """Does one job after another.

    ``task`` arrives from Ray's object store: its arrays are read where they lie.
    """

    def __init__(self, task: Task, plan: WorkerPlan, guard: MemoryGuard | None = None) -> None:
        import torch

        torch.set_num_threads(plan.cpus)
        device = "cuda" if plan.gpus and torch.cuda.is_available() else "cpu"
        bound = guard.told if guard else ""
        self._asker = Asker(task, torch.device(device))
        self._assessor = Assessor(self._asker, bound)
        self._judge = Judge(self._asker, bound)
        self._guard = guard
        self._ahead = ThreadPoolExecutor(1, "ahead")

    def run(self, job: Job, upcoming: Job | None = None) -> Any:
        """Assess one teacher, or judge it on a part of the probe set.

        An actor whose memory has grown asks to be replaced.

        Args:
            job: the teacher.
            upcoming: the one that comes next, which is prepared meanwhile.
        """
        if upcoming is not None:
            self._ahead.submit(self._asker.prepare, upcoming)
        done = self._assessor.assess(job) if job.images is None else self._judge.judge(job)
        return Worn(done) if self._guard is not None and self._guard.is_worn() else done


class WorkerActor(Worker):
    """A worker in a process of its own, which Ray started."""

    def __init__(self, task: Task, plan: WorkerPlan, memory: float | None) -> None:
        """Begin.

        Args:
            task: what all teachers are asked.
            plan: the worker's share of the machines.
            memory: GiB that it may take; ``None`` for an equal share of the machine's. With a GPU,
                whose drivers map far more memory than they use, there is no bound.
        """
        import ray

        limit = share_of_node(ray, this_node(), plan.cpus) if memory is None else memory * 2**30
        guard = MemoryGuard.begin(None if plan.gpus or limit is None else int(limit))
        super().__init__(task, plan, guard)

    def ready(self) -> str:
        """Answers, with the node that it is on, once the process is up."""
        return this_node()


def worker_here(task: Task) -> Worker:
    """A worker in this process, on the first GPU if there is one."""
    import torch

    return Worker(task, WorkerPlan(1, torch.get_num_threads(), float(torch.cuda.is_available())))


def worker_factory(ray: Any, task: Task, plan: WorkerPlan, memory: float | None = None) -> Any:
    """A function that starts one actor; the task is stored once for all of them."""
    stored = ray.put(task)
    actor_class = ray.remote(WorkerActor).options(
        num_cpus=plan.cpus, num_gpus=plan.gpus, max_restarts=0, max_task_retries=0
    )
    return lambda: actor_class.remote(stored, plan, memory)
