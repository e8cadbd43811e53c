"""The Engines port over llama.cpp: which models there are, which are loaded, which makes room for another. Knows nothing of what a model computes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from offline_assistants.domain.models import ModelFile
from offline_assistants.engine.llama_engine import LlamaEngine
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.wire import Loaded
from offline_assistants.errors import EngineBusy, ModelNotFound, ModelNotLoaded
from offline_assistants.ports import Chat, Delta, ModelInfo, RawPrompt, SamplingParams


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

    def __init__(self, files: ModelFiles, options: EngineOptions | None = None, *, max_loaded: int = 1) -> None:
        """`max_loaded`: models in memory at once. One more pushes out the one that was idle for the longest time."""
        self._files = files
        self._options = options or EngineOptions()
        self._max_loaded = max(1, max_loaded)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model files")
        self._loading = asyncio.Lock()
        self._engines: dict[str, LlamaEngine] = {}
        """Loaded or loading; the one that was used last is at the end."""
        self._num_users: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all workers. Whoever still waits gets EngineError."""
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))
        self._engines.clear()
        self._disk.shutdown()

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that run."""
        return [process_id for engine in self._engines.values() if (process_id := engine.process_id) is not None]

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
            return _loaded_info(engine.model, await engine.load())

    async def list_models(self) -> list[ModelInfo]:
        return [self._describe(file) for file in await self._list_files()]

    async def find(self, model: str) -> ModelInfo:
        return self._describe(await self._find(model))

    async def remove(self, model: str) -> None:
        async with self._loading:
            file = await self._find(model)
            if self._num_users.get(model):
                raise EngineBusy(f"The model '{model}' is answering. Remove it when its answers have ended.")
            engine = self._engines.pop(model, None)
            try:
                await asyncio.get_running_loop().run_in_executor(self._disk, self._files.remove, file)
            finally:
                if engine is not None:
                    await engine.close()

    def _describe(self, file: ModelFile) -> ModelInfo:
        engine = self._engines.get(file.model_id)
        if engine is not None and engine.loaded is not None:
            return _loaded_info(file, engine.loaded)
        expected = None if file.context_tokens is None else min(file.context_tokens, self._options.max_context_tokens)
        return _info(file, expected)

    # ── Loading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _use(self, model: str) -> AsyncGenerator[LlamaEngine]:
        """The model's engine, loaded, and kept in memory until the block ends."""
        engine = self._engines.get(model) or await self._make(model)
        self._num_users[model] = self._num_users.get(model, 0) + 1
        self._engines[model] = self._engines.pop(model)
        try:
            yield engine
        except ModelNotLoaded:
            # Whoever asks next looks the file up again: it may have been replaced.
            if self._engines.get(model) is engine:
                del self._engines[model]
            raise
        finally:
            self._num_users[model] -= 1

    async def _make(self, model: str) -> LlamaEngine:
        async with self._loading:
            if model in self._engines:
                return self._engines[model]
            file = await self._find(model)
            while len(self._engines) >= self._max_loaded:
                await self._unload_one()
            engine = self._engines[model] = LlamaEngine(file, self._options, verify=self._verify)
            return engine

    async def _find(self, model: str) -> ModelFile:
        files = await self._list_files()
        for file in files:
            if file.model_id == model:
                return file
        raise ModelNotFound.named(model, [file.model_id for file in files])

    async def _unload_one(self) -> None:
        idle = next((model for model in self._engines if not self._num_users.get(model)), None)
        if idle is None:
            raise EngineBusy(f"Another model is in use, and only {self._max_loaded} may be loaded at once. Try again in a moment, or raise the limit.")
        await self._engines.pop(idle).close()

    async def _verify(self, file: ModelFile) -> None:
        await asyncio.get_running_loop().run_in_executor(self._disk, self._files.verify, file)

    async def _list_files(self) -> list[ModelFile]:
        return await asyncio.get_running_loop().run_in_executor(self._disk, self._files.list_files)


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
        file_name=file.path.name,
        is_packaged=file.sha256 is not None,
        is_damaged=file.problem is not None,
    )
