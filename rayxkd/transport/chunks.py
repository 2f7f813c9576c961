"""How many samples are worked on at once: memory does not grow with N."""

from __future__ import annotations

from collections.abc import Iterator

from rayxkd.transport.problem import TransportProblem

# Numbers of one B x K array. Few samples fit into a cache, many share the cost of every call; on a
# CPU 4 MiB in float32 was the fastest, and a GPU wants much to do.
_CPU_ENTRIES = 1024 * 1024
_CACHED_ENTRIES = 128 * 1024
_GPU_ENTRIES = 32 * 1024 * 1024
# Below this many rows a matrix product is bound by reading the kernel.
_LEAST_SAMPLES = 64


def chunk_slices(
    problem: TransportProblem, samples: int | None = None, *, cached: bool = False
) -> Iterator[slice]:
    """Slices over the samples of a problem.

    Args:
        problem: N samples.
        samples: how many at once; by default what suits the processor.
        cached: many passes are made over the same few arrays, which should stay in the cache.

    Raises:
        ValueError: ``samples`` below one.
    """
    if samples is None:
        wanted = _CACHED_ENTRIES if cached else _CPU_ENTRIES
        wanted = _GPU_ENTRIES if problem.source_NK.is_cuda else wanted
        samples = max(_LEAST_SAMPLES, wanted // sum(problem.cost_KM.shape))
    if samples < 1:
        raise ValueError(f"a chunk needs at least one sample, not {samples}")
    for start in range(0, problem.num_samples, samples):
        yield slice(start, min(start + samples, problem.num_samples))
