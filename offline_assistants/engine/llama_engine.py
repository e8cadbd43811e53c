"""One model: starts its worker process, hands what it says to the event loop, starts it again after a crash. Knows nothing of other models."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

from offline_assistants.domain.models import ModelFile
from offline_assistants.engine.options import EngineOptions, LoraAdapter
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
    Watch,
    Watched,
    read_replies,
    write_command,
)
from offline_assistants.errors import EngineBusy, EngineError, ModelNotLoaded, OfflineAssistantsError
from offline_assistants.ports import BatchState, Chat, Delta, Finished, RawPrompt, SamplingParams

_log = logging.getLogger(__name__)

_WATCH_TIMEOUT_S = 10.0
_ROOM = "Close other programs, serve with a smaller --context-tokens, or use a smaller model; the server's log may say more."


@dataclass(frozen=True, slots=True)
class Lost(Failed):
    """The worker died before it answered."""


class LlamaEngine:
    num_workers = 1

    def __init__(self, model: ModelFile, options: EngineOptions, *, verify: Callable[[ModelFile], Awaitable[None]]) -> None:
        """`verify` is awaited before each start; it raises ModelNotLoaded when the file is not what it should be."""
        self.model = model
        self._options = options_for(model, options)
        self._verify = verify
        self._ids = itertools.count(LOAD_REQUEST_ID + 1)
        self._worker: _Worker | None = None
        self._starting: asyncio.Task[_Worker] | None = None
        self._num_generating = 0
        self._is_closed = False

    @property
    def loaded(self) -> Loaded | None:
        """What the model is, once it is loaded; None while it is not."""
        return self._worker.loaded if self._worker is not None and self._worker.is_alive else None

    @property
    def process_ids(self) -> list[int]:
        """Of the worker, while there is one."""
        return [self._worker.process_id] if self._worker else []

    async def load(self) -> Loaded:
        """Starts the worker unless it runs; what the model is. Raises ModelNotLoaded."""
        return (await self._running_worker()).loaded

    async def generate(self, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        """See ports.Engines. Raises EngineBusy when too many wait already.

        When the worker dies before it has said anything, the generation is begun once more: the caller only waits longer.
        """
        if self._num_generating >= self._options.max_running + self._options.max_waiting:
            raise EngineBusy
        self._num_generating += 1
        try:
            may_repeat = True
            while True:
                async with aclosing(self._attempt(prompt, sampling)) as replies:
                    async for reply in replies:
                        if isinstance(reply, Lost) and may_repeat and not self._is_closed:
                            break
                        for delta in _deltas(reply):
                            yield delta
                            if isinstance(delta, Finished):
                                return
                        may_repeat = False
                may_repeat = False
        finally:
            self._num_generating -= 1

    async def _attempt(self, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Reply]:
        """What the worker says to it; ends only when it is closed."""
        worker = await self._running_worker()
        request_id = next(self._ids)
        replies = worker.ask(Generate(request_id, prompt, sampling))
        try:
            while True:
                yield await replies.get()
        finally:
            worker.leave(request_id)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._counts(lambda request_id: CountTokens(request_id, tuple(texts)))

    async def measure(self, prompt: Chat | RawPrompt) -> int:
        return (await self._counts(lambda request_id: Measure(request_id, prompt)))[0]

    async def watch(self) -> BatchState | None:
        """What the worker is doing; None when it does not say in time. Loads nothing."""
        if self.loaded is None or self._worker is None:
            return None
        worker, request_id = self._worker, next(self._ids)
        replies = worker.ask(Watch(request_id))
        try:
            async with asyncio.timeout(_WATCH_TIMEOUT_S):
                reply = await replies.get()
        except TimeoutError:
            return None
        finally:
            worker.leave(request_id)
        return reply.state if isinstance(reply, Watched) else None

    async def close(self) -> None:
        """Ends the worker. Whoever still waits gets EngineError."""
        self._is_closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.close()

    async def _counts(self, make_command: Callable[[int], CountTokens | Measure]) -> list[int]:
        """Asked once more when the worker dies over it, or over something else meanwhile."""
        reply = await self._ask_for_counts(make_command(next(self._ids)))
        if isinstance(reply, Lost) and not self._is_closed:
            reply = await self._ask_for_counts(make_command(next(self._ids)))
        if isinstance(reply, Counts):
            return reply.counts
        raise _error(reply)

    async def _ask_for_counts(self, command: CountTokens | Measure) -> Reply:
        worker = await self._running_worker()
        replies = worker.ask(command)
        try:
            return await replies.get()
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
            replies = worker.ask(Load(self.model.loaded_path, self._options, self.model.projector))
            match await replies.get():
                case Loaded() as loaded:
                    worker.loaded = loaded
                case Lost():
                    raise ModelNotLoaded(f"The model {self.model.model_id} could not be loaded: {worker.how_it_ended}. {_ROOM}")
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
    how_it_ended: str = ""
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
            env=child_environment(),
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

    def _end(self, exit_code: int | None = None) -> None:
        """`exit_code` is None when it is ended from here."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.how_it_ended = "it was closed" if exit_code is None else _words(exit_code)
        if exit_code is not None:
            _log.warning("the engine of %s died: %s", self.model_id, self.how_it_ended)
        self._outbox.put(None)
        for request_id, inbox in self._inboxes.items():
            inbox.put_nowait(self._lost(request_id))

    def _lost(self, request_id: int) -> Lost:
        words = f"The engine of {self.model_id} died: {self.how_it_ended}. It is started again with the next request; the server's log holds the reason."
        return Lost(request_id, EngineError(words))

    def _deliver(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            inbox = self._inboxes.get(reply.request_id)
            if inbox is not None:
                inbox.put_nowait(reply)

    # ── The two threads ──────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        stream = cast("BinaryIO", self.process.stdout)
        with contextlib.suppress(RuntimeError):  # the event loop was closed before the engine
            while (replies := read_replies(stream)) is not None:
                self.loop.call_soon_threadsafe(self._deliver, replies)
        # Its last word was said, so it is of no use any more, if it is not dead yet.
        self.process.kill()
        exit_code = self.process.wait()
        stream.close()
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._end, exit_code)

    def _write(self) -> None:
        stream = cast("BinaryIO", self.process.stdin)
        # A pipe that breaks means that the worker died; the reading thread notices and tells everybody.
        with contextlib.suppress(OSError):
            while (command := self._outbox.get()) is not None:
                write_command(stream, command)
        with contextlib.suppress(OSError):
            stream.close()


def options_for(model: ModelFile, options: EngineOptions) -> EngineOptions:
    """Its own adapters only, and the threads that were found best for it where nobody says otherwise."""
    adapters = tuple(adapter for adapter in options.lora_adapters if adapter.model_id == model.model_id)
    if not adapters and model.adapter is not None and model.loaded_path == model.path:
        adapters = (LoraAdapter(model.model_id, model.adapter.path),)
    decode, prefill = options.num_decode_threads, options.num_prefill_threads
    if model.tuned is not None:
        decode, prefill = decode or model.tuned.decode_threads, prefill or model.tuned.prefill_threads
    return replace(options, lora_adapters=adapters, num_decode_threads=decode, num_prefill_threads=prefill)


def _words(exit_code: int) -> str:
    """What became of a process, from its exit code as subprocess gives it."""
    if exit_code >= 0:
        return f"its process ended with code {exit_code}"
    if -exit_code == signal.SIGKILL:
        return "its process was killed, which the system does when memory runs out"
    return f"its process was ended by {signal.strsignal(-exit_code) or f'signal {-exit_code}'}"


def child_environment() -> dict[str, str]:
    """What a process that computes with a model is started with."""
    package_root = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (package_root, os.environ.get("PYTHONPATH", "")) if part)
    # The threads of OpenMP wait for each other at every node of the graph, 600 times for a token of a small model. To sleep there makes two threads four times
    # slower; to spin for as long as libgomp does by default takes the cores from the sandbox, the embedder and the user's own programs. So: a tenth of a
    # millisecond, which is longer than a node and shorter than the pause between two steps.
    return {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000", **os.environ, "PYTHONPATH": path}


def _deltas(reply: Reply) -> list[Delta]:
    if isinstance(reply, Deltas):
        return reply.deltas
    raise _error(reply)


def _error(reply: Reply) -> OfflineAssistantsError:
    return reply.error if isinstance(reply, Failed) else EngineError(f"The engine answered out of turn: {type(reply).__name__}.")
