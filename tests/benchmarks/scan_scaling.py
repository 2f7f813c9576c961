"""What a scan costs beside the models: one worker against a bare loop, and two against one.

Run: ``uv run python tests/benchmarks/scan_scaling.py --zoo FOLDER --probe IMAGES``

The teachers of the zoo are copied in turn until there are enough. Every worker computes with one
thread, and so does the loop, which does nothing but load each model and run the same forward
passes in a process of its own, and decodes the images once for each kind of preprocessing, too;
both import what the teachers need before the clock starts. The loop keeps the memory that it frees,
as workers do; with --as-it-comes it is timed without that, too. Two such loops at once, each with
half of the teachers, show what a second core can gain at most. All scans run on one Ray cluster
that is up already, without anything in the cache of pixels. A machine whose speed drifts is
timed in several --rounds, every other one backwards. The overhead is what the workers' time from
their first teacher to the last result holds beside loading, forward passes and scoring (the
transport and all metrics). A worker's memory is compared with that of a process which imports the
same and asks the largest teacher about one batch of images.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
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
from rayxkd.teachers.loaders.libraries import modules_of

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
    for module in modules_of(card.library for card in cards):  # as workers do it
        import_module(module)
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


def own_bytes(processes: Iterable[psutil.Process]) -> int:
    """Memory of processes that is no file's; what they share with one another counts once."""
    found = 0
    for process in processes:
        with suppress(psutil.Error, OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return found * 1024


def largest_and_a_batch(zoo: str, probe: str) -> tuple[int, int]:
    """Private memory of a process with what a worker imports, and with the largest teacher, too.

    The teacher has been asked about one batch of images, and what it freed is kept.
    """
    keep_freed()
    torch.set_num_threads(1)
    cards = largest_first(zoo)
    for module in ("ray", *modules_of(card.library for card in cards)):
        import_module(module)
    imports = own_bytes([psutil.Process()])
    card = cards[0]
    pixels = ProbePixels(sample_probe_set(open_image_set(probe), LARGE_BATCH))
    predict(load_teacher(card, Path(zoo) / card.weights_file, torch.device("cpu")), pixels)
    return imports, own_bytes([psutil.Process()])


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
    """Looks at the workers again and again, and keeps the most memory of any of them.

    A worker is an actor and the processes below it. It looks seldom: to walk through the pages of
    every worker ten times a second took a fifth of two workers' time. Workers keep what they free,
    so no peak is missed.
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
        while not self._over.wait(4):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if any("ray::WorkerActor" in word for word in process.cmdline()):
                        worker = [process, *process.children(recursive=True)]
                        self.peak = max(self.peak, own_bytes(worker))


class Benchmark:
    """Times loops and scans of the same teachers, one after another.

    Args:
        zoo: folder of teachers.
        arguments: of the command.
    """

    def __init__(self, zoo: Path, arguments: argparse.Namespace) -> None:
        self._zoo, self._arguments = zoo, arguments
        self.peak = 0

    def loops(self, count: int, *, keeps_freed: bool = True) -> float:
        """Seconds of so many loops at once, each with its share of the teachers."""
        arguments = self._arguments
        asked = (self._zoo, arguments.probe, arguments.probe_size, count)
        seconds, memory = bare_loops(*asked, keeps_freed=keeps_freed)
        print(
            f"{count} bare loop(s){' that keep what they free' if keeps_freed else ''}: "
            f"{seconds:.1f} s for {arguments.copies} teachers, {memory / 2**10:.0f} MiB resident "
            f"at most",
            flush=True,
        )
        return seconds

    def scan(self, workers: int) -> float:
        """Seconds of a scan with so many workers from the first teacher to the last result."""
        shutil.rmtree(LocalCache.of_user("pixels").folder, ignore_errors=True)
        with tempfile.TemporaryDirectory() as out, MemoryOfWorkers() as memory:
            report = assess(
                AssessSettings(
                    repository=(str(self._zoo),),
                    probe=self._arguments.probe,
                    probe_size=self._arguments.probe_size,
                    out=out,
                    workers=workers,
                    cpus_per_worker=1,
                )
            )
            span, work = span_and_work(report)
            phases = phases_of(report)
        self.peak = max(self.peak, memory.peak)
        print(
            f"{workers} worker(s): {report.seconds:.1f} s with the start of the workers, "
            f"{span:.1f} s without; overhead {1 - work / (workers * span):.1%} of their time; "
            f"private memory of a worker {memory.peak / 2**20:.0f} MiB at most; {phases}",
            flush=True,
        )
        return span

    def rounds(self, count: int) -> dict[str, list[float]]:
        """Seconds of everything in every round; every other round goes backwards."""
        steps: dict[str, Callable[[], float]] = {
            "two loops": lambda: self.loops(2),
            "loop": lambda: self.loops(1),
            "worker": lambda: self.scan(1),
            "two workers": lambda: self.scan(2),
        }
        if self._arguments.as_it_comes:
            steps = {"plain loop": lambda: self.loops(1, keeps_freed=False), **steps}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(count):
            for name in list(steps)[:: -1 if number % 2 else 1]:
                seconds[name].append(steps[name]())
        return seconds


def ratio(seconds: dict[str, list[float]], over: str, under: str) -> str:
    """Ratio of the sums, and between which values that of single rounds lies."""
    each = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    told = f"{sum(seconds[over]) / sum(seconds[under]):.3f}"
    return told if len(each) == 1 else f"{told} ({min(each):.3f} to {max(each):.3f})"


def memory_of_one(zoo: Path, probe: str) -> int:
    """Bytes of a process with what a worker imports, the largest teacher and one batch."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        imports, largest = pool.submit(largest_and_a_batch, str(zoo), probe).result()
    print(
        f"private memory: {imports / 2**20:.0f} MiB with what a worker imports, and "
        f"{(largest - imports) / 2**20:.0f} MiB more with the largest teacher and one batch"
    )
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True, help="folder of teachers")
    parser.add_argument("--probe", required=True, help="labelled images")
    parser.add_argument("--probe-size", type=int, default=512)
    parser.add_argument("--copies", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1, help="how often all is timed")
    parser.add_argument("--as-it-comes", action="store_true", help="time the plain loop too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache")
        cluster.connect()
        zoo = Path(folder) / "zoo"
        teachers = sorted(path.parent for path in arguments.zoo.glob("*/config.json"))
        for number in range(arguments.copies):
            shutil.copytree(teachers[number % len(teachers)], zoo / f"{number:02}")
        benchmark = Benchmark(zoo, arguments)
        largest = memory_of_one(zoo, arguments.probe)
        seconds = benchmark.rounds(arguments.rounds)
    if arguments.as_it_comes:
        print(f"one worker takes {ratio(seconds, 'worker', 'plain loop')} of that of a plain loop")
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, torch {torch.__version__}: one "
        f"worker takes {ratio(seconds, 'worker', 'loop')} of the time of the loop that keeps "
        f"memory; two workers are {ratio(seconds, 'worker', 'two workers')} times as fast as one, "
        f"two bare loops {ratio(seconds, 'loop', 'two loops')}; a worker holds "
        f"{(benchmark.peak - largest) / 2**20:.0f} MiB more than the largest teacher, one batch "
        f"and what is imported"
    )


if __name__ == "__main__":
    main()
