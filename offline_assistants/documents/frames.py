"""How the server and its document children speak: a header in JSON, then raw bytes. Nothing that is received is ever executed or unpickled.

A frame is two lengths (big-endian, 4 and 8 bytes), the header's UTF-8 JSON object, the payload.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:  # the children need no event loop, and are up sooner without one
    import asyncio

_LENGTHS = struct.Struct(">IQ")
_PIECE = 1 << 20
_MAX_HEADER_BYTES = 64 << 20

Header = dict[str, Any]


class BrokenFrameError(Exception):
    """The other side said something that is no frame, or more than was agreed."""


def _pack(header: Header, payload_bytes: int) -> bytes:
    head = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
    return _LENGTHS.pack(len(head), payload_bytes) + head


def _unpack_header(head: bytes) -> Header:
    try:
        header = json.loads(head)
    except ValueError as error:
        raise BrokenFrameError("a frame's header is not JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrameError("a frame's header is not an object")
    return cast("Header", header)


async def send_frame(writer: asyncio.StreamWriter, header: Header, payload: bytes = b"") -> None:
    """Send, as fast as the other side reads. Raises ConnectionError when it is gone."""
    writer.write(_pack(header, len(payload)))
    view = memoryview(payload)
    for start in range(0, len(payload), _PIECE):
        writer.write(view[start : start + _PIECE])
        await writer.drain()
    await writer.drain()


async def receive_frame(reader: asyncio.StreamReader, *, max_payload_bytes: int) -> tuple[Header, bytes]:
    """The next frame. Raises EOFError at the end of the pipe, BrokenFrameError when the lengths are beyond the limits."""
    head_bytes, payload_bytes = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    if head_bytes > _MAX_HEADER_BYTES or payload_bytes > max_payload_bytes:
        raise BrokenFrameError("a frame is larger than its limit")
    head = await reader.readexactly(head_bytes)
    return _unpack_header(head), await reader.readexactly(payload_bytes)


def write_frame(pipe: BinaryIO, header: Header, payload: bytes | memoryview = b"") -> None:
    """The child's side of `receive_frame`."""
    pipe.write(_pack(header, len(payload)))
    pipe.write(payload)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> tuple[Header, bytes] | None:
    """The child's side of `send_frame`; None when the pipe has ended. Raises BrokenFrameError when it ends inside a frame."""
    lengths = pipe.read(_LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < _LENGTHS.size:
        raise BrokenFrameError("the pipe ended inside a frame")
    head_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    header = _unpack_header(_read_exactly(pipe, head_bytes))
    return header, _read_exactly(pipe, payload_bytes)


def _read_exactly(pipe: BinaryIO, num_bytes: int) -> bytes:
    content = pipe.read(num_bytes)
    if len(content) < num_bytes:
        raise BrokenFrameError("the pipe ended inside a frame")
    return content
