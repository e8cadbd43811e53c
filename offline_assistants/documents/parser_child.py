"""The child process that parses one file: content in, text out, then it ends. It can reach no network, write no file, and take no more than its limits."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from offline_assistants.documents.frames import Header, read_frame, write_frame
from offline_assistants.documents.lifeline import die_with_parent
from offline_assistants.documents.parsers import parse
from offline_assistants.errors import InvalidFile, UnsupportedFile
from offline_assistants.ports import ParsedDocument

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def main() -> None:
    parent_pid, memory_bytes, cpu_s = (int(word) for word in sys.argv[1:])
    die_with_parent(parent_pid)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break a frame
    _confine(memory_bytes=memory_bytes, cpu_s=cpu_s)
    request = read_frame(sys.stdin.buffer)
    if request is not None:
        header, payload = _answer(*request)
        write_frame(replies, header, payload)


def _confine(*, memory_bytes: int, cpu_s: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        # A network namespace of its own has no way out. Not permitted everywhere; the parsers open no sockets of their own accord.
        if libc.unshare(_CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))


def _answer(header: Header, content: bytes) -> tuple[Header, bytes]:
    try:
        document = parse(str(header["filename"]), content, max_text_chars=int(header["max_text_chars"]))
    except (UnsupportedFile, InvalidFile) as error:
        return {"error": type(error).__name__, "message": error.message}, b""
    except MemoryError:
        return {"error": "MemoryError"}, b""
    return _document_frame(document)


def _document_frame(document: ParsedDocument) -> tuple[Header, bytes]:
    sections = [[section.start, section.end, section.page, section.heading] for section in document.sections]
    return {"sections": sections}, document.text.encode("utf-8", "replace")


if __name__ == "__main__":
    main()
