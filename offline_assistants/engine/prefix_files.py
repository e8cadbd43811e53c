"""Computed prefixes on the disk, so that a thread goes on quickly after a restart. Knows neither llama.cpp nor slots: tokens and bytes go in, bytes come out.

A file holds the state of one sequence under the digests of its tokens, one for each block: a prompt is looked up by the digests of its own blocks, so no file
holds tokens. The state itself still tells them to whoever has the model. Therefore all files go when anything with text is deleted (`drop_prefixes`), and the
folder with them: a writer holds on to the folder it began with, and one that is gone takes nothing more. That is how a worker learns of a deletion.

A file that is damaged, or was not written here, is removed when it is met. Those used last stay within a number of bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

_log = logging.getLogger(__name__)

_MAGIC = b"offline-assistants prefix 1\n"
_LENGTH_BYTES = 4
_MAX_HEADER_BYTES = 2**22
_SUFFIX = ".prefix"
BLOCK_TOKENS = 64
MIN_TOKENS = 256
"""Shorter prefixes are computed sooner than they are worth a file, and so are shorter additions to one."""
MIN_FREE_BYTES = 2**30
"""With less room than this beside it on the disk, nothing is written."""
_DROP_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    digests: tuple[str, ...]
    """Of each block of 64 tokens together with all before it."""
    crc: int


class PrefixFiles:
    def __init__(self, folder: Path, *, model_key: str, max_bytes: int) -> None:
        """`model_key` names everything that the states depend on: the file, its adapters, the type of the cache. Raises OSError."""
        self._folder = folder
        self._model_key = model_key
        self._max_bytes = max_bytes
        self._by_digest: dict[str, tuple[_File, int]] = {}
        """The file that goes on from there, and how many tokens that is."""
        self._directory = -1
        self._open()

    @property
    def is_dropped(self) -> bool:
        """Something was deleted since the folder was opened; `reopen` begins a new one."""
        return os.fstat(self._directory).st_nlink == 0

    def reopen(self) -> None:
        """Raises OSError."""
        os.close(self._directory)
        self._open()

    def find(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens are in a file."""
        return self._longest(tokens)[1]

    def read(self, tokens: Sequence[int]) -> tuple[bytes, int] | None:
        """The state with the longest beginning of these tokens, and how long that is; the state may go on with others."""
        file, num_tokens = self._longest(tokens)
        if file is None:
            return None
        try:
            state = self._state(file)
            os.utime(file.name, dir_fd=self._directory)
        except OSError:
            state = None
        if state is None:
            self._remove(file)
            return None
        return state, num_tokens

    def write(self, tokens: Sequence[int], state: bytes) -> None:
        """Replaces what it goes on from. Raises OSError: no room, or the folder is gone."""
        size = len(state)
        if size > self._max_bytes or shutil.disk_usage(self._directory).free < size + MIN_FREE_BYTES:
            return
        digests = self._digests(tokens)
        file = _File(f"{digests[-1]}{_SUFFIX}", digests, zlib.crc32(state))
        header = json.dumps({"model": self._model_key, "digests": digests, "crc": file.crc}).encode()
        temporary = f"{file.name}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=self._directory)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.writelines((_MAGIC, len(header).to_bytes(_LENGTH_BYTES, "little"), header, state))
            os.replace(temporary, file.name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._directory)
            raise
        for earlier in {self._by_digest[digest][0] for digest in digests if digest in self._by_digest}:
            if earlier.digests == digests[: len(earlier.digests)] and earlier.name != file.name:
                self._remove(earlier)
        self._know(file)
        self._keep_within_budget()

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        self._by_digest = {}
        for name in self._names():
            with contextlib.suppress(OSError):
                self._meet(name)

    def _meet(self, name: str) -> None:
        status = os.stat(name, dir_fd=self._directory)
        if not name.endswith(_SUFFIX):
            if time.time() - status.st_mtime > 3600:  # what a crash left; younger ones may be another worker's
                os.unlink(name, dir_fd=self._directory)
            return
        with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=self._directory), "rb") as stream:
            header = _read_header(stream.read(len(_MAGIC) + _LENGTH_BYTES), stream.read(_MAX_HEADER_BYTES))
        if header is None:
            os.unlink(name, dir_fd=self._directory)
        elif header["model"] == self._model_key:
            self._know(_File(name, tuple(header["digests"]), header["crc"]))

    def _state(self, file: _File) -> bytes | None:
        with os.fdopen(os.open(file.name, os.O_RDONLY, dir_fd=self._directory), "rb") as stream:
            content = stream.read()
        begin = len(_MAGIC) + _LENGTH_BYTES
        begin += int.from_bytes(content[len(_MAGIC) : begin], "little")
        state = content[begin:]
        return state if content.startswith(_MAGIC) and zlib.crc32(state) == file.crc else None

    def _know(self, file: _File) -> None:
        for i, digest in enumerate(file.digests):
            self._by_digest[digest] = file, (i + 1) * BLOCK_TOKENS

    def _remove(self, file: _File) -> None:
        with contextlib.suppress(OSError):
            os.unlink(file.name, dir_fd=self._directory)
        self._by_digest = {digest: known for digest, known in self._by_digest.items() if known[0] is not file}

    def _keep_within_budget(self) -> None:
        """Of all models together; what another worker removes meanwhile is gone all the same."""
        found: list[tuple[float, int, str]] = []
        for name in self._names():
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=self._directory)
                found.append((status.st_mtime, status.st_size, name))
        total = sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if total <= self._max_bytes:
                break
            total -= size
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._directory)
            self._by_digest = {digest: known for digest, known in self._by_digest.items() if known[0].name != name}

    def _names(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            return sorted(entry.name for entry in entries)

    def _longest(self, tokens: Sequence[int]) -> tuple[_File | None, int]:
        for digest in reversed(self._digests(tokens)):
            if digest in self._by_digest:
                return self._by_digest[digest]
        return None, 0

    def _digests(self, tokens: Sequence[int]) -> tuple[str, ...]:
        digests, digest = list[str](), self._model_key.encode()
        for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            block = np.asarray(tokens[start : start + BLOCK_TOKENS], dtype=np.int64).tobytes()
            digest = hashlib.sha256(digest + block).digest()[:16]
            digests.append(digest.hex())
        return tuple(digests)


def drop_prefixes(folder: Path) -> None:
    """Removes the folder with all that is in it, while workers may be writing to it: afterwards nothing comes back. What cannot be removed is logged."""
    for _ in range(_DROP_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    _log.error("%s cannot be removed. It tells of what was deleted: remove it by hand.", folder)


def _read_header(fixed: bytes, rest: bytes) -> dict[str, Any] | None:
    """None when these are not the first bytes of a file of ours."""
    length = int.from_bytes(fixed[len(_MAGIC) :], "little")
    if not fixed.startswith(_MAGIC) or len(rest) < length:
        return None
    try:
        header = cast("dict[str, Any]", json.loads(rest[:length]))
        is_ours = isinstance(header["model"], str) and isinstance(header["crc"], int) and all(isinstance(each, str) for each in header["digests"])
    except (ValueError, KeyError, TypeError):
        return None
    return header if is_ours and header["digests"] else None
