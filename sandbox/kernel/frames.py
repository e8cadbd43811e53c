"""Frames between host, supervisor and worker: two lengths, a JSON header, raw bytes.

The host's twin is `offline_assistants/code_interpreter/kernel_protocol.py`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

_LENGTHS = struct.Struct(">II")
_MAX_HEADER_BYTES = 64 * 1024


class ProtocolError(Exception):
    """The other side sent what is no frame."""


def encode(header: dict, body: bytes = b"") -> bytes:
    return encode_head(header, len(body)) + body


def encode_head(header: dict, body_bytes: int) -> bytes:
    """What stands before the body, for a body too large to copy."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(head), body_bytes) + head


class FrameDecoder:
    """Bytes in, frames out. A header that is no JSON object and a length over the limit are violations."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict, bytes]]:
        self._buffer += data
        while len(self._buffer) >= _LENGTHS.size:
            head_bytes, body_bytes = _LENGTHS.unpack_from(self._buffer)
            if head_bytes > _MAX_HEADER_BYTES or body_bytes > self._max_body_bytes:
                raise ProtocolError(f"a frame of {head_bytes} + {body_bytes} bytes")
            end = _LENGTHS.size + head_bytes + body_bytes
            if len(self._buffer) < end:
                return
            head, body = bytes(self._buffer[_LENGTHS.size : end - body_bytes]), bytes(memoryview(self._buffer)[end - body_bytes : end])
            del self._buffer[:end]
            yield _parse(head), body


def _parse(head: bytes) -> dict:
    try:
        header = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header that is no JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a header that is no JSON object")
    return header
