"""A multipart/form-data body, read as it arrives: the file in it goes to the disk while it comes, and is never whole in memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from offline_assistants.api.bodies import drain
from offline_assistants.errors import OfflineAssistantsError, RequestError
from offline_assistants.store.blobs import BlobInfo, BlobStore

CHUNK_BYTES = 1024 * 1024
FORM_BYTES = 64 * 1024
"""What a field may hold, and what a form may have beside its file."""
MAX_FIELDS = 20
_EXTENDED_FILENAME = re.compile(r"filename\*\s*=\s*utf-8''([^;]+)", re.IGNORECASE)

Event = tuple[Literal["part", "data", "end", "close"], bytes]


@dataclass(frozen=True, slots=True)
class Form:
    """What came; the content is kept, and counts as one use of its blob."""

    fields: Mapping[str, str]
    filename: str | None
    content: BlobInfo


async def receive_form(request: Request, blobs: BlobStore, *, file_field: str, max_bytes: int) -> Form:
    """The form in the body. Nothing of it is kept when this raises.

    Raises RequestError for what is no form, is cut off, or holds more than `max_bytes` of a file; RequestValidationError without a file; StoreError.
    """
    stream = request.stream()
    contents: list[BlobInfo] = []
    try:
        _check_length(request, file_field, max_bytes)
        return await _receive(_Parser(stream, _boundary(request)), blobs, contents, file_field=file_field, max_bytes=max_bytes)
    except BaseException as error:
        for content in contents:
            await blobs.delete(content.digest)
        if isinstance(error, ClientDisconnect):
            raise RequestError("The client left before the body was whole.") from error
        if isinstance(error, OfflineAssistantsError):
            await _drain(stream)
        raise


async def _receive(parser: _Parser, blobs: BlobStore, contents: list[BlobInfo], *, file_field: str, max_bytes: int) -> Form:
    fields: dict[str, str] = {}
    filename: str | None = None
    while (disposition := await parser.next_part()) is not None:
        name, given_name = _names(disposition)
        if name in fields or (name == file_field and contents):
            raise RequestError(f"Invalid '{name}': it is there twice.", param=name, code="invalid_value")
        if len(fields) == MAX_FIELDS:
            raise RequestError(f"A form has at most {MAX_FIELDS} fields.")
        if name == file_field:
            filename = given_name
            contents.append(await blobs.put(_limited(parser.content(), name, max_bytes)))
        else:
            fields[name] = await _text_of(parser, name)
    if not contents:
        raise RequestValidationError([{"type": "missing", "loc": ("body", file_field), "msg": "Field required", "input": fields}], body=fields)
    return Form(fields, filename, contents[0])


def _check_length(request: Request, file_field: str, max_bytes: int) -> None:
    """A body that says beforehand that it is too large is refused before a byte of it is kept."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > max_bytes + FORM_BYTES:
        raise _too_large(file_field, max_bytes)


async def _limited(chunks: AsyncIterator[bytes], param: str, max_bytes: int) -> AsyncGenerator[bytes]:
    """About a megabyte at a time."""
    num_bytes, waiting = 0, bytearray()
    async for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise _too_large(param, max_bytes)
        waiting += chunk
        if len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


async def _text_of(parser: _Parser, name: str) -> str:
    content = b"".join([chunk async for chunk in _limited(parser.content(), name, FORM_BYTES)])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"Invalid '{name}': it is not UTF-8.", param=name, code="invalid_value") from error


def _too_large(param: str, max_bytes: int) -> RequestError:
    return RequestError(f"Invalid '{param}': at most {max_bytes} bytes are accepted, and there are more.", param=param, code="file_too_large")


def _boundary(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        given = content_type.partition(";")[0] or "nothing"
        raise RequestError(f"The body has to be a form with the header Content-Type: multipart/form-data and its boundary; it says {given}.")
    return boundary


async def _drain(stream: AsyncIterator[bytes]) -> None:
    async def take_piece() -> bool:
        return await anext(stream, None) is not None

    with suppress(ClientDisconnect, RuntimeError):  # RuntimeError: the stream was read to its end
        await drain(take_piece)


def _names(disposition: bytes) -> tuple[str, str | None]:
    """Field name and file name of a Content-Disposition header. Some clients send a name that is not ASCII as `filename*` only."""
    _, options = parse_options_header(disposition)
    if b"name" not in options:
        raise RequestError("Every part of the form needs a Content-Disposition header with a name.")
    filename = options.get(b"filename")
    extended = _EXTENDED_FILENAME.search(disposition.decode("latin-1"))
    if extended:
        return _text(options[b"name"]), unquote(extended[1].strip())
    return _text(options[b"name"]), None if filename is None else _text(filename).replace("%22", '"')


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


class _Parser:
    """What the library's parser finds, part by part; reads on when there is nothing left."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._found: deque[Event] = deque()
        self._header, self._value, self._disposition = b"", b"", b""
        with _translated():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": lambda data, start, end: self._found.append(("data", data[start:end])),
                    "on_part_end": lambda: self._found.append(("end", b"")),
                    "on_end": lambda: self._found.append(("close", b"")),
                },
            )

    async def next_part(self) -> bytes | None:
        """The Content-Disposition of the next part, whose content is to be read then; None behind the last one."""
        kind, disposition = await self._next()
        return disposition if kind == "part" else None

    async def content(self) -> AsyncGenerator[bytes]:
        while (event := await self._next())[0] == "data":
            yield event[1]

    async def _next(self) -> Event:
        while not self._found:
            chunk = await anext(self._stream, None)
            if chunk is None:
                raise RequestError("The form ends in the middle. Send it again.")
            with _translated():
                self._parser.write(chunk)
        return self._found.popleft()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        self._found.append(("part", self._disposition))
        self._disposition = b""


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except FormParserError as error:
        raise RequestError(f"The form could not be read: {error}.") from error
