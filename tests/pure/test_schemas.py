"""JSON schemas on their way into a grammar: what grammars do not know and can do without, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from offline_assistants.engine.chat_formats.schemas import closed, json_rule, simpler
from offline_assistants.engine.grammar import problem_of
from offline_assistants.engine.schema_check import SchemaCheck
from offline_assistants.errors import RequestError

CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]}
DOG = {"type": "object", "properties": {"kind": {"enum": ["dog", "wolf"]}}, "required": ["kind"]}


def simplified(schema: dict[str, Any]) -> dict[str, Any]:
    return simpler(schema, schema)


@pytest.mark.parametrize("branches", [[CAT, DOG], [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}]])
def test_branches_that_a_tag_tells_apart_are_alternatives(branches: list[dict[str, Any]]):
    schema = {"type": "object", "properties": {"pet": {"oneOf": branches}}, "$defs": {"cat": CAT, "dog": DOG}}

    assert simplified(schema)["properties"]["pet"] == {"anyOf": branches}
    assert problem_of(f"start: {json_rule(closed(schema))}") is None


@pytest.mark.parametrize(
    "branches",
    [
        [CAT, CAT],
        [CAT, {**DOG, "required": []}],
        [CAT, {"type": "object", "properties": {"sort": {"const": "dog"}}, "required": ["sort"]}],
        [CAT, {**DOG, "type": ["object", "null"]}],
        [CAT, True],
        [],
        "cat",
    ],
)
def test_branches_that_may_both_be_valid_stay_as_they_are(branches: object):
    assert simplified({"oneOf": branches}) == {"oneOf": branches}


def test_what_asks_for_nothing_is_left_out():
    schema = {"type": "array", "uniqueItems": False, "items": {"type": "string", "format": "password"}}

    assert simplified(schema) == {"type": "array", "items": {"type": "string"}}


def test_names_and_values_that_look_like_keywords_stay():
    schema = {"properties": {"format": {"const": {"format": "password"}}, "uniqueItems": {"enum": [False, {"uniqueItems": False}]}}, "required": ["format"]}

    assert simplified(schema) == schema


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        ("'not'", {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}),
        ("'uniqueItems'", {"type": "array", "uniqueItems": True}),
        ("'oneOf'", {"oneOf": [CAT, CAT]}),
        ("'format' 'regex'", {"type": "string", "format": "regex"}),
        ("'pattern'.*look-around", {"type": "string", "pattern": "^(?=a)b$"}),
        ("minimum .5. is greater than maximum .3.", {"type": "integer", "minimum": 5, "maximum": 3}),
        ("'minLength'", {"type": "string", "minLength": "3"}),
        ("#/.defs/nowhere|/.defs/nowhere", {"$ref": "#/$defs/nowhere"}),
        ("Invalid type: strin", {"type": "strin"}),
        ("schema must be an object", {"type": "object", "properties": {"a": "string"}}),
    ],
)
async def test_a_schema_that_cannot_be_honoured_is_refused_with_the_reason(words: str, schema: dict[str, Any]):
    with SchemaCheck() as check, pytest.raises(RequestError, match=f"Invalid schema for response_format 'form': .*{words}") as caught:
        await check.check_answer("form", schema)

    assert caught.value.param == "response_format"


async def test_a_schema_that_is_nested_without_end_is_refused():
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "object", "properties": {"a": schema}}

    with SchemaCheck() as check, pytest.raises(RequestError, match="nested too deeply"):
        await check.check_function("f", schema, param="tools[0].function.parameters")


async def test_a_schema_of_a_megabyte_is_refused_before_it_is_read():
    with SchemaCheck() as check, pytest.raises(RequestError, match="characters of JSON"):
        await check.check_answer("form", {"enum": ["word" * 10] * 20_000})


async def test_a_schema_that_takes_too_long_is_refused():
    many = {"type": "object", "properties": {f"key_{number}": {"type": "string"} for number in range(3000)}}

    with SchemaCheck(max_check_s=0.01) as check, pytest.raises(RequestError, match=r"within 0\.01 seconds"):
        await check.check_answer("form", many)


async def test_what_people_send_is_taken():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Place",
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Its name", "examples": ["Oslo"]}, "when": {"type": "string", "format": "date-time"}},
        "required": ["city"],
        "additionalProperties": False,
    }

    with SchemaCheck() as check:
        await check.check_function("f", schema, param="")
        await check.check_function("g", None, param="")
        await check.check_answer("form", {})
