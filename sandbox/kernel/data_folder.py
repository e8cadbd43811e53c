"""The folder of the session: takes the host's files in and finds what the code has made. The code owns the folder, so nothing in it is taken on trust."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_DEPTH = 32
_PIECE_BYTES = 1 << 20
_NEVER_REPORTED = {b"__pycache__"}


@dataclass(frozen=True)
class Limits:
    max_files: int
    max_file_bytes: int
    max_total_bytes: int


@dataclass(frozen=True)
class FoundFile:
    path: str
    """Relative to the folder."""
    num_bytes: int
    pieces: Iterator[bytes]
    """Together exactly `num_bytes`, read one by one: a large file shall not stand in memory once more. To be used up before the next change is asked for."""


@dataclass(frozen=True)
class Skipped:
    path: str
    """As well as it can be shown."""
    reason: str


class DataFolder:
    """Remembers identity, size and time of every regular file, so that each change is reported once."""

    def __init__(self, root: str) -> None:
        self._root = os.fsencode(root)
        self._seen: dict[bytes, tuple[int, int, int]] = {}
        self._names_of_inputs: dict[bytes, bytes] = {}

    def put(self, name: str, link: str | None, offset: int, piece: bytes) -> None:
        """Write a piece of an input as `name`, with `link` as a symbolic link to it. The first replaces what stood there. Raises OSError, leaving nothing."""
        os.chmod(self._root, 0o700)  # the code may have taken our right to write
        path = self._path(os.fsencode(name))
        if offset == 0:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _remove(path)
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if offset == 0 else os.O_APPEND), 0o644)
        try:
            with open(fd, "wb") as file:
                file.write(piece)
        except OSError:
            _remove(path)
            raise
        self._seen[os.fsencode(name)] = _identity(os.lstat(path))
        if link:
            _remove(self._path(os.fsencode(link)))
            os.symlink(os.fsencode(name), self._path(os.fsencode(link)))
            self._names_of_inputs[os.fsencode(name)] = os.fsencode(link)

    def changes(self, limits: Limits) -> Iterator[FoundFile | Skipped]:
        """New and changed regular files, oldest first, up to the limits; what is left out is named with its reason. Links are never followed."""
        found = dict(self._walk(self._root, _MAX_DEPTH))
        changed = sorted((info.st_mtime_ns, name) for name, info in found.items() if self._seen.get(name) != _identity(info))
        self._seen = {name: _identity(info) for name, info in found.items()}
        num_files = total_bytes = 0
        for _, name in changed:
            shown = self._shown_name(name)
            if num_files == limits.max_files:
                yield Skipped(_printable(shown), f"there are more than {limits.max_files} new files")
                continue
            if (path := _plain_name(shown)) is None:
                yield Skipped(_printable(shown), "its name is not plain text")
                continue
            with contextlib.ExitStack() as stack:
                opened = self._open(name, limits.max_file_bytes, stack)
                if opened is None:
                    continue
                if isinstance(opened, str):
                    yield Skipped(_printable(shown), opened)
                    continue
                num_bytes = os.fstat(opened).st_size
                if total_bytes + num_bytes > limits.max_total_bytes:
                    yield Skipped(_printable(shown), f"the new files of one call may have {limits.max_total_bytes / 1e6:.0f} MB together")
                    continue
                num_files, total_bytes = num_files + 1, total_bytes + num_bytes
                yield FoundFile(path, num_bytes, _pieces(opened, num_bytes))

    def _path(self, name: bytes) -> bytes:
        return self._root + b"/" + name

    def _shown_name(self, name: bytes) -> bytes:
        """An input that the code changed goes by the name that people know, as long as that still leads to it."""
        link = self._names_of_inputs.get(name)
        try:
            return link if link is not None and os.readlink(self._path(link)) == name else name
        except OSError:
            return name

    def _walk(self, folder: bytes, depth: int) -> Iterator[tuple[bytes, os.stat_result]]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # gone since it was listed
                    if stat.S_ISREG(info.st_mode):
                        yield entry.path[len(self._root) + 1 :], info
                    elif stat.S_ISDIR(info.st_mode) and depth and entry.name not in _NEVER_REPORTED:
                        yield from self._walk(entry.path, depth - 1)
        except OSError:
            return  # closed to us by the code, or a path longer than the system takes: not ours to open

    def _open(self, name: bytes, max_bytes: int, stack: contextlib.ExitStack) -> int | str | None:
        """A descriptor, closed with `stack`, or the reason why there is none; None when the file is gone. Neither a link nor a pipe can hold us."""
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        stack.callback(os.close, fd)
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return "it is not a regular file"
        return fd if info.st_size <= max_bytes else f"it is too large ({info.st_size / 1e6:.1f} MB)"


def _pieces(fd: int, num_bytes: int) -> Iterator[bytes]:
    """Exactly `num_bytes`, whatever becomes of the file meanwhile: what it lost is zeros, what it gained is not read."""
    while num_bytes > 0:
        piece = os.read(fd, min(num_bytes, _PIECE_BYTES)) or bytes(min(num_bytes, _PIECE_BYTES))
        num_bytes -= len(piece)
        yield piece


def _identity(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_ino, info.st_size, info.st_mtime_ns


def _remove(path: bytes) -> None:
    """Take away what stands at `path`, a folder with all that is in it, however deep. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        folders = [path]
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        os.unlink(entry.path)
        for folder in reversed(folders):
            os.rmdir(folder)


def _plain_name(name: bytes) -> str | None:
    """None for what is not UTF-8 or has control characters: the host takes neither."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    return None if any(ord(character) < 32 or ord(character) == 127 for character in text) else text


def _printable(name: bytes) -> str:
    text = name.decode(errors="backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]
