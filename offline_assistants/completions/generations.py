"""Several generations for one request, side by side. Knows nothing of chats, choices or HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.ports import Chat, Delta, Engines, Finished, RawPrompt, SamplingParams

MAX_AT_ONCE = 8
"""Generations of one request that are decoded at a time, so that one request leaves room for others."""
SILENCE_S = 15.0
_QUEUED = 256


@dataclass(frozen=True, slots=True)
class Generation:
    prompt: Chat | RawPrompt
    sampling: SamplingParams
    leader: int | None = None
    """The number of an earlier generation with the same prompt: this one begins when that prompt is computed, and finds it in the cache."""


Said = tuple[int, Delta]
"""Which generation brought which delta."""


async def side_by_side(engines: Engines, model: str, generations: Sequence[Generation], *, silence_s: float = SILENCE_S) -> AsyncGenerator[list[Said]]:
    """What has come since the last time, never waiting for more; an empty list after `silence_s` without any. Closing the generator cancels all.

    Raises what the first generation that fails raises; see Engines.generate.
    """
    news: asyncio.Queue[Said | Exception] = asyncio.Queue(_QUEUED)
    ready = [asyncio.Event() for _ in generations]
    room = asyncio.Semaphore(MAX_AT_ONCE)
    tasks = [asyncio.create_task(_follow(engines, model, number, each, ready, room, news)) for number, each in enumerate(generations)]
    num_open = len(tasks)
    try:
        while num_open:
            batch, error = await _next(news, silence_s)
            num_open -= sum(isinstance(delta, Finished) for _, delta in batch)
            if batch or error is None:
                yield batch
            if error is not None:
                raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(
    engines: Engines,
    model: str,
    number: int,
    generation: Generation,
    ready: Sequence[asyncio.Event],
    room: asyncio.Semaphore,
    news: asyncio.Queue[Said | Exception],
) -> None:
    if generation.leader is not None:
        await ready[generation.leader].wait()
    try:
        async with room, aclosing(engines.generate(model, generation.prompt, generation.sampling)) as deltas:
            async for delta in deltas:
                ready[number].set()
                await news.put((number, delta))
    except Exception as error:  # noqa: BLE001 - whoever reads the news raises it
        await news.put(error)


async def _next(news: asyncio.Queue[Said | Exception], silence_s: float) -> tuple[list[Said], OfflineAssistantsError | None]:
    """What there is, and what came behind it, if that was a failure."""
    batch: list[Said] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(silence_s):
            first = await news.get()
        while not isinstance(first, Exception):
            batch.append(first)
            if news.empty():
                return batch, None
            first = news.get_nowait()
        return batch, _known(first)
    return [], None


def _known(error: Exception) -> OfflineAssistantsError:
    if isinstance(error, OfflineAssistantsError):
        return error
    known = OfflineAssistantsError(f"The server failed: {type(error).__name__}. Its log holds the reason.")
    known.__cause__ = error
    return known
