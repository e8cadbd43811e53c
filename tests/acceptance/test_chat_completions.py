"""Chat completions, completions and embeddings of real models, under the hosted API's names."""

from __future__ import annotations

import json
import math

import openai
import pytest

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]


def test_unmodified_code_is_answered_by_the_starter_model(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "What is the capital of France?"}]

    answer = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=messages, temperature=0, max_tokens=24, logprobs=True)
    completion = answer.parse()

    assert "Paris" in completion.choices[0].message.content
    assert "".join(token.token for token in completion.choices[0].logprobs.content) == completion.choices[0].message.content
    assert (completion.model, answer.headers["x-model-file"][-5:]) == ("gpt-4o-mini", ".gguf")


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}], "temperature": 0, "max_tokens": 12}

    whole = client.chat.completions.create(**asked).choices[0].message.content
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked, stream=True))

    assert streamed == whole


def test_a_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}

    completion = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Where is the Louvre? Answer in JSON."}], response_format=form, max_tokens=60
    )

    assert set(json.loads(completion.choices[0].message.content)) == {"city"}


def test_choices_of_one_prompt_compute_it_once(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Make up a name."}], n=3, seed=1, max_tokens=8)

    assert len({choice.message.content for choice in completion.choices}) > 1
    assert completion.usage.completion_tokens <= 24


def test_a_plain_prompt_is_gone_on_with(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="The capital of France is", temperature=0, max_tokens=4, logprobs=2)

    assert "Paris" in completion.choices[0].text
    assert "".join(completion.choices[0].logprobs.tokens) == completion.choices[0].text


def dot(one: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


def test_near_texts_have_near_vectors(client: openai.OpenAI) -> None:
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose in March.", "word " * 400]

    answer = client.embeddings.create(model="text-embedding-3-small", input=texts)

    cat, kitten, rates, long = (each.embedding for each in answer.data)
    assert dot(cat, kitten) > 0.4 > dot(cat, rates)
    assert math.hypot(*long) == pytest.approx(1, abs=1e-4)
    assert answer.usage.prompt_tokens > 400
