"""What a scan costs beside the models: one worker against a bare loop, and two against one.

Run: ``uv run python tests/benchmarks/scan_scaling.py --zoo FOLDER --probe IMAGES``

The teachers of the zoo are copied in turn until there are enough. Every worker computes with one
thread, and so does the loop, which does nothing but load each model and run the same forward
passes in a process of its own, and decodes the images once for each kind of preprocessing, too;
both import what the first teacher of a kind needs when they load it. The loop keeps the memory that
it frees, as workers do; with --as-it-comes it is timed without that, too. Two such loops at once,
each with half of the teachers, show what a second core can gain at most. All scans run on one Ray
cluster that is up already, without anything in the cache of pixels. The overhead is what the
workers' time from their first teacher to the last result holds beside loading, forward passes and
scoring (the transport and all metrics). A worker's memory is compared with that of a process which
imports the same and asks the largest teacher about one batch of images.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import psutil
import pyarrow.compute as pc
import torch

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.scan import ScanReport
from rayxkd.cache import CACHE_VARIABLE, LocalCache
from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.memory import keep_freed
from rayxkd.teachers import ProbePixels, TeacherCard, load_teacher, open_repositories, predict

# As many photographs of 224 x 224 as a worker asks a teacher about at once on a CPU.
LARGE_BATCH = 16
_PHASES = ("load_seconds", "forward_seconds", "transport_seconds", "metric_seconds")


def phases_of(report: ScanReport) -> str:
    """Seconds of every phase, over all teachers."""
    table = report.leaderboard.table
    return ", ".join(f"{phase} {pc.sum(table[phase]).as_py():.1f}" for phase in _PHASES)


def span_and_work(report: ScanReport) -> tuple[float, float]:
    """Seconds from the first teacher's begin to the last result, and seconds of work."""
    rows = report.leaderboard.table.to_pylist()
    work = [sum(row[phase] for phase in _PHASES) for row in rows]
    begun = [
        row["finished_at"] - timedelta(seconds=seconds)
        for row, seconds in zip(rows, work, strict=True)
    ]
    last = max(row["finished_at"] for row in rows)
    return (last - min(begun)).total_seconds(), sum(work)


def bare_loop(
    zoo: str, probe: str, probe_size: int, share: slice, *, keeps_freed: bool
) -> tuple[float, int]:
    """Seconds of loading and asking a share of the teachers, with one thread; peak of memory."""
    if keeps_freed:
        keep_freed()
    torch.set_num_threads(1)
    images = sample_probe_set(open_image_set(probe), probe_size)
    cards = largest_first(zoo)
    start = time.perf_counter()
    pixels = ProbePixels(images, kinds=8)
    for card in cards[share]:
        teacher = load_teacher(card, Path(zoo) / card.weights_file, torch.device("cpu"))
        predict(teacher, pixels)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def largest_first(zoo: str) -> list[TeacherCard]:
    (repository,) = open_repositories([zoo])
    cards = [card for card in repository.cards() if isinstance(card, TeacherCard)]
    return sorted(cards, key=lambda card: (-card.weights_bytes, card.teacher))


def private_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


def largest_and_a_batch(zoo: str, probe: str) -> tuple[int, int]:
    """Private memory of a process with what a worker imports, and with the largest teacher, too.

    The teacher has been asked about one batch of images, and what it freed is kept.
    """
    keep_freed()
    torch.set_num_threads(1)
    for module in ("ray", "torch.export"):  # the latter by whoever loads a program
        import_module(module)
    imports = private_bytes(psutil.Process())
    card = largest_first(zoo)[0]
    pixels = ProbePixels(sample_probe_set(open_image_set(probe), LARGE_BATCH))
    predict(load_teacher(card, Path(zoo) / card.weights_file, torch.device("cpu")), pixels)
    return imports, private_bytes(psutil.Process())


def bare_loops(
    zoo: Path, probe: str, probe_size: int, count: int, *, keeps_freed: bool
) -> tuple[float, int]:
    """Loops that run at once, each in a process of its own and with its share of the teachers."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        loops = [
            pool.submit(
                bare_loop,
                str(zoo),
                probe,
                probe_size,
                slice(first, None, count),
                keeps_freed=keeps_freed,
            )
            for first in range(count)
        ]
        done = [loop.result() for loop in loops]
    return max(seconds for seconds, _ in done), max(peak for _, peak in done)


class MemoryOfWorkers:
    """Looks at the workers again and again, and keeps the most private memory of any of them.

    It looks seldom and reads two counters: to walk through the pages of every worker ten times a
    second took a fifth of two workers' time. Workers keep what they free, so no peak is missed.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> MemoryOfWorkers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(2):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if any("ray::WorkerActor" in word for word in process.cmdline()):
                        self.peak = max(self.peak, private_bytes(process))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True, help="folder of teachers")
    parser.add_argument("--probe", required=True, help="labelled images")
    parser.add_argument("--probe-size", type=int, default=512)
    parser.add_argument("--copies", type=int, default=30)
    parser.add_argument("--as-it-comes", action="store_true", help="time the plain loop too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache")
        cluster.connect()
        zoo = Path(folder) / "zoo"
        teachers = sorted(path.parent for path in arguments.zoo.glob("*/config.json"))
        for number in range(arguments.copies):
            shutil.copytree(teachers[number % len(teachers)], zoo / f"{number:02}")
        for keeps in (False, True) if arguments.as_it_comes else (True,):
            asked = (zoo, arguments.probe, arguments.probe_size)
            bare, loop_memory = bare_loops(*asked, 1, keeps_freed=keeps)
            two, _ = bare_loops(*asked, 2, keeps_freed=keeps)
            print(
                f"bare loop{' that keeps what it frees' if keeps else ''}: {bare:.1f} s for "
                f"{arguments.copies} teachers, {loop_memory / 2**10:.0f} MiB resident at most; "
                f"two at once: {two:.1f} s",
                flush=True,
            )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            imports, largest = pool.submit(largest_and_a_batch, str(zoo), arguments.probe).result()
        print(
            f"private memory: {imports / 2**20:.0f} MiB with what a worker imports, and "
            f"{(largest - imports) / 2**20:.0f} MiB more with the largest teacher and one batch"
        )
        spans, peaks = {}, {}
        for workers in (1, 2):
            shutil.rmtree(LocalCache.of_user("pixels").folder)
            settings = AssessSettings(
                repository=(str(zoo),),
                probe=arguments.probe,
                probe_size=arguments.probe_size,
                out=str(Path(folder) / f"board{workers}"),
                workers=workers,
                cpus_per_worker=1,
            )
            with MemoryOfWorkers() as memory:
                report = assess(settings)
            span, work = span_and_work(report)
            spans[workers], peaks[workers] = (report.seconds, span), memory.peak
            print(
                f"{workers} worker(s): {report.seconds:.1f} s with the start of the workers, "
                f"{span:.1f} s without; overhead {1 - work / (workers * span):.1%} of their time; "
                f"private memory of a worker {memory.peak / 2**20:.0f} MiB at most; "
                f"{phases_of(report)}"
            )
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, torch {torch.__version__}: "
        f"one worker takes {spans[1][1] / bare:.3f} of the time of the loop that keeps memory; "
        f"two workers are {spans[1][1] / spans[2][1]:.2f}x faster than one "
        f"({spans[1][0] / spans[2][0]:.2f}x with the start of the workers), "
        f"two bare loops {bare / two:.2f}x; a worker holds "
        f"{(max(peaks.values()) - largest) / 2**20:.0f} MiB more than the largest teacher, one "
        f"batch and what is imported"
    )


if __name__ == "__main__":
    main()
