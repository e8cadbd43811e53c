"""Arguments as Gemma 4 writes them: JSON without quotes around keys, and with <|"|> around texts.

{city:<|"|>Rome<|"|>,days:3}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from offline_assistants.engine.chat_formats.rules import Rules
from offline_assistants.engine.chat_formats.schemas import allows_text, resolved, text_choices, text_pattern, types_of
from offline_assistants.engine.chat_formats.syntax import ArgumentReader
from offline_assistants.engine.detokenizer import num_held_back
from offline_assistants.errors import RequestError

_QUOTE = '<|"|>'
_KEY = re.compile(r'\s*([^\s:{}\[\],"]{1,200}):')
_PLAIN = re.compile(r"[^{}\[\],:\s]+(?=[{}\[\],\s])")
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class GemmaArguments:
    first: str = r"\{"
    words: tuple[str, ...] = (_QUOTE,)

    def reader(self, schema: Mapping[str, Any]) -> ArgumentReader:
        return _Reader()

    def write(self, arguments: str) -> str:
        return _written(json.loads(arguments))

    def rule(self, schema: dict[str, Any], rules: Rules) -> str:
        return _Grammar(schema, rules).value(schema, 0)


def _written(value: Any) -> str:
    match value:
        case str():
            return f"{_QUOTE}{value}{_QUOTE}"
        case dict():
            return "{" + ",".join(f"{key}:{_written(each)}" for key, each in cast("dict[str, Any]", value).items()) + "}"
        case list():
            return "[" + ",".join(_written(each) for each in cast("list[Any]", value)) + "]"
        case _:
            return json.dumps(value)


class _Grammar:
    def __init__(self, root: dict[str, Any], rules: Rules) -> None:
        self._root = root
        self._rules = rules

    def value(self, schema: Any, depth: int) -> str:
        each = resolved(cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}, self._root)
        if depth > _MAX_DEPTH:
            raise RequestError("The JSON schema cannot be enforced in this model's syntax of calls: '$ref' leads back to itself, or it is nested too deeply.")
        for word in ("anyOf", "oneOf"):
            if word in each:
                return self._rules.add(" | ".join(self.value(part, depth + 1) for part in cast("list[Any]", each[word])))
        if "allOf" in each or "not" in each:
            raise RequestError("The JSON schema cannot be enforced in this model's syntax of calls: 'allOf' or 'not'.")
        if choices := each.get("enum", [each["const"]] if "const" in each else None):
            return "(" + " | ".join(self._choice(choice) for choice in cast("list[Any]", choices)) + ")"
        bodies = [self._typed(kind, each, depth) for kind in types_of(each) or ["object" if "properties" in each else "string"]]
        return self._rules.add(" | ".join(bodies))

    def _choice(self, value: Any) -> str:
        return self._rules.words(_written(value))

    def _typed(self, kind: str, schema: dict[str, Any], depth: int) -> str:
        match kind:
            case "string" if allows_text(schema) and text_choices(schema) is None:
                return f"{self._rules.words(_QUOTE)} {self._rules.text_until(_QUOTE, pattern=text_pattern(schema))}"
            case "object":
                return self._object(schema, depth)
            case "array":
                item = self.value(schema.get("items", {}), depth + 1)
                low, high = int(schema.get("minItems", 0)), schema.get("maxItems")
                more = f"{{{max(0, low - 1)},{'' if high is None else max(0, int(high) - 1)}}}"
                body = f'{item} ("," {item}){more}'
                return f'"[" ({body}){"?" if low == 0 else ""} "]"' if high != 0 else '"[" "]"'
            case _:
                bounds = {word: value for word, value in schema.items() if word not in {"properties", "items", "type"}}
                return self._rules.json({**bounds, "type": kind})

    def _object(self, schema: dict[str, Any], depth: int) -> str:
        """Keys in the order of the schema; commas only between those that are there."""
        required = set(cast("Sequence[str]", schema.get("required", ())))
        rest = {True: '""', False: '""'}
        for key, each in reversed(list(cast("dict[str, Any]", schema.get("properties", {})).items())):
            pair = f"{json.dumps(key + ':', ensure_ascii=False)} {self.value(each, depth + 1)}"
            after = rest[True]
            rest = {
                has_key: self._rules.add(f"{comma}{pair} {after}" + ("" if key in required else f" | {rest[has_key]}"))
                for has_key, comma in ((True, '"," '), (False, ""))
            }
        return f'"{{" {rest[False]} "}}"'


class _Reader:
    """Turns this dialect into JSON as it comes."""

    def __init__(self) -> None:
        self._depth: list[str] = []
        self._is_in_text = False

    def feed(self, text: str) -> tuple[str, str, bool]:
        said = ""
        while text:
            if self._is_in_text:
                before, found, rest = text.partition(_QUOTE)
                keep = 0 if found else num_held_back(before, _QUOTE)
                said += json.dumps(before[: len(before) - keep], ensure_ascii=False)[1:-1] + ('"' if found else "")
                text = rest if found else before[len(before) - keep :]
                if not found:
                    return said, text, False
                self._is_in_text = False
            elif text.startswith(_QUOTE):
                said, text, self._is_in_text = said + '"', text[len(_QUOTE) :], True
            elif _QUOTE.startswith(text):
                return said, text, False
            elif text[0] in "{[":
                self._depth.append(text[0])
                said, text = said + text[0], text[1:]
            elif text[0] in "}]":
                self._depth = self._depth[:-1]
                said, text = said + text[0], text[1:]
                if not self._depth:
                    return said, text, True
            elif text[0] == ",":
                said, text = said + ", ", text[1:]
            elif text[0].isspace():
                text = text[1:]
            elif key := (_KEY.match(text) if self._depth[-1:] == ["{"] else None):
                said, text = said + json.dumps(key[1], ensure_ascii=False) + ": ", text[key.end() :]
            elif plain := _PLAIN.match(text):
                said, text = said + _plain(plain[0]), text[plain.end() :]
            else:
                return said, text, False
        return said, text, False


def _plain(word: str) -> str:
    try:
        json.loads(word)
    except ValueError:
        return json.dumps(word, ensure_ascii=False)
    return word
