"""Completions of plain prompts: text and tokens, several prompts, the best of several, likelihoods, streams."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import Completion

from offline_assistants.testing.scripted_engine import ScriptedEngine


def ask(client: openai.OpenAI, prompt: Any = "Once upon a time", **more: Any) -> Completion:
    return client.completions.create(model="gpt-3.5-turbo-instruct", prompt=prompt, **more)


def test_a_prompt_is_gone_on_with(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say(" there was")

    completion = ask(client)

    assert (completion.object, completion.model, completion.x_model_file) == ("text_completion", "gpt-3.5-turbo-instruct", "scripted.gguf")
    assert [(choice.text, choice.finish_reason, choice.index) for choice in completion.choices] == [(" there was", "stop", 0)]
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (4, 2)
    assert engine.samplings[0].max_tokens == 16


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)]), ("", [""]), (None, [""])],
)
def test_prompts_may_be_text_or_tokens_one_or_several(client: openai.OpenAI, engine: ScriptedEngine, prompt: Any, expected: list[Any]) -> None:
    completion = ask(client, prompt)

    assert [raw.text for raw in engine.raw_prompts] == expected
    assert len(completion.choices) == len(expected)


def test_choices_are_numbered_prompt_by_prompt(client: openai.OpenAI) -> None:
    completion = ask(client, ["one", "two words"], n=2)

    assert [(choice.index, choice.text) for choice in completion.choices] == [(0, "one"), (1, "one"), (2, "two words"), (3, "two words")]
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 6)


def test_an_echo_comes_first_also_without_anything_else(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say(" there")
    engine.will_say(" there")

    assert [ask(client, echo=True, max_tokens=limit).choices[0].text for limit in (0, 5)] == ["Once upon a time", "Once upon a time there"]


def test_likelihoods_of_an_echoed_prompt_begin_behind_it(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say(" there was")

    told = ask(client, echo=True, logprobs=0).choices[0].logprobs

    assert (told.tokens, told.text_offset) == ([" there", " was"], [16, 22])


def test_a_suffix_has_no_effect_and_the_header_says_so(client: openai.OpenAI) -> None:
    answer = client.completions.with_raw_response.create(model="scripted", prompt="a", suffix="the end")

    assert answer.headers["x-ignored-parameters"] == "suffix"


def test_of_several_the_likeliest_are_shown(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    completion = ask(client, best_of=4, n=2)

    assert (len(completion.choices), len(engine.raw_prompts)) == (2, 4)
    assert {sampling.top_logprobs for sampling in engine.samplings} == {0}
    assert completion.choices[0].logprobs is None
    assert completion.usage.completion_tokens == 4 * 4


def test_likelihoods_have_places_in_the_text(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Once more unto")

    told = ask(client, logprobs=2).choices[0].logprobs

    assert (told.tokens, told.text_offset) == (["Once", " more", " unto"], [0, 4, 9])
    assert told.token_logprobs == [-0.25] * 3
    assert told.top_logprobs[0] == {"Once": -0.25, " other0": -2.0}


def test_a_stream_brings_pieces_and_usage(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Once more unto")

    *chunks, last = ask(client, stream=True, logprobs=1, stream_options={"include_usage": True})

    assert [chunk.choices[0].text for chunk in chunks] == ["Once", " more", " unto", ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert [chunk.choices[0].logprobs.text_offset for chunk in chunks[:3]] == [[0], [4], [9]]
    assert (last.choices, last.usage.completion_tokens) == ([], 3)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 10**6]}, "prompt"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: openai.OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, **body)

    assert error.value.body["param"].startswith(param)


def test_a_user_is_accepted_without_effect(client: openai.OpenAI) -> None:
    assert client.completions.with_raw_response.create(model="scripted", prompt="x", user="u").headers["x-ignored-parameters"] == "user"
