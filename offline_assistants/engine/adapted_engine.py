"""A model with an adapter that is for tools: a chat that has none is answered by the model as it is, in a worker of its own, as well as it ever was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

from offline_assistants.domain.models import ONLY_WITH_TOOLS_KEY, ModelFile
from offline_assistants.engine.llama_engine import LlamaEngine
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.wire import Loaded
from offline_assistants.gguf import read_gguf
from offline_assistants.ports import BatchState, Chat, Delta, RawPrompt, SamplingParams


class AdaptedEngine:
    """Two engines as one. Each is started by the first request that is for it; their prompts have little in common, so nothing cached is missed."""

    num_workers = 2

    def __init__(self, model: ModelFile, options: EngineOptions, *, verify: Callable[[ModelFile], Awaitable[None]]) -> None:
        """As LlamaEngine."""
        self.model = model
        self._adapted = LlamaEngine(model, options, verify=verify)
        others = tuple(adapter for adapter in options.lora_adapters if not _is_only_with_tools(adapter.path))
        tuned = replace(model.tuned, copy=None) if model.tuned and model.adapter else model.tuned
        self._as_it_is = LlamaEngine(replace(model, adapter=None, tuned=tuned), replace(options, lora_adapters=others), verify=verify)

    @property
    def loaded(self) -> Loaded | None:
        return self._adapted.loaded or self._as_it_is.loaded

    @property
    def process_ids(self) -> list[int]:
        return self._adapted.process_ids + self._as_it_is.process_ids

    async def load(self) -> Loaded:
        return await self._adapted.load()

    async def generate(self, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        async with aclosing(self._engine_for(prompt).generate(prompt, sampling)) as deltas:
            async for delta in deltas:
                yield delta

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await (self._as_it_is if self._as_it_is.loaded else self._adapted).count_tokens(texts)

    async def measure(self, prompt: Chat | RawPrompt) -> int:
        return await self._engine_for(prompt).measure(prompt)

    async def watch(self) -> BatchState | None:
        states = [state for state in await asyncio.gather(self._adapted.watch(), self._as_it_is.watch()) if state is not None]
        return sum(states[1:], states[0]) if states else None

    async def close(self) -> None:
        await asyncio.gather(self._adapted.close(), self._as_it_is.close())

    def _engine_for(self, prompt: Chat | RawPrompt) -> LlamaEngine:
        return self._adapted if isinstance(prompt, Chat) and prompt.tools else self._as_it_is


def engine_for(model: ModelFile, options: EngineOptions, *, verify: Callable[[ModelFile], Awaitable[None]]) -> LlamaEngine | AdaptedEngine:
    """What runs the model. Reads the headers of its adapters, so it blocks for a moment."""
    adapters = [adapter.path for adapter in options.lora_adapters if adapter.model_id == model.model_id]
    if not adapters and model.adapter is not None:
        adapters = [model.adapter.path]
    kind = AdaptedEngine if any(map(_is_only_with_tools, adapters)) else LlamaEngine
    return kind(model, options, verify=verify)


def _is_only_with_tools(adapter: Path) -> bool:
    """What its header says; of a file that cannot be read, whoever loads it says more."""
    with suppress(OSError, ValueError):
        return read_gguf(adapter).header.get(ONLY_WITH_TOOLS_KEY) is True
    return False
