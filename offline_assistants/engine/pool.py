"""The Engines port over llama.cpp: which models there are, which are loaded, which makes room for another. Knows nothing of what a model computes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from offline_assistants.domain.model_memory import MemoryNeed
from offline_assistants.domain.models import ModelFile
from offline_assistants.engine.adapted_engine import AdaptedEngine, engine_for
from offline_assistants.engine.chat_formats.reasoning import variables_of
from offline_assistants.engine.fit import need_of
from offline_assistants.engine.llama_engine import LlamaEngine
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.tunings import Tunings
from offline_assistants.engine.wire import Loaded
from offline_assistants.errors import EngineBusy, ModelNotFound, ModelNotLoaded
from offline_assistants.machine import free_memory, mapped_memory, resident_memory
from offline_assistants.ports import Chat, Delta, LoadedModel, ModelInfo, RawPrompt, SamplingParams


class ModelFiles(Protocol):
    """Where the pool learns which models there are. All methods may block: the pool calls them on a thread of its own."""

    def list_files(self) -> list[ModelFile]:
        """Every model on this machine, each id once."""
        ...

    def verify(self, model: ModelFile) -> None:
        """Raises ModelNotLoaded when the file is not what it should be."""
        ...

    def remove(self, model: ModelFile) -> None:
        """Deletes the model's files. Raises RequestError when they are not the user's, or not in the models folder."""
        ...


class EnginePool:
    """Loads a model when it is first asked for, one worker process each. An async context manager: leaving it ends the workers."""

    def __init__(
        self,
        files: ModelFiles,
        options: EngineOptions | None = None,
        *,
        max_loaded: int = 1,
        max_memory_bytes: int | None = None,
        keep_alive_s: float = math.inf,
        free_memory: Callable[[], int | None] = free_memory,
        tunings: Tunings | None = None,
    ) -> None:
        """`max_loaded`: models in memory at once. One more pushes out the one that was idle for the longest time.

        `max_memory_bytes`: what they may take in all; None: what is free when one is loaded. `keep_alive_s`: how long an idle one stays.
        `tunings`: how they are run best, where that was measured.
        """
        self._files = files
        self._options = options or EngineOptions()
        self._max_loaded = max(1, max_loaded)
        self._max_memory_bytes = max_memory_bytes
        self._keep_alive_s = keep_alive_s
        self._free_memory = free_memory
        self._tunings = tunings
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model files")
        self._hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model hashes")
        """Hashing a large file takes a minute, and nobody waits for it who does not want that model."""
        self._loading = asyncio.Lock()
        self._seats: dict[str, _Seat] = {}
        """Loaded or loading; the one that was used last is at the end."""
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all workers. Whoever still waits gets EngineError."""
        seats = [*self._seats.values()]
        self._seats.clear()
        for seat in seats:
            seat.stop_waiting()
        await asyncio.gather(*(seat.engine.close() for seat in seats), *self._leaving)
        self._disk.shutdown()
        self._hashing.shutdown(wait=False, cancel_futures=True)

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that run."""
        return [process_id for seat in self._seats.values() for process_id in seat.engine.process_ids]

    # ── The port ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def generate(self, model: str, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        async with self._use(model) as engine, aclosing(engine.generate(prompt, sampling)) as deltas:
            async for delta in deltas:
                yield delta

    async def count_tokens(self, model: str, texts: Sequence[str]) -> list[int]:
        async with self._use(model) as engine:
            return await engine.count_tokens(texts)

    async def measure(self, model: str, prompt: Chat | RawPrompt) -> int:
        async with self._use(model) as engine:
            return await engine.measure(prompt)

    async def load(self, model: str) -> ModelInfo:
        async with self._use(model) as engine:
            await engine.load()
            return self._describe(engine.model)

    async def list_models(self) -> list[ModelInfo]:
        return [self._describe(file) for file in await self._list_files()]

    async def find(self, model: str) -> ModelInfo:
        return self._describe(await self._find(model))

    async def list_loaded(self) -> list[LoadedModel]:
        now, seats = time.monotonic(), [*self._seats.values()]
        batches = await asyncio.gather(*(seat.engine.watch() for seat in seats))
        return [replace(seat.describe(now, self._keep_alive_s), batch=batch) for seat, batch in zip(seats, batches, strict=True)]

    async def unload(self, model: str) -> None:
        async with self._loading:
            await self._find(model)
            await self._take_out(model)

    async def remove(self, model: str) -> None:
        async with self._loading:
            file = await self._find(model)
            await self._take_out(model, deleting=file)

    async def _take_out(self, model: str, *, deleting: ModelFile | None = None) -> None:
        seat = self._seats.get(model)
        if seat is not None and seat.num_users:
            raise EngineBusy(f"The model '{model}' is answering. Try again when its answers have ended.")
        self._seats.pop(model, None)
        try:
            if deleting is not None:
                await asyncio.get_running_loop().run_in_executor(self._disk, self._files.remove, deleting)
        finally:
            if seat is not None:
                seat.stop_waiting()
                await seat.engine.close()

    def _describe(self, file: ModelFile) -> ModelInfo:
        seat = self._seats.get(file.model_id)
        need = need_of(file, self._options)
        if seat is not None and seat.engine.loaded is not None:
            return replace(_loaded_info(file, seat.engine.loaded), memory_bytes=need.total if need else None)
        expected = None if file.context_tokens is None else min(file.context_tokens, self._options.max_context_tokens)
        return replace(_info(file, expected), memory_bytes=need.total if need else None)

    # ── Loading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _use(self, model: str) -> AsyncGenerator[LlamaEngine | AdaptedEngine]:
        """The model's engine, loaded, and kept in memory until the block ends."""
        seat = self._seats.get(model) or await self._make(model)
        seat.begin()
        self._seats[model] = self._seats.pop(model)
        try:
            yield seat.engine
        except ModelNotLoaded:
            # Whoever asks next looks the file up again: it may have been replaced.
            if self._seats.get(model) is seat:
                del self._seats[model]
            raise
        finally:
            seat.end()
            if not seat.num_users and self._seats.get(model) is seat and self._keep_alive_s < math.inf:
                seat.wait(self._keep_alive_s, self._leave)

    async def _make(self, model: str) -> _Seat:
        async with self._loading:
            if model in self._seats:
                return self._seats[model]
            file = await self._find(model)
            while len(self._seats) >= self._max_loaded:
                await self._unload_one()
            need = need_of(file, self._options)
            while need is not None and (room := self._room()) is not None and need.total > room:
                if all(seat.num_users for seat in self._seats.values()):
                    raise ModelNotLoaded(_no_room(file, need, room, options=self._options, is_budget=self._max_memory_bytes is not None))
                await self._unload_one()
            make = partial(engine_for, file, self._options, verify=self._verify)
            engine = await asyncio.get_running_loop().run_in_executor(self._disk, make)
            seat = self._seats[model] = _Seat(engine, need.total * engine.num_workers if need else 0)
            return seat

    def _room(self) -> int | None:
        """Bytes that one more model may take. None when nothing tells."""
        if self._max_memory_bytes is not None:
            return self._max_memory_bytes - sum(seat.need_bytes for seat in self._seats.values())
        free = self._free_memory()
        if free is None:
            return None
        # Of a loaded model the kernel calls the weights free that it reads from their file, and of one that loads it knows nothing yet.
        return free - sum(sum(map(mapped_memory, seat.engine.process_ids)) if seat.engine.loaded else seat.need_bytes for seat in self._seats.values())

    def _leave(self, model: str) -> None:
        seat = self._seats.pop(model)
        leaving = asyncio.get_running_loop().create_task(seat.engine.close())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _find(self, model: str) -> ModelFile:
        files = await self._list_files()
        for file in files:
            if file.model_id == model:
                return file
        raise ModelNotFound.named(model, [file.model_id for file in files])

    async def _unload_one(self) -> None:
        idle = next((model for model, seat in self._seats.items() if not seat.num_users), None)
        if idle is None:
            raise EngineBusy(f"Another model is in use, and only {self._max_loaded} may be loaded at once. Try again in a moment, or raise the limit.")
        await self._take_out(idle)

    async def _verify(self, file: ModelFile) -> None:
        await asyncio.get_running_loop().run_in_executor(self._hashing, self._files.verify, file)

    async def _list_files(self) -> list[ModelFile]:
        return await asyncio.get_running_loop().run_in_executor(self._disk, self._tuned_files)

    def _tuned_files(self) -> list[ModelFile]:
        files = self._files.list_files()
        return self._tunings.apply(files) if self._tunings else files


@dataclass(slots=True)
class _Seat:
    """A place in memory with a model in it."""

    engine: LlamaEngine | AdaptedEngine
    need_bytes: int
    num_users: int = 0
    used_at: float = 0.0
    leaving: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self.num_users += 1
        self.stop_waiting()

    def end(self) -> None:
        self.num_users -= 1
        self.used_at = time.monotonic()

    def wait(self, seconds: float, leave: Callable[[str], None]) -> None:
        """Leave after so long, unless somebody comes."""
        self.stop_waiting()
        self.leaving = asyncio.get_running_loop().call_later(seconds, leave, self.engine.model.model_id)

    def stop_waiting(self) -> None:
        if self.leaving is not None:
            self.leaving.cancel()
            self.leaving = None

    def describe(self, now: float, keep_alive_s: float) -> LoadedModel:
        process_ids = self.engine.process_ids
        idle_s = None if self.num_users else now - self.used_at
        return LoadedModel(
            self.engine.model.model_id,
            process_ids[0] if process_ids else None,
            memory_bytes=sum(map(resident_memory, process_ids)),
            num_requests=self.num_users,
            idle_s=idle_s,
            leaves_in_s=None if idle_s is None or keep_alive_s == math.inf else max(0.0, keep_alive_s - idle_s),
        )


def _no_room(file: ModelFile, need: MemoryNeed, room: int, *, options: EngineOptions, is_budget: bool) -> str:
    """What there is, what it takes, and what to do."""
    parts = f"weights {_gb(need.weights)}, a context of {options.max_context_tokens} tokens {_gb(need.context)}, buffers {_gb(need.buffers)}"
    there = "left of --max-model-memory-bytes" if is_budget else "free"
    advice = "Serve it with less --context-tokens, close other programs, or take a smaller model or quantization."
    override = f"If it fits all the same, say so: --max-model-memory-bytes {math.ceil(need.total * 1.2 / 1e9)}000000000."
    return f"The model '{file.model_id}' needs about {_gb(need.total)} of memory ({parts}), and {_gb(max(0, room))} are {there}. {advice} {override}"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"


def _loaded_info(file: ModelFile, loaded: Loaded) -> ModelInfo:
    info = _info(file, loaded.context_tokens)
    return replace(info, is_loaded=True, picture_tokens=loaded.picture_tokens, picture_problem=loaded.picture_problem)


def _info(file: ModelFile, context_tokens: int | None) -> ModelInfo:
    return ModelInfo(
        file.model_id,
        file.created_at,
        file.size_bytes,
        is_loaded=False,
        context_tokens=context_tokens,
        file_name=file.loaded_path.name,
        is_packaged=file.sha256 is not None,
        is_damaged=file.problem is not None,
        problem=file.problem,
        architecture=file.architecture,
        quantization=file.quantization,
        takes_reasoning_effort=bool(file.template and variables_of(file.template, "low")),
        has_projector=file.projector is not None,
    )
