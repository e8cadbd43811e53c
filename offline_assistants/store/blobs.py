"""File contents by their sha256, on the disk. Knows nothing of files' names or of who uses a content.

directory/3f/3fa9...      a content; never changes
directory/unfinished/     contents that are still arriving; emptied at start
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from offline_assistants.errors import StoreError, StoreFull

Args = ParamSpec("Args")
Value = TypeVar("Value")

READ_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlobInfo:
    digest: str
    """sha256, hex."""
    size: int
    """Bytes."""
    md5: str | None = None
    """Hex, if asked for: clients have uploads checked by it. Names nothing here."""


class BlobStore:
    def __init__(self, directory: Path, *, min_free_bytes: int = 256 * 2**20, num_threads: int = 4) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="blobs")
        self._lock = threading.Lock()
        self._num_uses: Counter[str] = Counter()
        """How many objects name each content, and how many are about to."""

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, *, min_free_bytes: int = 256 * 2**20) -> AsyncGenerator[BlobStore]:
        """The blobs in a directory of their own, made if need be. Nothing new is accepted when the disk has less than `min_free_bytes`. Raises StoreError."""
        blobs = cls(directory, min_free_bytes=min_free_bytes)
        try:
            await blobs._call(blobs._prepare)
            yield blobs
        finally:
            await asyncio.to_thread(blobs._threads.shutdown)

    async def put(self, chunks: AsyncIterator[bytes], *, with_md5: bool = False) -> BlobInfo:
        """Keep a content as it arrives. On the disk when this returns, gone when it raises. Raises StoreFull, StoreError, and what `chunks` raises.

        It counts as one use: call `delete` once when the object that names it is deleted, or could not be committed.
        """
        arrival = await self._call(_Arrival, self._directory / "unfinished", with_md5=with_md5)
        try:
            async for chunk in chunks:
                await self._call(self._write, arrival, chunk)
            return await self._call(self._keep, arrival)
        finally:
            self._threads.submit(arrival.discard)  # not awaited: the caller may be cancelled

    async def put_bytes(self, content: bytes) -> BlobInfo:
        async def chunks() -> AsyncGenerator[bytes]:
            yield content

        return await self.put(chunks())

    async def join(self, digests: Sequence[str]) -> BlobInfo:
        """One content made of several, which stay, in this order; with its md5. As `put` otherwise; StoreError also when one is not there."""
        return await self.put(self._pieces(digests), with_md5=True)

    async def _pieces(self, digests: Sequence[str]) -> AsyncGenerator[bytes]:
        for digest in digests:
            file = await self._call(self.path(digest).open, "rb")
            try:
                while piece := await self._call(file.read, READ_SIZE):
                    yield piece
            finally:
                self._threads.submit(file.close)

    async def read(self, digest: str) -> bytes:
        """Raises StoreError when it is not there."""
        return await self._call(self.path(digest).read_bytes)

    async def read_head(self, digest: str, num_bytes: int) -> bytes:
        """At most so many bytes of its beginning. Raises StoreError when it is not there."""

        def head(path: Path) -> bytes:
            with path.open("rb") as file:
                return file.read(num_bytes)

        return await self._call(head, self.path(digest))

    def path(self, digest: str) -> Path:
        """Where the content is, for streaming. Raises ValueError for what is no digest."""
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{digest!r} is no sha256 digest")
        return self._directory / digest[:2] / digest

    async def delete(self, digest: str) -> None:
        """An object that named the content is gone: takes back one use. The content goes with the last; no error if there is none."""
        await self._call(self._delete, self.path(digest))

    async def sweep(self, in_use: Counter[str]) -> int:
        """At start: count the objects that name each content, and forget what none of them names. Returns how many were forgotten.

        What arrived meanwhile stays: its object may not be committed yet.
        """
        return await self._call(self._sweep, in_use)

    # ── On the threads ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _call(self, function: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs) -> Value:
        def call() -> Value:
            with _translated():
                return function(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        unfinished = self._directory / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)

    def _write(self, arrival: _Arrival, chunk: bytes) -> None:
        if shutil.disk_usage(self._directory).free - len(chunk) < self._min_free_bytes:
            raise StoreFull
        arrival.write(chunk)

    def _keep(self, arrival: _Arrival) -> BlobInfo:
        info = arrival.finish()
        path = self.path(info.digest)
        with self._lock:
            self._num_uses[info.digest] += 1
            if not path.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                arrival.path.rename(path)
        sync_directory(path.parent)
        sync_directory(self._directory)
        return info

    def _delete(self, path: Path) -> None:
        with self._lock:
            self._num_uses[path.name] -= 1
            if self._num_uses[path.name] <= 0:
                del self._num_uses[path.name]
                path.unlink(missing_ok=True)

    def _sweep(self, in_use: Counter[str]) -> int:
        num_swept = 0
        with self._lock:
            self._num_uses.update(in_use)
        for path in self._directory.glob("??/*"):
            with self._lock:
                if path.name not in self._num_uses:
                    path.unlink(missing_ok=True)
                    num_swept += 1
        return num_swept


class _Arrival:
    """A content that is still arriving, in a file of its own."""

    def __init__(self, directory: Path, *, with_md5: bool) -> None:
        handle, name = tempfile.mkstemp(dir=directory)  # mode 0600
        self.path = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._hash = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None
        self._size = 0
        self._lock = threading.Lock()  # a cancelled caller may discard it while a thread still writes

    def write(self, chunk: bytes) -> None:
        with self._lock:
            self._file.write(chunk)
            self._hash.update(chunk)
            if self._md5 is not None:
                self._md5.update(chunk)
            self._size += len(chunk)

    def finish(self) -> BlobInfo:
        with self._lock:
            self._file.flush()
            os.fsync(self._file.fileno())
            return BlobInfo(self._hash.hexdigest(), self._size, self._md5.hexdigest() if self._md5 else None)

    def discard(self) -> None:
        with self._lock:
            self.path.unlink(missing_ok=True)
            self._file.close()


def sync_directory(directory: Path) -> None:
    """Make names in a directory as durable as the files they name."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError from error
