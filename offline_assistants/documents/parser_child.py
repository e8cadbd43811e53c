"""The child process that parses one file: content in, text out, then it ends. What it cannot do is in confinement.py."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import BinaryIO

from offline_assistants.documents.confinement import confine
from offline_assistants.documents.formats.text_recognition import TextRecognition
from offline_assistants.documents.frames import Header, read_frame, write_frame
from offline_assistants.documents.lifeline import die_with_parent
from offline_assistants.documents.parsers import parse
from offline_assistants.errors import InvalidFile, UnsupportedFile
from offline_assistants.ports import ParsedDocument


def main() -> None:
    parent_pid, memory_bytes, cpu_s = (int(word) for word in sys.argv[1:])
    die_with_parent(parent_pid)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break a frame
    network = confine(memory_bytes=memory_bytes, cpu_s=cpu_s)
    request = read_frame(sys.stdin.buffer)
    if request is not None:
        header, payload = _answer(*request, replies)
        write_frame(replies, {"network": network, **header}, payload)


def _answer(header: Header, content: bytes, replies: BinaryIO) -> tuple[Header, bytes]:
    try:
        document = parse(
            str(header["filename"]),
            content,
            max_text_chars=int(header["max_text_chars"]),
            recognition=TextRecognition(str(header["ocr_languages"]), before_start=partial(die_with_parent, os.getpid())),
            on_progress=lambda: write_frame(replies, {"progress": True}),
        )
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
