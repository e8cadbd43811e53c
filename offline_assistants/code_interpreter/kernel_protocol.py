"""The frames that host and kernel exchange, as bytes and as objects. Pure: knows nothing of Docker, sockets or time.

A frame is two lengths (big-endian, 4 bytes each), a JSON header and raw bytes. Everything that comes from the kernel is input that the user's code may have
forged: a length over its limit, an unknown event, a path that leads out of /mnt/data or an image that is no PNG is a ProtocolError, never a guess.
The kernel's twin of the codec is `sandbox/kernel/frames.py`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

PROTOCOL = 2
"""Both sides must speak the same number; the kernel names its own in Ready."""

PIECE_BYTES = 4 << 20
"""A file goes in by pieces of this size, so that it does not stand in the container's memory twice."""

_LENGTHS = struct.Struct(">II")
_MAX_HEADER_BYTES = 64 * 1024
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STATUSES = ("ok", "error", "timeout", "crashed")


class ProtocolError(Exception):
    """The kernel sent what no kernel of ours sends. The session cannot be trusted any more: end it."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """What one call may give back."""

    log_chars: int = 128 * 1024
    """Head and tail together; between them a marker says how much is left out."""
    images: int = 20
    image_bytes: int = 10_000_000
    files: int = 100
    file_bytes: int = 100_000_000
    total_file_bytes: int = 200_000_000

    @property
    def total_bytes(self) -> int:
        """More than a kernel that keeps the other limits ever sends for one call."""
        return 8 * self.log_chars + self.images * self.image_bytes + self.total_file_bytes + (self.images + self.files + 1000) * _MAX_HEADER_BYTES


# ── From the host ────────────────────────────────────────────────────────────────────────────────────────────────────


def hello(limits: OutputLimits, *, preload: bool) -> bytes:
    """`preload`: there is time to import the great libraries before the first call."""
    names = ("log_chars", "images", "image_bytes", "files", "file_bytes", "total_file_bytes")
    return encode_frame({"op": "hello", "limits": {name: getattr(limits, name) for name in names}, "preload": preload})


def put(request: int, name: str, link: str | None, content: bytes) -> Iterator[bytes]:
    """Write /mnt/data/`name` (folders are made), and let /mnt/data/`link` lead to it: frames of a few megabytes each, of which the last is answered."""
    for offset in range(0, max(1, len(content)), PIECE_BYTES):
        is_last = offset + PIECE_BYTES >= len(content)
        header = {"op": "put", "request": request, "name": name, "link": link, "offset": offset, "is_last": is_last}
        yield encode_frame(header, content[offset : offset + PIECE_BYTES])


def execute(request: int, code: str, timeout_s: float) -> bytes:
    return encode_frame({"op": "execute", "request": request, "timeout_s": timeout_s}, code.encode(errors="backslashreplace"))


def interrupt(request: int) -> bytes:
    return encode_frame({"op": "interrupt", "request": request})


def encode_frame(header: dict[str, Any], body: bytes = b"") -> bytes:
    head = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((_LENGTHS.pack(len(head), len(body)), head, body))


# ── From the kernel ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Ready:
    protocol: int


@dataclass(frozen=True, slots=True)
class PutDone:
    request: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Started:
    request: int


@dataclass(frozen=True, slots=True)
class LogText:
    request: int
    text: str


@dataclass(frozen=True, slots=True)
class Png:
    request: int
    content: bytes


@dataclass(frozen=True, slots=True)
class File:
    request: int
    path: str
    """Relative to /mnt/data, checked: no dot segment, no control character."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    request: int
    status: Literal["ok", "error", "timeout", "crashed"]
    is_state_lost: bool


KernelEvent = Ready | PutDone | Started | LogText | Png | File | Ended


class EventDecoder:
    """Bytes in, events out. Holds at most one frame, and no frame is larger than the limits allow."""

    def __init__(self, limits: OutputLimits) -> None:
        self._max_body_bytes = max(limits.file_bytes, limits.image_bytes, 4 * limits.log_chars + _MAX_HEADER_BYTES)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[KernelEvent]:
        """Raises ProtocolError."""
        self._buffer += data
        while len(self._buffer) >= _LENGTHS.size:
            head_bytes, body_bytes = cast("tuple[int, int]", _LENGTHS.unpack_from(self._buffer))
            if head_bytes > _MAX_HEADER_BYTES or body_bytes > self._max_body_bytes:
                raise ProtocolError(f"a frame of {head_bytes} + {body_bytes} bytes")
            body_start = _LENGTHS.size + head_bytes
            if len(self._buffer) < body_start + body_bytes:
                return
            with memoryview(self._buffer) as view:
                head, body = bytes(view[_LENGTHS.size : body_start]), bytes(view[body_start : body_start + body_bytes])
            del self._buffer[: body_start + body_bytes]
            yield _event(_parsed(head), body)


def _parsed(head: bytes) -> dict[str, object]:
    try:
        header: object = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header that is no JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a header that is no JSON object")
    return cast("dict[str, object]", header)


def _event(header: dict[str, object], body: bytes) -> KernelEvent:
    match header:
        case {"event": "ready", "protocol": int(protocol)}:
            return Ready(protocol)
        case {"event": "put_done", "request": int(request), "error": str() | None as error}:
            return PutDone(request, error)
        case {"event": "started", "request": int(request)}:
            return Started(request)
        case {"event": "logs", "request": int(request)}:
            return LogText(request, body.decode(errors="replace"))
        case {"event": "image", "request": int(request)} if body.startswith(_PNG_SIGNATURE):
            return Png(request, body)
        case {"event": "file", "request": int(request), "path": str(path)} if is_safe_path(path):
            return File(request, path, body)
        case {"event": "ended", "request": int(request), "status": str(status), "is_state_lost": bool(is_state_lost)} if status in _STATUSES:
            return Ended(request, status, is_state_lost)
        case _:
            raise ProtocolError(f"an event that is not known or not valid: {str(header)[:200]}")


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_safe_path(path: str) -> bool:
    """True for a relative path in valid UTF-8 whose parts are neither empty nor dots, without control characters, of a length that systems take."""
    try:
        num_bytes = len(path.encode())
    except UnicodeEncodeError:
        return False
    has_control = any(ord(character) < 32 or ord(character) == 127 for character in path)
    return num_bytes <= 4096 and not has_control and all(part not in ("", ".", "..") for part in path.split("/"))


def relative_path(path: str) -> str:
    """`/mnt/data/...` as the kernel names it. Raises ValueError for what is not below /mnt/data."""
    relative = path.removeprefix("/mnt/data/")
    if relative == path or not is_safe_path(relative):
        raise ValueError(f"not a path below /mnt/data: {path!r}")
    return relative


def link_name(filename: str) -> str | None:
    """The name under which an uploaded file appears beside its id: one path part of at most 255 bytes. None where nothing usable is left."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    name = "".join("_" if ord(character) < 32 or ord(character) == 127 else character for character in name)
    name = name.encode(errors="replace")[:255].decode(errors="ignore")
    return None if name in ("", ".", "..") else name
