"""Embeddings: numbers and base64, texts of any length, what is refused."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import httpx
import openai
import pytest

from tests.api.conftest import LiveServer


def test_each_text_has_a_vector_in_its_place(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["red apples", "blue sky", "red apples"])

    assert (answer.model, [each.index for each in answer.data]) == ("text-embedding-3-small", [0, 1, 2])
    assert answer.data[0].embedding == answer.data[2].embedding != answer.data[1].embedding
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (6, 6)
    assert all(math.hypot(*each.embedding) == pytest.approx(1, abs=1e-5) for each in answer.data)


def test_numbers_and_base64_say_the_same(client: openai.OpenAI, server: LiveServer) -> None:
    # The SDK asks for base64 where nothing is said, and takes numbers too.
    [of_sdk] = client.embeddings.create(model="hash-embedder", input="red apples").data

    body = {"model": "hash-embedder", "input": "red apples"}
    plain, packed = (httpx.post(f"{server.url}/embeddings", json=body | more).json() for more in ({}, {"encoding_format": "base64"}))

    numbers = plain["data"][0]["embedding"]
    assert of_sdk.embedding == pytest.approx(numbers, abs=1e-6)
    assert struct.unpack(f"<{len(numbers)}f", base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx(numbers, abs=1e-6)
    assert plain["x_model_file"] == "hash-embedder"


def test_a_text_longer_than_the_model_sees_counts_to_its_end(client: openai.OpenAI) -> None:
    beginning = "word " * 500

    first, second = client.embeddings.create(model="text-embedding-ada-002", input=[beginning + "apple", beginning + "sky " * 200]).data

    assert first.embedding != second.embedding
    assert math.hypot(*second.embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1], [2]]}, "input"),
        ({"input": "word " * 8193}, "input"),
        ({"dimensions": 385}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": "gpt-4o"}, "model"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(server: LiveServer, body: dict[str, Any], param: str) -> None:
    response = httpx.post(f"{server.url}/embeddings", json={"model": "text-embedding-3-small", "input": "a", **body})

    assert response.status_code in (400, 404)
    assert response.json()["error"]["param"].startswith(param)


def test_a_vector_can_be_cut_and_has_length_1_again(client: openai.OpenAI) -> None:
    whole, cut = (client.embeddings.create(model="text-embedding-3-small", input="red apples", dimensions=size).data[0].embedding for size in (384, 100))

    assert (len(whole), len(cut)) == (384, 100)
    assert math.hypot(*cut) == pytest.approx(1, abs=1e-5)
    assert cut == pytest.approx([value / math.hypot(*whole[:100]) for value in whole[:100]], abs=1e-5)


def test_a_user_is_accepted_without_effect(client: openai.OpenAI) -> None:
    answer = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input="a", user="u")

    assert (answer.headers["x-ignored-parameters"], answer.headers["x-model-file"]) == ("user", "hash-embedder")
