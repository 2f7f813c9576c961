"""Files that are made once and shared by the processes of a machine."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rayxkd.cache import LocalCache


class Maker:
    """Writes a key's content, and counts how often."""

    def __init__(self, size: int = 10) -> None:
        self.made: Counter[str] = Counter()
        self._size = size

    def read(self, cache: LocalCache, key: str) -> bytes:
        with cache.file(key, lambda path: self._make(key, path)) as path:
            return path.read_bytes()

    def _make(self, key: str, path: Path) -> None:
        self.made[key] += 1
        time.sleep(0.01)
        path.write_bytes(key.encode() * self._size)


def test_many_at_once_make_it_once(tmp_path: Path) -> None:
    cache, maker = LocalCache(tmp_path), Maker()
    keys = ["a", "b", "c"] * 20

    with ThreadPoolExecutor(12) as readers:
        found = list(readers.map(lambda key: maker.read(cache, key), keys))

    assert found == [key.encode() * 10 for key in keys]
    assert maker.made == {"a": 1, "b": 1, "c": 1}
    assert not list(tmp_path.glob("*.used"))


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache, maker = LocalCache(tmp_path, limit=35), Maker()
    for key in ("a", "b", "c", "a"):  # ten bytes each
        maker.read(cache, key)
        time.sleep(0.02)

    maker.read(cache, "d")

    for key in ("a", "c", "d"):
        maker.read(cache, key)
    assert maker.made == {"a": 1, "b": 1, "c": 1, "d": 1}
    maker.read(cache, "b")
    assert maker.made["b"] == 2
    assert sum(path.stat().st_size for path in tmp_path.glob("*.kept")) <= 35


def test_what_is_in_use_can_be_read_after_it_was_removed(tmp_path: Path) -> None:
    cache, maker = LocalCache(tmp_path, limit=15), Maker()

    with cache.file("a", lambda path: maker._make("a", path)) as path:
        maker.read(cache, "b")
        assert len(list(tmp_path.glob("*.kept"))) == 1
        assert path.read_bytes() == b"a" * 10


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path, limit=25)
    small, large = Maker(), Maker(size=30)

    small.read(cache, "a")
    assert large.read(cache, "x") == b"x" * 30
    assert small.read(cache, "a") == b"a" * 10
    assert small.made == {"a": 1}
    large.read(cache, "x")
    assert large.made == {"x": 2}


def test_a_file_that_cannot_be_made_leaves_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    cache = LocalCache(tmp_path)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), cache.file("a", fail):
        pass
    assert Maker().read(cache, "a") == b"a" * 10
    assert not list(tmp_path.glob("*.used"))


def test_what_killed_processes_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYXKD_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    left = tmp_path / "weights" / "x.used"
    left.write_bytes(b"1")
    monkeypatch.setattr("rayxkd.cache.time.time", lambda: left.stat().st_ctime + 90_000)

    assert LocalCache.of_user("weights").folder == tmp_path / "weights"
    assert not left.exists()


def test_a_waiting_reader_does_not_make_it_again(tmp_path: Path) -> None:
    """The first is still writing while the second comes."""
    cache, maker = LocalCache(tmp_path), Maker()
    writing, finish = threading.Event(), threading.Event()

    def slowly(path: Path) -> None:
        writing.set()
        finish.wait(10)
        maker._make("a", path)

    def first() -> None:
        with cache.file("a", slowly):
            pass

    with ThreadPoolExecutor(2) as threads:
        threads.submit(first)
        assert writing.wait(10)
        second = threads.submit(maker.read, cache, "a")
        finish.set()
        assert second.result(10) == b"a" * 10
    assert maker.made == {"a": 1}
    assert os.listdir(tmp_path)  # noqa: PTH208 - something was kept
