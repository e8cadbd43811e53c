"""Computed prefixes on the disk: found again by their tokens, damaged ones and old ones gone, and nothing written where something was deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from offline_assistants.engine.kv_cache import KVCache
from offline_assistants.engine.prefix_files import PrefixFiles, drop_prefixes

MAGIC = b"offline-assistants prefix 1\n"
THREAD = list(range(1000, 1300))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prefixes"


def files(folder: Path, *, model_key: str = "model", max_bytes: int = 10_000) -> PrefixFiles:
    return PrefixFiles(folder, model_key=model_key, max_bytes=max_bytes)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_prefix_is_found_after_a_restart_by_whatever_begins_with_it(folder: Path):
    files(folder).write(THREAD, b"state")

    again = files(folder)

    assert again.read([*THREAD, 7, 8]) == (b"state", 256)
    assert again.read([*THREAD[:130], 7, 8]) == (b"state", 128)
    assert again.read([7, *THREAD]) is None


def test_another_model_finds_nothing_and_takes_nothing_away(folder: Path):
    files(folder).write(THREAD, b"state")

    assert files(folder, model_key="other").read(THREAD) is None
    assert files(folder).find(THREAD) == 256


def test_no_file_tells_the_tokens(folder: Path):
    files(folder).write(THREAD, b"state")

    (name,) = names(folder)
    assert b"1000" not in (folder / name).read_bytes()
    assert (folder / name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", [b"", b"something else", b"offline-assistants prefix 1\n\xff\xff\xff\xff{", b'offline-assistants prefix 1\n\x02\x00\x00\x00{}"']
)
def test_a_foreign_file_is_removed(folder: Path, content: bytes):
    folder.mkdir()
    (folder / "abc.prefix").write_bytes(content)

    files(folder)

    assert names(folder) == []


def test_a_damaged_file_is_removed_when_it_is_wanted(folder: Path):
    files(folder).write(THREAD, b"state")
    (name,) = names(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + b"x")

    again = files(folder)

    assert again.read(THREAD) is None
    assert names(folder) == []
    assert again.find(THREAD) == 0


def test_a_longer_prefix_takes_the_place_of_what_it_goes_on_from(folder: Path):
    store = files(folder)
    store.write(THREAD, b"short")
    store.write([*THREAD, *range(500)], b"long")

    assert len(names(folder)) == 1
    assert store.read(THREAD) == (b"long", 256)


def test_what_was_used_last_stays_within_the_budget(folder: Path):
    store = files(folder, max_bytes=3000)
    threads = [[start, *THREAD] for start in range(3)]
    for age, thread in zip((300, 200), threads, strict=False):
        store.write(thread, bytes(1000))
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (newest.stat().st_mtime - age,) * 2)
    assert store.read(threads[0])

    store.write(threads[2], bytes(1000))

    assert [bool(store.find(thread)) for thread in threads] == [True, False, True]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3000


def test_what_is_larger_than_the_budget_is_not_written(folder: Path):
    files(folder, max_bytes=100).write(THREAD, bytes(200))

    assert names(folder) == []


def test_a_folder_that_was_dropped_takes_nothing_more_until_it_is_opened_again(folder: Path):
    store = files(folder)
    store.write(THREAD, b"state")
    drop_prefixes(folder)

    assert store.is_dropped
    with pytest.raises(FileNotFoundError):
        store.write(THREAD, b"state")
    assert store.read(THREAD) is None
    assert not folder.exists()
    store.reopen()
    assert not store.is_dropped
    assert names(folder) == []


def test_what_was_in_the_cache_at_a_deletion_is_not_for_the_disk_nor_are_its_copies():
    cache = KVCache(3)
    for tokens in (THREAD, [5] * 10):
        placement = cache.acquire(tokens)
        assert placement is not None
        cache.extend(placement.slot_id, tokens)
        cache.release(placement.slot_id)

    cache.keep_nothing()
    copied, fresh = cache.acquire([*THREAD[:100], 1]), cache.acquire([7, 7])

    assert copied is not None
    assert fresh is not None
    assert copied.copy_from == 0
    assert not cache.slots[copied.slot_id].may_be_kept
    assert cache.slots[fresh.slot_id].may_be_kept
