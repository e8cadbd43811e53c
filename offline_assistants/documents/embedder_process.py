"""The server's side of the embedder child: a queue in which questions overtake documents, and a child that is started when needed and again when it dies."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from offline_assistants.documents.child_process import end_child, kill_child, read_tail, spawn_child
from offline_assistants.documents.frames import BrokenFrameError, Header, receive_frame, send_frame
from offline_assistants.errors import SearchError
from offline_assistants.ports import EmbeddingPurpose

logger = logging.getLogger(__name__)

_CHILD = "offline_assistants.documents.embedder_child"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
_BATCH_TEXTS_PER_THREAD = 8
"""A question waits for one batch at most: well under a second, and larger batches are hardly faster."""
_MAX_REPLY_BYTES = 64 << 20
_ATTEMPTS = 2


class Urgency(IntEnum):
    QUESTION = 0
    DOCUMENT = 1


@dataclass(order=True, slots=True)
class _Request:
    urgency: Urgency
    number: int
    header: Header = field(compare=False)
    payload: bytes = field(compare=False)
    reply: asyncio.Future[tuple[Header, bytes]] = field(compare=False)
    num_attempts: int = field(default=0, compare=False)


class EmbedderProcess:
    """Holds the child, of which there is at most one, and answers in order of urgency. Belongs to one event loop; close it there."""

    def __init__(self, model_dir: Path, *, num_threads: int, start_timeout_s: float, request_timeout_s: float) -> None:
        self._model_dir = model_dir
        self._num_threads = num_threads
        self._start_timeout_s = start_timeout_s
        self._request_timeout_s = request_timeout_s
        self._waiting: list[_Request] = []
        self._numbers = itertools.count()
        self._news = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stderr: asyncio.Task[str] | None = None
        self._is_closed = False

    # ── What is asked ────────────────────────────────────────────────────────────────────────────────────────────────

    async def warm(self) -> None:
        """Start the child now, so that nobody waits for it later. Raises SearchError."""
        await self._ask(Urgency.DOCUMENT, {"op": "tokenize"}, b"")

    async def embed(self, texts: Sequence[str], purpose: EmbeddingPurpose) -> list[list[float]]:
        """One vector of length 1 for each text; what is longer than the model's window is cut. Raises SearchError."""
        urgency = Urgency.QUESTION if purpose == "query" else Urgency.DOCUMENT
        # Texts of like length share a batch: less padding is about a quarter less work.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        batch_texts = _BATCH_TEXTS_PER_THREAD * self._num_threads
        batches = [order[start : start + batch_texts] for start in range(0, len(order), batch_texts)]
        vectors: list[list[float]] = [[] for _ in texts]
        # One batch in the queue at a time: two files being added take turns.
        for batch in batches:
            header, payload = await self._ask(urgency, {"op": "embed", "purpose": purpose, "texts": [_without_surrogates(texts[index]) for index in batch]})
            floats = array("f", payload).tolist()
            dimensions = int(header["dimensions"])
            for row, index in enumerate(batch):
                vectors[index] = floats[row * dimensions : (row + 1) * dimensions]
        return vectors

    async def tokenize(self, text: str) -> array[int]:
        """Start and end of each token in characters of `text`, alternating. Raises SearchError."""
        _, payload = await self._ask(Urgency.DOCUMENT, {"op": "tokenize"}, text.encode("utf-8", "replace"))
        return array("I", payload)

    async def close(self) -> None:
        """End the child; whoever still waits gets SearchError."""
        self._is_closed = True
        if self._server is not None:
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)
        if self._process is not None:
            await end_child(self._process)
        await self._forget_child()
        self._refuse_waiting(SearchError("The server is shutting down."))

    # ── The queue ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, urgency: Urgency, header: Header, payload: bytes = b"") -> tuple[Header, bytes]:
        if self._is_closed:
            raise SearchError("The server is shutting down.")
        request = _Request(urgency, next(self._numbers), header, payload, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, request)
        self._news.set()
        if self._server is None:
            self._server = asyncio.create_task(self._serve())
        reply, content = await request.reply
        if "error" in reply:
            raise SearchError(f"The embedding model could not read a text: {reply['error']}")
        return reply, content

    async def _serve(self) -> None:
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            request = heapq.heappop(self._waiting)
            if request.reply.done():  # its caller has gone
                continue
            try:
                reply = await self._exchange(request)
            except SearchError as error:
                self._answer(request, error)
                self._refuse_waiting(error)  # the model does not load: no use in trying it for each of them
            except (EOFError, BrokenFrameError, ConnectionError, TimeoutError) as error:
                await self._bury(error)
                request.num_attempts += 1
                if request.num_attempts < _ATTEMPTS:
                    heapq.heappush(self._waiting, request)
                else:
                    self._answer(request, SearchError("The embedder died twice over the same text. It is restarted with the next one."))
            except Exception as error:  # noqa: BLE001  nobody may wait for ever, whatever went wrong
                await self._bury(error)
                self._answer(request, SearchError("The embedder failed. It is restarted with the next text."))
            else:
                self._answer(request, reply)

    def _answer(self, request: _Request, outcome: tuple[Header, bytes] | SearchError) -> None:
        if request.reply.done():
            return
        if isinstance(outcome, SearchError):
            request.reply.set_exception(outcome)
        else:
            request.reply.set_result(outcome)

    def _refuse_waiting(self, error: SearchError) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._answer(request, error)

    # ── The child ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _exchange(self, request: _Request) -> tuple[Header, bytes]:
        process = self._process or await self._start()
        assert process.stdin and process.stdout
        async with asyncio.timeout(self._request_timeout_s):
            await send_frame(process.stdin, request.header, request.payload)
            return await receive_frame(process.stdout, max_payload_bytes=_MAX_REPLY_BYTES)

    async def _start(self) -> asyncio.subprocess.Process:
        """A child that has its model. Raises SearchError when it does not come up."""
        threads = {"OMP_NUM_THREADS": "1"}  # of its own threads each computes alone
        try:
            process = await spawn_child(_CHILD, f"--model-dir={self._model_dir}", f"--num-threads={self._num_threads}", environment={**_OFFLINE, **threads})
        except OSError as error:
            raise SearchError("The embedder could not be started. The machine may be out of memory or processes.") from error
        assert process.stdout and process.stderr
        self._process, self._stderr = process, asyncio.create_task(read_tail(process.stderr))
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await receive_frame(process.stdout, max_payload_bytes=0)
        except (EOFError, BrokenFrameError, TimeoutError) as error:
            await self._bury(error)
            raise SearchError(
                f"The embedding model in {self._model_dir} could not be loaded; the server's log holds the reason. scripts/setup installs the starter models."
            ) from error
        return process

    async def _bury(self, error: BaseException) -> None:
        if self._process is not None:
            await kill_child(self._process)
            tail = await self._stderr if self._stderr is not None else ""
            logger.error("the embedder ended with %s (%s): %s", self._process.returncode, type(error).__name__, tail)
        await self._forget_child()

    async def _forget_child(self) -> None:
        if self._stderr is not None:
            self._stderr.cancel()
            await asyncio.gather(self._stderr, return_exceptions=True)
        self._process = self._stderr = None


def _without_surrogates(text: str) -> str:
    """Half characters, which no encoder takes, become question marks; lengths stay."""
    return text.encode("utf-8", "replace").decode("utf-8")
