"""What the server and a worker process say to each other, and how it is put on a pipe.

Each message is a pickle behind its length. Both ends are this program, so nothing foreign is ever unpickled.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from offline_assistants.domain.models import ProjectorFile
from offline_assistants.engine.options import EngineOptions
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.ports import BatchState, Chat, Delta, RawPrompt, SamplingParams

_LENGTH = struct.Struct("<I")

# ── Server to worker ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Load:
    """The first command, sent once."""

    path: Path
    options: EngineOptions
    projector: ProjectorFile | None = None


@dataclass(frozen=True, slots=True)
class Generate:
    request_id: int
    prompt: Chat | RawPrompt
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop the generation; nothing more is said about it."""

    request_id: int


@dataclass(frozen=True, slots=True)
class CountTokens:
    request_id: int
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Measure:
    request_id: int
    prompt: Chat | RawPrompt


@dataclass(frozen=True, slots=True)
class Watch:
    """Asks for a BatchState."""

    request_id: int


Command = Load | Generate | Cancel | CountTokens | Measure | Watch

# ── Worker to server ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready."""

    request_id: int
    context_tokens: int
    picture_tokens: int | None = None
    picture_problem: str | None = None
    """See ports.ModelInfo."""


@dataclass(frozen=True, slots=True)
class Deltas:
    """What one step brought for one generation."""

    request_id: int
    deltas: list[Delta]


@dataclass(frozen=True, slots=True)
class Counts:
    request_id: int
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Watched:
    request_id: int
    state: BatchState


@dataclass(frozen=True, slots=True)
class Failed:
    """The last word on a request."""

    request_id: int
    error: OfflineAssistantsError


Reply = Loaded | Deltas | Counts | Watched | Failed

LOAD_REQUEST_ID = 0
"""Replies to Load carry this id; requests count from 1."""

# ── The pipe ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_command(stream: BinaryIO, command: Command) -> None:
    """Blocks until the pipe has taken it. Raises OSError when the other end is gone."""
    _write(stream, command)


def write_replies(stream: BinaryIO, replies: Sequence[Reply]) -> None:
    """As `write_command`. What one step brought goes together, so that the other end wakes once."""
    _write(stream, tuple(replies))


def _write(stream: BinaryIO, message: Command | tuple[Reply, ...]) -> None:
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_command(stream: BinaryIO) -> Command | None:
    """The next command; None when the server is gone."""
    return cast("Command | None", _read(stream))


def read_replies(stream: BinaryIO) -> tuple[Reply, ...] | None:
    """The next replies; None when the worker is gone."""
    return cast("tuple[Reply, ...] | None", _read(stream))


def _read(stream: BinaryIO) -> object | None:
    # The other end may be gone in the middle of a message, too.
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    body = stream.read(length)
    return cast("object", pickle.loads(body)) if len(body) == length else None  # noqa: S301 - our own process
