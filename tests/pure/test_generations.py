"""Several generations for one request: their order, their failures, their end; and the best of several completions."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from offline_assistants.completions.generations import MAX_AT_ONCE, Generation, Said, side_by_side
from offline_assistants.completions.text_answer import TextAnswer, TextForm
from offline_assistants.errors import EngineBusy
from offline_assistants.ports import Finished, RawPrompt, SamplingParams, TextDelta, TokenLogprob
from offline_assistants.testing.scripted_engine import ScriptedEngine

HELLO = Generation(RawPrompt("Hello you"), SamplingParams())


async def read(engine: ScriptedEngine, *generations: Generation) -> list[Said]:
    async with aclosing(side_by_side(engine, "scripted", generations)) as batches:
        return [said for batch in [batch async for batch in batches] for said in batch]


async def test_the_next_with_the_same_prompt_waits_until_it_is_computed() -> None:
    engine = ScriptedEngine()
    engine.will_wait().then_say("first")

    reading = asyncio.create_task(read(engine, HELLO, replace(HELLO, leader=0), Generation(RawPrompt("Other"), SamplingParams())))
    await asyncio.sleep(0.05)
    begun = [prompt.text for prompt in engine.raw_prompts]
    engine.release()

    assert begun == ["Hello you", "Other"]
    assert sum(isinstance(delta, Finished) for _, delta in await reading) == 3


async def test_only_so_many_are_decoded_at_once() -> None:
    engine = ScriptedEngine()
    for _ in range(20):
        engine.will_wait()

    reading = asyncio.create_task(read(engine, *[HELLO] * 20))
    await asyncio.sleep(0.05)
    num_begun = len(engine.raw_prompts)
    engine.release()

    assert num_begun == MAX_AT_ONCE
    assert len(await reading) == 20


async def test_a_failure_comes_behind_what_was_said_and_ends_the_others() -> None:
    engine = ScriptedEngine()
    engine.will_say("Well").then_fail(EngineBusy())
    engine.will_wait()
    said: list[Said] = []

    with pytest.raises(EngineBusy):
        async with aclosing(side_by_side(engine, "scripted", [HELLO, HELLO])) as batches:
            async for batch in batches:
                said += batch

    assert said == [(0, TextDelta("Well"))]
    assert engine.num_cancelled == 2


async def test_silence_is_an_empty_batch() -> None:
    engine = ScriptedEngine()
    engine.will_wait()

    async with aclosing(side_by_side(engine, "scripted", [HELLO], silence_s=0.01)) as batches:
        assert await anext(batches) == []

    assert engine.num_cancelled == 1


def test_the_likeliest_per_token_is_the_best() -> None:
    answer = TextAnswer(TextForm({}, num_prompts=1, num_shown=1, num_made=3, top_logprobs=None, with_usage=False))
    for number, values in enumerate([(-1.0, -1.0), (-0.5,), (-0.6, -0.2, -0.1)]):
        tokens = tuple(TokenLogprob(b"x", value) for value in values)
        answer.take([(number, TextDelta(str(number), tokens)), (number, Finished("stop", 5, len(values), 0))])

    [choice] = answer.choices()

    assert (choice.index, choice.text, choice.logprobs) == (0, "2", None)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 6)
