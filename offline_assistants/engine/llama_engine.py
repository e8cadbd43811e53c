"""One model: starts its worker process, hands what it says to the event loop, starts it again after a crash. Knows nothing of other models."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from offline_assistants.domain.models import ModelFile
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.wire import (
    LOAD_REQUEST_ID,
    Cancel,
    Command,
    Counts,
    CountTokens,
    Deltas,
    Failed,
    Generate,
    Load,
    Loaded,
    Measure,
    Reply,
    read_reply,
    write_message,
)
from offline_assistants.errors import EngineBusy, EngineError, OfflineAssistantsError
from offline_assistants.ports import Chat, Delta, Finished, RawPrompt, SamplingParams

_log = logging.getLogger(__name__)


class LlamaEngine:
    def __init__(self, model: ModelFile, options: EngineOptions, *, verify: Callable[[ModelFile], Awaitable[None]]) -> None:
        """`verify` is awaited before each start; it raises ModelNotLoaded when the file is not what it should be."""
        self.model = model
        self._options = options
        self._verify = verify
        self._ids = itertools.count(LOAD_REQUEST_ID + 1)
        self._worker: _Worker | None = None
        self._starting: asyncio.Task[_Worker] | None = None
        self._num_generating = 0

    @property
    def loaded(self) -> Loaded | None:
        """What the model is, once it is loaded; None while it is not."""
        return self._worker.loaded if self._worker is not None and self._worker.is_alive else None

    @property
    def process_id(self) -> int | None:
        """Of the worker, while there is one."""
        return self._worker.process_id if self._worker else None

    async def load(self) -> Loaded:
        """Starts the worker unless it runs; what the model is. Raises ModelNotLoaded."""
        return (await self._running_worker()).loaded

    async def generate(self, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        """See ports.Engines. Raises EngineBusy when too many wait already."""
        if self._num_generating >= self._options.max_running + self._options.max_waiting:
            raise EngineBusy
        self._num_generating += 1
        try:
            worker = await self._running_worker()
            request_id = next(self._ids)
            replies = worker.ask(Generate(request_id, prompt, sampling))
            try:
                while True:
                    for delta in _deltas(await replies.get()):
                        yield delta
                        if isinstance(delta, Finished):
                            return
            finally:
                worker.leave(request_id)
        finally:
            self._num_generating -= 1

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._counts(CountTokens(next(self._ids), tuple(texts)))

    async def measure(self, prompt: Chat | RawPrompt) -> int:
        return (await self._counts(Measure(next(self._ids), prompt)))[0]

    async def close(self) -> None:
        """Ends the worker. Whoever still waits gets EngineError."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.close()

    async def _counts(self, command: CountTokens | Measure) -> list[int]:
        worker = await self._running_worker()
        replies = worker.ask(command)
        try:
            match await replies.get():
                case Counts(_, counts):
                    return counts
                case reply:
                    raise _error(reply)
        finally:
            worker.leave(command.request_id)

    async def _running_worker(self) -> _Worker:
        if self._worker is not None and self._worker.is_alive:
            return self._worker
        # One start serves all who ask meanwhile, and goes on when the first of them leaves.
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> _Worker:
        if self._worker is not None:
            await self._worker.close()
            self._worker = None
        await self._verify(self.model)
        worker = _Worker.spawn(self.model)
        try:
            replies = worker.ask(Load(self.model.path, self._options, self.model.projector))
            match await replies.get():
                case Loaded() as loaded:
                    worker.loaded = loaded
                case reply:
                    raise _error(reply)
        except BaseException:
            await worker.close()
            raise
        worker.leave(LOAD_REQUEST_ID)
        self._worker = worker
        return worker


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker process, the thread that reads its pipe and the thread that writes it. All methods belong to the event loop."""

    process: subprocess.Popen[bytes]
    model_id: str
    loop: asyncio.AbstractEventLoop
    threads: list[threading.Thread] = field(default_factory=list[threading.Thread])
    loaded: Loaded = field(default_factory=lambda: Loaded(LOAD_REQUEST_ID, 0))
    is_alive: bool = True
    _outbox: queue.SimpleQueue[Command | None] = field(default_factory=queue.SimpleQueue)
    _inboxes: dict[int, asyncio.Queue[Reply]] = field(default_factory=dict[int, asyncio.Queue[Reply]])

    @classmethod
    def spawn(cls, model: ModelFile) -> _Worker:
        """Must be called on a thread that lives as long as the server: Linux ends the worker with the thread that started it."""
        process = subprocess.Popen(
            # -P: the folder that the server happens to run in is no place to import from.
            [sys.executable, "-P", "-m", "offline_assistants.engine.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        worker = cls(process, model.model_id, asyncio.get_running_loop())
        for target in (worker._read, worker._write):
            worker.threads.append(threading.Thread(target=target, name=f"{model.model_id} {target.__name__}", daemon=True))
        for thread in worker.threads:
            thread.start()
        return worker

    @property
    def process_id(self) -> int:
        return self.process.pid

    def ask(self, command: Command) -> asyncio.Queue[Reply]:
        """Sends a command; its replies arrive in the queue, a Failed at the latest when the worker dies."""
        request_id = LOAD_REQUEST_ID if isinstance(command, Load) else command.request_id
        inbox = self._inboxes[request_id] = asyncio.Queue()
        if self.is_alive:
            self._outbox.put(command)
        else:
            inbox.put_nowait(self._lost(request_id))
        return inbox

    def leave(self, request_id: int) -> None:
        """Nobody listens to this request any more. Cancels it; a request that has ended is not affected."""
        if self._inboxes.pop(request_id, None) is not None and request_id != LOAD_REQUEST_ID and self.is_alive:
            self._outbox.put(Cancel(request_id))

    async def close(self) -> None:
        """Kills the process, which has nothing to save, and waits until it and the two threads are gone."""
        self._end()
        self.process.kill()
        for thread in self.threads:
            await asyncio.to_thread(thread.join)

    def _end(self) -> None:
        if not self.is_alive:
            return
        self.is_alive = False
        self._outbox.put(None)
        for request_id, inbox in self._inboxes.items():
            inbox.put_nowait(self._lost(request_id))

    def _lost(self, request_id: int) -> Failed:
        words = f"The engine of {self.model_id} died. It is started again with the next request; the server's log holds the reason."
        return Failed(request_id, EngineError(words))

    def _deliver(self, reply: Reply) -> None:
        inbox = self._inboxes.get(reply.request_id)
        if inbox is not None:
            inbox.put_nowait(reply)

    # ── The two threads ──────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        stream = cast("BinaryIO", self.process.stdout)
        with contextlib.suppress(RuntimeError):  # the event loop was closed before the engine
            while (reply := read_reply(stream)) is not None:
                self.loop.call_soon_threadsafe(self._deliver, reply)
            self.loop.call_soon_threadsafe(self._end)
        stream.close()
        self.process.kill()
        _log.info("the engine of %s ended with code %s", self.model_id, self.process.wait())

    def _write(self) -> None:
        stream = cast("BinaryIO", self.process.stdin)
        # A pipe that breaks means that the worker died; the reading thread notices and tells everybody.
        with contextlib.suppress(OSError):
            while (command := self._outbox.get()) is not None:
                write_message(stream, command)
        with contextlib.suppress(OSError):
            stream.close()


def _environment() -> dict[str, str]:
    package_root = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (package_root, os.environ.get("PYTHONPATH", "")) if part)
    # Threads of OpenMP that wait actively take the cores from the sandbox, the embedder and the user's own programs.
    return {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": path}


def _deltas(reply: Reply) -> list[Delta]:
    if isinstance(reply, Deltas):
        return reply.deltas
    raise _error(reply)


def _error(reply: Reply) -> OfflineAssistantsError:
    return reply.error if isinstance(reply, Failed) else EngineError(f"The engine answered out of turn: {type(reply).__name__}.")
