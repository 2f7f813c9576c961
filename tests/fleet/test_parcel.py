"""What workers share reaches their processes, large arrays without a copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayxkd.cache import CACHE_VARIABLE
from rayxkd.fleet.parcel import Parcel

LARGE = 10_000


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder / "shared"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["u1", "f4", "f8", "i8"]), st.integers(0, 3 * LARGE), st.booleans()
        ),
        max_size=6,
    )
)
def test_whatever_goes_in_comes_out(arrays: list[tuple[str, int, bool]]) -> None:
    content = {
        number: (np.arange(2 * size) % 251)
        .reshape(2, size, order="F" if columns else "C")
        .astype(kind, order="K")
        for number, (kind, size, columns) in enumerate(arrays)
    }
    with Parcel.of(("name", content)).on_disk() as packed:
        mapped = packed.mapped()
    name, found = mapped.open()  # the file has lost its name by now
    assert name == "name"
    assert found.keys() == content.keys()
    for number, array in content.items():
        assert found[number].dtype == array.dtype
        np.testing.assert_array_equal(found[number], array)


def test_large_arrays_lie_in_one_file_for_all(cache: Path) -> None:
    numbers = np.random.default_rng(0).random(LARGE)
    for _ in range(2):
        with Parcel.of([numbers, numbers[:3]]).on_disk() as packed:
            mapped = packed.mapped()
    assert len(packed.pickled) < 1_000
    assert [path.stat().st_size for path in cache.glob("*.kept")] == [numbers.nbytes]
    large, small = mapped.open()
    assert np.shares_memory(large, mapped.arrays[0])
    assert not large.flags.writeable
    np.testing.assert_array_equal(small, numbers[:3])


def test_without_large_arrays_there_is_no_file(cache: Path) -> None:
    with Parcel.of(np.arange(3)).on_disk() as packed:
        assert packed.path is None
        assert packed.mapped().open().tolist() == [0, 1, 2]
    assert not cache.exists()
