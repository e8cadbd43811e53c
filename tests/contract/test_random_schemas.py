"""Whatever the schema, what a small model writes at temperature 1 is valid, or was cut at its limit of tokens."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
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
WORDS = ("city", "days", "name", "größe", "is open", "kind_2", "a", "x-y")
NUM_TOGETHER = 8
"""As many as the engine has slots."""
MAX_TOKENS = 96


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EnginePool]:
    require_starter_model()
    folder: Path = tmp_path_factory.mktemp("models")
    async with EnginePool(Catalog(folder, verified_path=folder / "verified.json"), EngineOptions(max_context_tokens=1024)) as pool:
        yield pool


def a_schema(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    """Any of the kinds of values that people ask for; each ends soon, so that most answers end."""
    kinds = ["string", "short", "pattern", "format", "enum", "integer", "number", "boolean", "null", "either", "const", "reference"]
    match dice.choice([*kinds, *(["object", "array", "tuple"] * 2 if depth < 2 else [])]):
        case "object":
            return an_object(dice, depth + 1)
        case "array":
            return {"type": "array", "items": a_schema(dice, depth + 1), "minItems": dice.randint(0, 1), "maxItems": dice.randint(1, 2)}
        case "tuple":
            return {"type": "array", "prefixItems": [a_schema(dice, 2), a_schema(dice, 2)], "items": False, "minItems": 2}
        case "string":
            return {"type": "string", "maxLength": 16}
        case "short":
            return {"type": ["string", "null"], "minLength": dice.randint(0, 3), "maxLength": dice.randint(3, 12)}
        case "pattern":
            return {"type": "string", "pattern": dice.choice(["^[A-Z]{2,4}$", "^\\d{3}-\\d{2}$", "^(a|b){1,4}$"])}
        case "format":
            return {"type": "string", "format": dice.choice(["date", "ipv4"])}
        case "enum":
            return {"enum": dice.sample(["red", "blüe", 'a "b"', 1, 2.5, True, None], 3)}
        case "integer":
            return {"type": "integer", "minimum": dice.randint(-9, 0), "exclusiveMaximum": dice.randint(1, 999)}
        case "either":
            return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "string", "maxLength": 5}]}
        case "const":
            return {"const": dice.choice(["yes", 7, False])}
        case "reference":
            return {"$ref": "#/$defs/place"}
        case kind:
            return {"type": kind}


def an_object(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    names = dice.sample(WORDS, dice.randint(1, 3 - min(depth, 1)))
    return {
        "type": "object",
        "properties": {name: a_schema(dice, depth) for name in names},
        "required": [name for name in names if dice.random() < 0.7],
        "additionalProperties": False,
    }


def a_record(dice: random.Random) -> dict[str, Any]:
    record = an_object(dice)
    return {**record, "$defs": {"place": {"enum": ["here", "there"]}}} if "$ref" in json.dumps(record) else record


@dataclass
class Outcome:
    num_whole: int = 0
    num_cut: int = 0
    wrong: list[str] = field(default_factory=list)


async def generate(engine: EnginePool, seed: int, outcome: Outcome) -> None:
    """An answer in a form, or else calls."""
    dice = random.Random(seed)
    schema, sampling = a_record(dice), SamplingParams(temperature=1, seed=seed, max_tokens=MAX_TOKENS)
    question = (ChatMessage("user", "Tell me of a place."),)
    if is_call := seed % 3 == 0:
        tool = ToolSpec("keep", "Keeps a record.", schema)
        answer: Answer = await ask(engine, Chat(question, (tool,), tool_choice="required", parallel_tool_calls=seed % 2 == 0), sampling)
    else:
        answer = await ask(engine, Chat(question, response_format=ResponseFormat("json_schema", schema)), sampling)
    if answer.reason == "length":
        outcome.num_cut += 1
        return
    texts = [arguments for _, arguments in answer.calls] if is_call else [answer.text]
    try:
        for text in texts or [""]:
            jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())
    except (ValueError, jsonschema.ValidationError) as error:
        outcome.wrong.append(f"seed {seed}: {texts} is not valid: {error}")
    else:
        outcome.num_whole += 1


async def outcome_of(engine: EnginePool, seeds: range) -> Outcome:
    outcome, room = Outcome(), asyncio.Semaphore(NUM_TOGETHER)

    async def one(seed: int) -> None:
        async with room:
            await generate(engine, seed, outcome)

    await asyncio.gather(*map(one, seeds))
    return outcome


@pytest.mark.timeout(300)
async def test_ten_answers_to_random_schemas_are_valid(engine: EnginePool):
    outcome = await outcome_of(engine, range(10))

    assert (outcome.wrong, outcome.num_whole + outcome.num_cut) == ([], 10)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_five_hundred_answers_to_random_schemas_are_valid(engine: EnginePool, record_property: Callable[[str, object], None]):
    outcome = await outcome_of(engine, range(1000, 1500))

    record_property("whole", outcome.num_whole)
    record_property("cut at their limit of tokens", outcome.num_cut)
    print(f"\n{outcome.num_whole} answers are whole, {outcome.num_cut} were cut at {MAX_TOKENS} tokens, {len(outcome.wrong)} are wrong")
    assert outcome.wrong == []
    assert outcome.num_whole >= 400, "answers that were cut prove little"


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
