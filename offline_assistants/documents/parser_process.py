"""The server's side of a parser child: one process per file, under limits of memory and time."""

from __future__ import annotations

import asyncio
import logging
import math
import signal

from offline_assistants.documents.child_process import end_child, kill_child, read_tail, spawn_child
from offline_assistants.documents.formats.plain import check_size
from offline_assistants.documents.frames import BrokenFrameError, Header, receive_frame, send_frame
from offline_assistants.domain.file_types import KINDS, Kind, ending
from offline_assistants.errors import InvalidFile, OfflineAssistantsError, SearchError, UnsupportedFile
from offline_assistants.ports import ParsedDocument, Section

logger = logging.getLogger(__name__)

_CHILD = "offline_assistants.documents.parser_child"


class ParserProcess:
    """Parses files, each in a process that is made for it and dies with it.

    `memory_bytes` is what a parser may take beside the file itself; `timeout_s` is how long it may go without a sign of progress, which is all the time
    except while pages are recognised; `max_text_chars` is what a document may hold; `ocr_languages` as tesseract names them, empty for those that it has.
    """

    def __init__(self, *, memory_bytes: int, timeout_s: float, max_text_chars: int, max_processes: int, ocr_languages: str = "") -> None:
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._max_text_chars = max_text_chars
        self._ocr_languages = ocr_languages
        self._places = asyncio.Semaphore(max_processes)

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        """Raises UnsupportedFile, InvalidFile, SearchError (the parser could not be started, or failed by itself)."""
        if KINDS.get(ending(filename)) is Kind.PLAIN:
            check_size(len(content), self._max_text_chars)
        async with self._places:
            # Content is held as bytes, then as characters of up to four bytes, then as the reply: hence the multiple.
            memory_bytes = self._memory_bytes + 4 * len(content)
            try:
                process = await spawn_child(_CHILD, str(memory_bytes), str(math.ceil(self._timeout_s)))
            except OSError as error:
                raise SearchError("The parser could not be started. The machine may be out of memory or processes.") from error
            try:
                async with asyncio.timeout(self._timeout_s) as deadline:
                    header, payload = await self._exchange(process, filename, content, deadline)
                    await end_child(process)
            except TimeoutError as error:
                raise self._too_slow() from error
            finally:
                await kill_child(process)
        return await asyncio.to_thread(_document, header, payload)

    async def _exchange(self, process: asyncio.subprocess.Process, filename: str, content: bytes, deadline: asyncio.Timeout) -> tuple[Header, bytes]:
        assert process.stdin and process.stdout and process.stderr
        request: Header = {"filename": filename, "max_text_chars": self._max_text_chars, "ocr_languages": self._ocr_languages}
        stderr = asyncio.create_task(read_tail(process.stderr))
        sending = asyncio.create_task(send_frame(process.stdin, request, content))
        try:
            while True:
                header, payload = await receive_frame(process.stdout, max_payload_bytes=4 * self._max_text_chars)
                if "progress" not in header:
                    logger.debug("what keeps the parser of a file from the network: %s", header.get("network"))
                    return header, payload
                deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
        except (EOFError, BrokenFrameError) as error:
            await kill_child(process)
            raise self._why_it_died(process.returncode or 0, await stderr) from error
        finally:
            # A child that died early breaks the pipe it is sent through, too; why it died is told above.
            for task in (sending, stderr):
                task.cancel()
            await asyncio.gather(sending, stderr, return_exceptions=True)

    def _why_it_died(self, returncode: int, stderr: str) -> OfflineAssistantsError:
        if returncode == -signal.SIGXCPU:
            return self._too_slow()
        if returncode < 0 and returncode != -signal.SIGKILL:
            return InvalidFile(
                "The file made its parser crash: it is damaged, or made to do harm. Open it on your machine, save it again, and upload the new file."
            )
        logger.error("the parser ended with %d: %s", returncode, stderr.strip())
        return SearchError("The parser failed. The file is safe; add it again, and see the server's log for the reason.")

    def _too_slow(self) -> InvalidFile:
        return InvalidFile(f"Reading the file took longer than {self._timeout_s:g} seconds, which is the limit. Split it, or save it in a simpler form.")


def _document(header: Header, payload: bytes) -> ParsedDocument:
    match header:
        case {"error": "UnsupportedFile", "message": str(message)}:
            raise UnsupportedFile(message)
        case {"error": "InvalidFile", "message": str(message)}:
            raise InvalidFile(message)
        case {"error": "MemoryError"}:
            raise InvalidFile("Reading the file takes more memory than a parser may have. Split it, or save it in a simpler form.")
        case {"sections": list()}:
            sections = tuple(Section(start, end, page=page, heading=heading) for start, end, page, heading in header["sections"])
            return ParsedDocument(payload.decode("utf-8"), sections)
        case _:
            raise SearchError("The parser gave an answer that is no document.")
