"""The frames between host and kernel: both sides read what the other writes, and nothing forged gets through."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path
from types import ModuleType

import pytest

from offline_assistants.code_interpreter import kernel_protocol as protocol
from offline_assistants.code_interpreter.kernel_protocol import Ended, EventDecoder, File, LogText, OutputLimits, Png, ProtocolError, PutDone, Ready, Started

LIMITS = OutputLimits(log_chars=1000, images=2, image_bytes=5000, files=2, file_bytes=10_000, total_file_bytes=20_000)
PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.fixture(scope="module")
def kernel_frames() -> ModuleType:
    """The kernel's own codec, which cannot import the package."""
    spec = importlib.util.spec_from_file_location("kernel_frames", Path(__file__).parents[2] / "sandbox" / "kernel" / "frames.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decode(data: bytes) -> list[protocol.KernelEvent]:
    return list(EventDecoder(LIMITS).feed(data))


def test_the_kernel_reads_what_the_host_writes(kernel_frames: ModuleType) -> None:
    frames = [protocol.hello(LIMITS, preload=True), *protocol.put(1, "file-a", "ä.csv", b"x"), protocol.execute(2, "print('ü')", 3.5), protocol.interrupt(2)]

    read = list(kernel_frames.FrameDecoder(10_000).feed(b"".join(frames)))

    assert [header["op"] for header, _ in read] == ["hello", "put", "execute", "interrupt"]
    assert read[0][0]["limits"]["file_bytes"] == 10_000
    assert read[1] == ({"op": "put", "request": 1, "name": "file-a", "link": "ä.csv", "offset": 0, "is_last": True}, b"x")
    assert read[2] == ({"op": "execute", "request": 2, "timeout_s": 3.5}, "print('ü')".encode())


def test_the_host_reads_what_the_kernel_writes(kernel_frames: ModuleType) -> None:
    data = b"".join(
        kernel_frames.encode(header, body)
        for header, body in [
            ({"event": "ready", "protocol": 1, "python": "3.11"}, b""),
            ({"event": "put_done", "request": 1, "error": "No space left on device"}, b""),
            ({"event": "started", "request": 2}, b""),
            ({"event": "logs", "request": 2}, "é".encode()),
            ({"event": "image", "request": 2}, PNG),
            ({"event": "file", "request": 2, "path": "out/ä.csv"}, b"a,b"),
            ({"event": "ended", "request": 2, "status": "ok", "is_state_lost": False}, b""),
        ]
    )

    assert decode(data) == [
        Ready(1),
        PutDone(1, "No space left on device"),
        Started(2),
        LogText(2, "é"),
        Png(2, PNG),
        File(2, "out/ä.csv", b"a,b"),
        Ended(2, "ok", is_state_lost=False),
    ]


def test_frames_may_arrive_in_any_pieces() -> None:
    data = protocol.encode_frame({"event": "logs", "request": 1}, b"one") + protocol.encode_frame({"event": "logs", "request": 1}, b"two")
    decoder = EventDecoder(LIMITS)

    events = [event for position in range(len(data)) for event in decoder.feed(data[position : position + 1])]

    assert events == [LogText(1, "one"), LogText(1, "two")]


@pytest.mark.parametrize("num_bytes", [0, 1, protocol.PIECE_BYTES, protocol.PIECE_BYTES + 1, 3 * protocol.PIECE_BYTES])
def test_a_file_of_any_size_goes_in_by_pieces_of_which_one_is_the_last(kernel_frames: ModuleType, num_bytes: int) -> None:
    content = bytes(num_bytes)

    read = list(kernel_frames.FrameDecoder(protocol.PIECE_BYTES).feed(b"".join(protocol.put(1, "file-a", None, content))))

    assert b"".join(body for _, body in read) == content
    assert [header["is_last"] for header, _ in read] == [False] * (len(read) - 1) + [True]


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"event": "unknown", "request": 1}, b""),
        ({"event": "started"}, b""),
        ({"event": "started", "request": "1"}, b""),
        ({"event": "image", "request": 1}, b"<svg/>"),
        ({"event": "file", "request": 1, "path": "../secret"}, b""),
        ({"event": "file", "request": 1, "path": "/etc/passwd"}, b""),
        ({"event": "file", "request": 1, "path": "a//b"}, b""),
        ({"event": "file", "request": 1, "path": "a/./b"}, b""),
        ({"event": "file", "request": 1, "path": ""}, b""),
        ({"event": "file", "request": 1, "path": "a\nb"}, b""),
        ({"event": "file", "request": 1, "path": "a\udc80"}, b""),
        ({"event": "file", "request": 1, "path": "a" * 5000}, b""),
        ({"event": "file", "request": 1, "path": 7}, b""),
        ({"event": "ended", "request": 1, "status": "great", "is_state_lost": False}, b""),
        ({"event": "ended", "request": 1, "status": "ok", "is_state_lost": 0}, b""),
    ],
)
def test_an_event_that_no_kernel_of_ours_sends_is_a_violation(header: dict[str, object], body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(protocol.encode_frame(header, body))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 1 << 30, 0),
        struct.pack(">II", 2, 1 << 30) + b"{}",
        struct.pack(">II", 4, 0) + b"\xff\xff\xff\xff",
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 60_000, 0) + b"[" * 60_000,
    ],
    ids=["a header without end", "a body without end", "no text", "no object", "nested without end"],
)
def test_bytes_that_are_no_frame_are_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_text_that_is_not_utf_8_is_shown_as_well_as_it_can_be() -> None:
    assert decode(protocol.encode_frame({"event": "logs", "request": 1}, b"a\xffb")) == [LogText(1, "a\ufffdb")]


@pytest.mark.parametrize(
    ("filename", "link"),
    [
        ("report.csv", "report.csv"),
        ("Umsätze 2026.csv", "Umsätze 2026.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\table.xlsx", "table.xlsx"),
        ("a\nb\x00.txt", "a_b_.txt"),
        ("", None),
        (".", None),
        ("..", None),
        ("folder/", None),
        ("\udc80.txt", "?.txt"),
    ],
)
def test_a_filename_becomes_one_harmless_path_part(filename: str, link: str | None) -> None:
    assert protocol.link_name(filename) == link


def test_a_long_filename_is_cut_between_characters() -> None:
    link = protocol.link_name("ä" * 300)

    assert link == "ä" * 127


def test_all_limits_together_allow_what_each_allows() -> None:
    assert LIMITS.total_bytes > 4 * LIMITS.log_chars + LIMITS.images * LIMITS.image_bytes + LIMITS.total_file_bytes


def test_the_header_is_plain_json() -> None:
    frame = protocol.interrupt(7)

    assert json.loads(frame[8:]) == {"op": "interrupt", "request": 7}
