"""Readers of a run's stream: each at its own pace, none in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import EngineError
from offline_assistants.runs.event_stream import MAX_TAKEN, EventStream


def announced(number: int, *, ending: str = "thread.run.completed") -> EventStream:
    stream = EventStream()
    stream.publish(*(StreamEvent("thread.message.delta", str(index)) for index in range(number)), StreamEvent(ending, "{}"))
    return stream


async def data(batches: AsyncGenerator[Sequence[StreamEvent]]) -> list[str]:
    return [event.json() async for events in batches for event in events]


async def test_a_late_reader_gets_everything() -> None:
    stream = announced(1000)

    assert await data(stream.read()) == [*map(str, range(1000)), "{}"]
    assert await data(stream.read(998)) == ["998", "999", "{}"]


async def test_a_reader_holds_a_bounded_piece_however_much_there_is() -> None:
    async with aclosing(announced(10 * MAX_TAKEN).read()) as reader:
        assert [len(await anext(reader)) for _ in range(3)] == [MAX_TAKEN] * 3


async def test_a_stream_ends_where_the_client_has_to_act_and_goes_on_behind_it() -> None:
    stream = announced(1, ending="thread.run.requires_action")
    start = len(stream)
    stream.publish(StreamEvent("thread.run.queued", "queued"), StreamEvent("thread.run.completed", "completed"))

    assert await data(stream.read()) == ["0", "{}"]
    assert await data(stream.read(start)) == ["queued", "completed"]


async def test_a_reader_that_leaves_changes_nothing_for_the_others() -> None:
    stream = EventStream()
    leaving, staying = (asyncio.create_task(data(stream.read())) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()
    stream.publish(StreamEvent("thread.run.completed", "{}"))

    assert await staying == ["{}"]


async def test_silence_is_told_and_news_come_at_once() -> None:
    stream = EventStream()
    async with aclosing(stream.read(patience_s=0.01)) as reader:
        assert await anext(reader) == ()
        assert await anext(reader) == ()
        stream.publish(StreamEvent("thread.run.queued", "{}"))
        assert [event.event for event in await anext(reader)] == ["thread.run.queued"]


async def test_a_closed_stream_ends_its_readers_with_the_reason() -> None:
    stream = EventStream()
    reading = asyncio.create_task(data(stream.read()))
    await asyncio.sleep(0)

    stream.close(EngineError("It is gone."))

    with pytest.raises(EngineError, match="It is gone"):
        await reading
