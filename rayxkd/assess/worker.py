"""The actor: an assessor on one share of the machines."""

from __future__ import annotations

from typing import Any

from rayxkd.assess.assessor import Assessor, Job, Task
from rayxkd.fleet.machines import this_node
from rayxkd.fleet.plan import WorkerPlan


class Worker:
    """Runs in a process of its own; jobs reach it one after another.

    ``task`` arrives from Ray's object store: its arrays are read where they lie.
    """

    def __init__(self, task: Task, plan: WorkerPlan) -> None:
        import torch

        torch.set_num_threads(plan.cpus)
        device = "cuda" if plan.gpus and torch.cuda.is_available() else "cpu"
        self._assessor = Assessor(task, torch.device(device))

    def ready(self) -> str:
        """Answers, with the node that it is on, once the process is up."""
        return this_node()

    def run(self, job: Job) -> Any:
        """Assess one teacher."""
        return self._assessor.assess(job)


def worker_here(task: Task) -> Worker:
    """A worker in this process, on the first GPU if there is one."""
    import torch

    return Worker(task, WorkerPlan(1, torch.get_num_threads(), float(torch.cuda.is_available())))


def worker_factory(ray: Any, task: Task, plan: WorkerPlan) -> Any:
    """A function that starts one actor; the task is stored once for all of them."""
    stored = ray.put(task)
    actor_class = ray.remote(Worker).options(
        num_cpus=plan.cpus, num_gpus=plan.gpus, max_restarts=0, max_task_retries=0
    )
    return lambda: actor_class.remote(stored, plan)
