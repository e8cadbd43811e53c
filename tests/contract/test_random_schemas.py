"""Whatever the schema, what a small model writes at temperature 1 is valid, or was cut at its limit of tokens."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from offline_assistants.catalog import Catalog
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pool import EnginePool
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ResponseFormat, SamplingParams, ToolSpec
from tests.contract.test_engines_contract import Answer, ask, require_starter_model

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]
WORDS = ("city", "days", "name", "größe", "is open", "kind_2", "a", "notes", "items", "x-y")
NUM_TOGETHER = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EnginePool]:
    require_starter_model()
    folder: Path = tmp_path_factory.mktemp("models")
    async with EnginePool(Catalog(folder, verified_path=folder / "verified.json"), EngineOptions(max_context_tokens=2048)) as pool:
        yield pool


def a_schema(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    """Any of the kinds of values that people ask for."""
    kinds = ["string", "short", "pattern", "enum", "integer", "number", "boolean", "null", "either", "const"]
    match dice.choice([*kinds, *(["object", "array"] * 3 if depth < 2 else [])]):
        case "object":
            return an_object(dice, depth + 1)
        case "array":
            return {"type": "array", "items": a_schema(dice, depth + 1), "minItems": dice.randint(0, 1), "maxItems": dice.randint(1, 3)}
        case "short":
            return {"type": "string", "minLength": dice.randint(0, 3), "maxLength": dice.randint(3, 12)}
        case "pattern":
            return {"type": "string", "pattern": dice.choice(["^[A-Z]{2,4}$", "^\\d{3}-\\d{2}$", "^(a|b)+$"])}
        case "enum":
            return {"enum": dice.sample(["red", "blüe", 'a "b"', 1, 2.5, True, None], 3)}
        case "integer":
            return {"type": "integer", "minimum": dice.randint(-9, 0), "maximum": dice.randint(1, 999)}
        case "either":
            return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "string", "maxLength": 5}]}
        case "const":
            return {"const": dice.choice(["yes", 7, False])}
        case "string":
            return {"type": "string", "maxLength": 40}
        case kind:
            return {"type": kind}


def an_object(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    names = dice.sample(WORDS, dice.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: a_schema(dice, depth) for name in names},
        "required": [name for name in names if dice.random() < 0.7],
        "additionalProperties": False,
    }


async def generate(engine: EnginePool, seed: int) -> str | None:
    """One answer in a form, or one call; None when it is valid, else what is wrong."""
    dice = random.Random(seed)
    schema, sampling = an_object(dice), SamplingParams(temperature=1, seed=seed, max_tokens=160)
    question = (ChatMessage("user", f"Tell me of number {seed}."),)
    if is_call := seed % 2 == 0:
        answer: Answer = await ask(engine, Chat(question, (ToolSpec("keep", "Keeps a record.", schema),), tool_choice="required"), sampling)
    else:
        answer = await ask(engine, Chat(question, response_format=ResponseFormat("json_schema", schema)), sampling)
    if answer.reason == "length":
        return None
    texts = [arguments for _, arguments in answer.calls] if is_call else [answer.text]
    try:
        for text in texts or [""]:
            jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return f"seed {seed}: {texts} is not valid: {error}"
    return None


async def wrong_of(engine: EnginePool, seeds: range) -> list[str]:
    room = asyncio.Semaphore(NUM_TOGETHER)

    async def one(seed: int) -> str | None:
        async with room:
            return await generate(engine, seed)

    return [wrong for wrong in await asyncio.gather(*map(one, seeds)) if wrong]


@pytest.mark.timeout(300)
async def test_ten_answers_to_random_schemas_are_valid(engine: EnginePool):
    assert await wrong_of(engine, range(10)) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_five_hundred_answers_to_random_schemas_are_valid(engine: EnginePool):
    assert await wrong_of(engine, range(1000, 1500)) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("not", {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}),
        ("if", {"type": "object", "properties": {}, "if": {"required": ["a"]}}),
        ("uniqueItems", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        ("pattern.*look-around", {"type": "string", "pattern": "^(?=a)b$"}),
    ],
)
async def test_a_schema_that_cannot_be_honoured_is_refused_by_its_keyword(engine: EnginePool, keyword: str, schema: dict[str, Any]):
    with pytest.raises(RequestError, match=keyword):
        await ask(engine, Chat((ChatMessage("user", "Hi"),), response_format=ResponseFormat("json_schema", schema)))
