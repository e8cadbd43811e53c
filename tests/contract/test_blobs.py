"""Contents of files, on the disk."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offline_assistants.errors import StoreError, StoreFull
from offline_assistants.store.blobs import BlobInfo, BlobStore


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[BlobStore]:
    async with BlobStore.open(tmp_path) as blobs:
        yield blobs


async def stream(*chunks: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if then:
        raise then


def contents_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


async def settled(directory: Path) -> list[str]:
    """The contents once the threads have thrown away what was given up."""
    await asyncio.sleep(0.1)
    return contents_in(directory)


@pytest.mark.parametrize("chunks", [[], [b""], [b"abc"], [b"a", b"", b"bc"], [bytes(range(256)) * 4096] * 8], ids=["none", "empty", "one", "three", "8 MB"])
async def test_a_content_is_found_by_its_hash(blobs: BlobStore, chunks: list[bytes]) -> None:
    content = b"".join(chunks)

    info = await blobs.put(stream(*chunks))

    assert info == BlobInfo(hashlib.sha256(content).hexdigest(), len(content))
    assert await blobs.read(info.digest) == content
    assert blobs.path(info.digest).read_bytes() == content


async def test_equal_contents_are_kept_once(blobs: BlobStore, tmp_path: Path) -> None:
    infos = await asyncio.gather(*(blobs.put_bytes(b"abc") for _ in range(20)))

    assert len(set(infos)) == 1
    assert await settled(tmp_path) == [infos[0].digest]


async def test_contents_are_there_after_closing_and_opening(tmp_path: Path) -> None:
    async with BlobStore.open(tmp_path) as blobs:
        info = await blobs.put_bytes(b"abc")
    async with BlobStore.open(tmp_path) as blobs:
        assert await blobs.read(info.digest) == b"abc"


async def test_a_stream_that_breaks_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        await blobs.put(stream(b"abc", then=ConnectionResetError()))

    assert await settled(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 2**16

    upload = asyncio.create_task(blobs.put(endless()))
    await asyncio.sleep(0.05)
    upload.cancel()

    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await settled(tmp_path) == []


async def test_what_a_dead_server_left_unfinished_is_removed_at_start(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "half").write_bytes(b"ab")

    async with BlobStore.open(tmp_path):
        assert contents_in(tmp_path) == []


async def test_only_its_user_can_look_into_contents(blobs: BlobStore, tmp_path: Path) -> None:
    info = await blobs.put_bytes(b"abc")

    modes = {path.stat().st_mode & 0o777 for path in [tmp_path, blobs.path(info.digest).parent]}
    assert modes == {0o700}
    assert blobs.path(info.digest).stat().st_mode & 0o777 == 0o600


async def test_a_deleted_content_is_gone(blobs: BlobStore, tmp_path: Path) -> None:
    info = await blobs.put_bytes(b"abc")

    await blobs.delete(info.digest)
    await blobs.delete(info.digest)

    assert await settled(tmp_path) == []
    with pytest.raises(StoreError):
        await blobs.read(info.digest)


async def test_a_content_that_arrived_again_outlives_the_deletion_of_the_first(blobs: BlobStore) -> None:
    info = await blobs.put_bytes(b"abc")
    await blobs.put_bytes(b"abc")

    await blobs.delete(info.digest)
    assert await blobs.read(info.digest) == b"abc"
    await blobs.delete(info.digest)

    assert not blobs.path(info.digest).exists()


async def test_a_content_from_before_the_start_outlives_all_but_its_last_use(tmp_path: Path) -> None:
    async with BlobStore.open(tmp_path) as blobs:
        info = await blobs.put_bytes(b"abc")
        await blobs.put_bytes(b"abc")
    async with BlobStore.open(tmp_path) as blobs:
        await blobs.sweep(Counter({info.digest: 2}))
        await blobs.put_bytes(b"abc")

        await blobs.delete(info.digest)
        await blobs.delete(info.digest)
        assert await blobs.read(info.digest) == b"abc"
        await blobs.delete(info.digest)

        assert not blobs.path(info.digest).exists()


async def test_sweeping_leaves_what_is_in_use_and_what_is_new(tmp_path: Path) -> None:
    async with BlobStore.open(tmp_path) as blobs:
        used, unused = await blobs.put_bytes(b"used"), await blobs.put_bytes(b"unused")
    async with BlobStore.open(tmp_path) as blobs:
        new = await blobs.put_bytes(b"new")

        num_swept = await blobs.sweep(Counter([used.digest]))

        assert num_swept == 1
        assert not blobs.path(unused.digest).exists()
        assert contents_in(tmp_path) == sorted([used.digest, new.digest])


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
async def test_only_digests_name_contents(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(ValueError, match="no sha256 digest"):
        blobs.path(digest)


async def test_nothing_new_is_accepted_on_a_full_disk(tmp_path: Path) -> None:
    async with BlobStore.open(tmp_path, min_free_bytes=2**62) as blobs:
        with pytest.raises(StoreFull):
            await blobs.put_bytes(b"abc")

        assert await settled(tmp_path) == []


async def test_a_directory_that_cannot_be_used_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(StoreError):
        async with BlobStore.open(tmp_path / "taken"):
            pass
