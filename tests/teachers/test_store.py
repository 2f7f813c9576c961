"""What teachers said is found again, whoever wrote it and in whatever order it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers import PredictionStore, Said, ViewKey

TEACHER, ANOTHER = "a" * 64, "b" * 64
K, D = 3, 2


def key(image: int, view: int = 0) -> ViewKey:
    return ViewKey(f"{image:064x}", view)


def said_of(keys: Sequence[ViewKey], *, features: bool = True, shift: float = 0.0) -> Said:
    """Numbers from which one can tell what they are about."""
    numbers = np.array([int(one.image_digest, 16) * 100 + one.view for one in keys], np.float32)
    logits = numbers[:, None] + np.arange(K, dtype=np.float32) / 4 + np.float32(shift)
    return Said(logits, -logits[:, :D] if features else None)


def same(found: Said, expected: Said) -> bool:
    if (found.features_RD is None) != (expected.features_RD is None):
        return False
    if found.features_RD is not None and expected.features_RD is not None:
        assert found.features_RD.dtype == np.float32
        if not np.array_equal(found.features_RD, expected.features_RD):
            return False
    assert found.logits_RK.dtype == np.float32
    return np.array_equal(found.logits_RK, expected.logits_RK)


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    return PredictionStore(Storage.at(str(tmp_path / "said")), TEACHER)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "said").rglob("*.parquet"))


def test_an_empty_store_misses_everything(store: PredictionStore) -> None:
    keys = [key(1), key(1, 1), key(2)]
    assert store.missing(keys) == keys
    with pytest.raises(KeyError):
        store.read(keys)


def test_what_was_written_is_read(store: PredictionStore) -> None:
    keys = [key(1), key(1, 1), key(2)]
    store.write(keys, said_of(keys))
    assert store.missing([*keys, key(3)]) == [key(3)]
    assert same(store.read(keys), said_of(keys))


KEYS = st.lists(
    st.builds(key, st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=24, unique=True
)


@settings(deadline=None, max_examples=30)
@given(KEYS, st.data())
def test_any_part_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, keys: list[ViewKey], data: st.DataObject
) -> None:
    store = PredictionStore(Storage.at(str(tmp_path_factory.mktemp("store"))), TEACHER)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(keys)), max_size=3)) | {len(keys)})
    written: list[ViewKey] = []
    for start, end in zip([0, *cuts], cuts, strict=False):
        store.write(keys[start:end], said_of(keys[start:end]))
        written += keys[start:end]
        assert store.missing(keys) == keys[len(written) :]
    # Some of them, in another order, some twice.
    wanted = data.draw(st.lists(st.sampled_from(keys), max_size=40))
    assert same(store.read(wanted), said_of(wanted)) or not wanted
    assert len(store.read(wanted)) == len(wanted)


def test_the_same_image_twice_is_one_row(store: PredictionStore, tmp_path: Path) -> None:
    store.write([key(1), key(2)], said_of([key(1), key(2)]))
    twice = [key(2), key(1), key(2)]
    assert store.missing(twice) == []
    assert same(store.read(twice), said_of(twice))
    (file,) = files(tmp_path)
    assert pq.read_table(file).num_rows == 2


def test_two_writers_do_no_harm(store: PredictionStore, tmp_path: Path) -> None:
    """The same part twice is one file; parts that overlap are two."""
    another = PredictionStore(Storage.at(str(tmp_path / "said")), TEACHER)
    part, overlapping = [key(1), key(2)], [key(2), key(3)]
    store.write(part, said_of(part))
    another.write(part, said_of(part))
    assert len(files(tmp_path)) == 1
    another.write(overlapping, said_of(overlapping))
    assert len(files(tmp_path)) == 2
    for reader in (store, another):
        assert reader.missing([key(1), key(2), key(3), key(4)]) == [key(4)]
        everything = [key(3), key(2), key(1)]
        assert same(reader.read(everything), said_of(everything))


def test_teachers_are_kept_apart(store: PredictionStore, tmp_path: Path) -> None:
    another = PredictionStore(Storage.at(str(tmp_path / "said")), ANOTHER)
    store.write([key(1)], said_of([key(1)]))
    assert another.missing([key(1)]) == [key(1)]
    another.write([key(1)], said_of([key(1)], shift=0.5))
    assert same(store.read([key(1)]), said_of([key(1)]))
    assert same(another.read([key(1)]), said_of([key(1)], shift=0.5))


def test_a_teacher_without_features(store: PredictionStore) -> None:
    keys = [key(1), key(2)]
    store.write(keys, said_of(keys, features=False))
    found = store.read([key(2)])
    assert found.features_RD is None
    assert same(found, said_of([key(2)], features=False))


def torn(content: bytes) -> bytes:
    return content[: len(content) // 2]


def of_others(_: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"diary": ["dear"]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("damage", [torn, of_others, lambda _: b""])
def test_a_file_that_cannot_be_read_is_asked_for_again(
    store: PredictionStore, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first, second = [key(1), key(2)], [key(3)]
    store.write(first, said_of(first))
    (file,) = files(tmp_path)
    store.write(second, said_of(second))
    file.write_bytes(damage(file.read_bytes()))
    assert store.missing([*first, *second]) == first
    # Whether in the same parts or in others: what is written again counts.
    store.write([key(2)], said_of([key(2)]))
    assert store.missing([*first, *second]) == [key(1)]
    store.write(first, said_of(first))
    everything = [*second, *first]
    assert store.missing(everything) == []
    assert same(store.read(everything), said_of(everything))


def test_other_files_in_the_folder_are_passed_over(store: PredictionStore, tmp_path: Path) -> None:
    store.write([key(1)], said_of([key(1)]))
    (file,) = files(tmp_path)
    file.with_name("notes.txt").write_text("not ours")
    file.with_name(f".{file.name}.1234.tmp").write_bytes(b"half")
    assert store.missing([key(1), key(2)]) == [key(2)]


def test_rows_keep_their_numbers_to_the_bit(store: PredictionStore) -> None:
    keys = [key(number) for number in range(300)]
    rng = np.random.default_rng(0)
    said = Said(
        rng.normal(size=(300, 7)).astype(np.float32) * 1e6,
        rng.normal(size=(300, 5)).astype(np.float32) * 1e-6,
    )
    store.write(keys, said)
    assert same(store.read(keys), said)
    backwards = np.arange(299, -1, -1)
    assert same(store.read(keys[::-1]), said.rows(backwards))


def test_features_in_columns_of_memory(store: PredictionStore) -> None:
    """Networks hand over arrays that lie in any order."""
    keys = [key(number) for number in range(4)]
    logits = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    store.write(keys, Said(logits, logits[:, ::2]))
    assert same(store.read(keys), Said(logits, logits[:, ::2]))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = PredictionStore(Storage.at(str(tmp_path / "file")), TEACHER)
    with pytest.raises(UserError, match=r"predictions cannot be written to .*file"):
        store.write([key(1)], said_of([key(1)]))


def test_on_a_bucket(bucket: str) -> None:
    def opened(teacher: str = TEACHER) -> PredictionStore:
        return PredictionStore(Storage.at(f"{bucket}/board/predictions"), teacher)

    store = opened()
    keys = [key(1), key(2), key(2, 1)]
    assert store.missing(keys) == keys
    store.write(keys[:2], said_of(keys[:2]))
    # The listing of before is forgotten; another process sees the same.
    assert store.missing(keys) == keys[2:]
    opened().write(keys[2:], said_of(keys[2:]))
    assert opened().missing(keys) == []
    assert same(store.read(keys[::-1]), said_of(keys[::-1]))
    assert opened(ANOTHER).missing(keys) == keys
    filesystem: Any = fsspec.filesystem("s3")
    damaged = filesystem.find(f"{bucket}/board/predictions")[0]
    filesystem.pipe_file(damaged, torn(filesystem.cat_file(damaged)))
    assert opened().missing(keys) in (keys[:2], keys[2:])
