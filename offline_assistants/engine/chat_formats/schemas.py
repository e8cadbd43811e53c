"""JSON schemas as parts of a grammar: closed to keys that nobody asked for, and JSON spaced as models know it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, cast

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, spaced as models know it: free whitespace lets a small model write spaces for ever."""

_FORMATS = re.compile(
    "date-time|date|time|duration|(idn-)?(email|hostname)|ipv4|ipv6|(uri|iri)(-reference)?|uuid|uri-template|(relative-)?json-pointer|regex",
)
"""Those of JSON Schema, draft 2020-12, section 7.3. Any other is a remark, by the same section."""


_FURTHEST = {"maximum": 10**18, "exclusiveMaximum": 10**18, "minimum": -(10**18), "exclusiveMinimum": -(10**18)}
"""Grammars count to the 63rd bit. What lies between these is valid for a limit that is further out, too."""


def json_rule(schema: dict[str, Any]) -> str:
    """The part of a grammar that is JSON valid for the schema."""
    return "%json " + json.dumps({**simpler(schema, schema), "x-guidance": _SPACING})


def simpler(schema: dict[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema without what grammars do not know and it can do without.

    A `oneOf` whose branches a tag tells apart is an `anyOf`; a format that the standard does not know asks for nothing, and so does a false `uniqueItems`;
    numbers are held to the limits that grammars can count to.
    """
    result: dict[str, Any] = {}
    for word, value in schema.items():
        if (word == "uniqueItems" and value is False) or (word == "format" and isinstance(value, str) and not _FORMATS.fullmatch(value)):
            continue
        renamed = "anyOf" if word == "oneOf" and "anyOf" not in schema and _are_told_apart(value, root) else word
        match word:
            case "properties" | "$defs" | "definitions" | "patternProperties" | "dependentSchemas" if isinstance(value, dict):
                result[renamed] = {name: _simpler_value(each, root) for name, each in cast("dict[str, Any]", value).items()}
            case "enum" | "const" | "default" | "examples" | "required":
                result[renamed] = value
            case "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum" if isinstance(value, int | float) and not isinstance(value, bool):
                result[word] = _FURTHEST[word] if abs(value) > 10**18 and (value > 0) == word.lower().endswith("maximum") else value
            case _:
                result[renamed] = _simpler_value(value, root)
    return result


def _simpler_value(value: Any, root: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_simpler_value(each, root) for each in cast("list[Any]", value)]
    return simpler(cast("dict[str, Any]", value), root) if isinstance(value, dict) else value


def _are_told_apart(branches: Any, root: Mapping[str, Any]) -> bool:
    """Whether all branches are objects that must have one same key, each with texts that no other has: no value is valid for two of them."""
    if not isinstance(branches, list) or not all(isinstance(branch, dict) for branch in cast("list[Any]", branches)):
        return False
    tags = [_tags(resolved(branch, root)) for branch in cast("list[dict[str, Any]]", branches)]
    shared = set(tags[0]).intersection(*tags) if tags else set[str]()
    return any(len({text for tag in tags for text in tag[key]}) == sum(len(set(tag[key])) for tag in tags) for key in shared)


def _tags(branch: Mapping[str, Any]) -> dict[str, list[str]]:
    """The keys that an object must have, and whose value is one of these texts."""
    properties, required = branch.get("properties"), branch.get("required")
    if types_of(branch) != ["object"] or not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    found = dict[str, list[str]]()
    for key, value in cast("dict[str, Any]", properties).items():
        texts = text_choices(cast("dict[str, Any]", value)) if key in required and isinstance(value, dict) else None
        if texts:
            found[key] = texts
    return found


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without keys that it only tolerates: what stays is valid for the schema too, and a small model is not led to invent keys."""
    result = dict(schema)
    if isinstance(properties := schema.get("properties"), dict):
        result["properties"] = {name: closed_if_schema(value) for name, value in cast("dict[str, Any]", properties).items()}
        if not result.keys() & {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}:
            result["additionalProperties"] = False
    if "items" in schema:
        result["items"] = closed_if_schema(schema["items"])
    return result


def closed_if_schema(value: Any) -> Any:
    return closed(cast("dict[str, Any]", value)) if isinstance(value, dict) else value


def arguments_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, from what the client said of them."""
    return closed({"type": "object", "properties": {}, **parameters})


# ── What a value may be ──────────────────────────────────────────────────────────────────────────────────────────────


def resolved(schema: dict[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that a local $ref points to, with what stands beside it."""
    for _ in range(8):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: Any = root
        for name in filter(None, reference.lstrip("#/").split("/")):
            target = cast("dict[str, Any]", target).get(name.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        schema = {**(cast("dict[str, Any]", target) if isinstance(target, dict) else {}), **beside}
    return schema


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """The JSON types that the schema names; none when it leaves them open."""
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else [str(each) for each in cast("list[Any]", types)] if isinstance(types, list) else []


def text_choices(schema: Mapping[str, Any]) -> list[str] | None:
    """The texts of an enum or a const that allows nothing but texts."""
    choices: Any = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(choices, list) or not choices:
        return None
    texts = [each for each in cast("list[Any]", choices) if isinstance(each, str)]
    return texts if len(texts) == len(cast("list[Any]", choices)) else None


def is_text(schema: Mapping[str, Any]) -> bool:
    """Nothing but a string is valid."""
    return types_of(schema) == ["string"] or text_choices(schema) is not None


def allows_text(schema: Mapping[str, Any]) -> bool:
    """A string may be valid, and any string of the schema's length and pattern is."""
    if "enum" in schema or "const" in schema:
        return text_choices(schema) is not None
    if types := types_of(schema):
        return "string" in types
    parts = [part for word in ("anyOf", "oneOf") for part in cast("list[Any]", schema.get(word, []))]
    if parts:
        return any(isinstance(part, dict) and allows_text(cast("dict[str, Any]", part)) for part in parts)
    return not schema.keys() & {"properties", "items", "allOf", "$ref"}


def text_pattern(schema: Mapping[str, Any]) -> str:
    """The pattern of a grammar for texts of this schema's length and form."""
    low, high, form = schema.get("minLength", 0), schema.get("maxLength"), schema.get("pattern")
    patterns = [f"/(?s:.{{{low},{'' if high is None else high}}})/"] if low or high is not None else []
    if isinstance(form, str):
        start, end = "" if form.startswith("^") else "(?s:.*)", "" if form.endswith("$") else "(?s:.*)"
        patterns.append(f"/{start}({form.removeprefix('^').removesuffix('$').replace('/', chr(92) + '/')}){end}/")
    return " & ".join(patterns) or "/(?s:.*)/"


def value_of(text: str) -> Any:
    """What a value means that is no text by its place: JSON, or Python's form of it, which many templates write; else the text."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            json.dumps(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return value
    return text
