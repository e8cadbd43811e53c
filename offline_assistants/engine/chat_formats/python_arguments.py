"""Arguments as a Python call writes them, which is what LFM2 was trained on: city='Rome', days=3."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from offline_assistants.engine.chat_formats.rules import Rules
from offline_assistants.engine.chat_formats.schemas import allows_text, resolved, text_choices, value_of
from offline_assistants.engine.chat_formats.syntax import ArgumentReader

_KEY = re.compile(r"\s*,?\s*([^\W\d]\w*)\s*=\s*")


@dataclass(frozen=True, slots=True)
class PythonArguments:
    """Texts have JSON's escapes, between the quotes of either kind."""

    first: str = r"[^\W\d]\w*\s*=|\)"
    words: tuple[str, ...] = ()

    def reader(self, schema: Mapping[str, Any]) -> ArgumentReader:
        return _Reader()

    def write(self, arguments: str) -> str:
        return ", ".join(f"{key}={_literal(value)}" for key, value in cast("dict[str, Any]", json.loads(arguments)).items())

    def rule(self, schema: dict[str, Any], rules: Rules) -> str:
        whole = resolved(schema, schema)
        required = set(cast("Sequence[str]", whole.get("required", ())))
        rest = {True: '""', False: '""'}
        for key, each in reversed(list(cast("dict[str, Any]", whole.get("properties", {})).items())):
            pair = f"{json.dumps(key + '=', ensure_ascii=False)} {self._value(each, schema, rules)} {rest[True]}"
            rest = {
                has_key: rules.add(f"{comma}{pair}" + ("" if key in required else f" | {rest[has_key]}")) for has_key, comma in ((True, '", " '), (False, ""))
            }
        return rest[False]

    def _value(self, schema: Any, root: dict[str, Any], rules: Rules) -> str:
        each = resolved(cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}, root)
        kept = {word: root[word] for word in ("$defs", "definitions") if word in root}
        if allows_text(each) and text_choices(each) is None and not each.keys() & {"pattern", "minLength", "maxLength", "anyOf", "oneOf"}:
            text = rules.terminal(r"/'([^'\\\n]|\\['\\nrt\"])*'/")
            others = [name for name in ([each["type"]] if isinstance(each.get("type"), str) else each.get("type", [])) if name != "string"]
            return rules.add(" | ".join([text, *([rules.json({**kept, **each, "type": others})] if others else [])]))
        return rules.json({**kept, **each})


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    return json.dumps(value, ensure_ascii=False)


class _Reader:
    """Turns the arguments into JSON, each when it is whole."""

    def __init__(self) -> None:
        self._num_keys = 0

    def feed(self, text: str) -> tuple[str, str, bool]:
        said = ""
        while True:
            if text.lstrip().startswith(")"):
                return said + ("}" if self._num_keys else "{}"), text.lstrip(), True
            key = _KEY.match(text)
            end = _end_of_value(text, key.end()) if key else None
            if key is None or end is None:
                return said, text, False
            said += (", " if self._num_keys else "{") + json.dumps(key[1], ensure_ascii=False) + ": " + _json(text[key.end() : end])
            self._num_keys += 1
            text = text[end:]


def _end_of_value(text: str, start: int) -> int | None:
    """Where the value ends: at a comma or parenthesis of the call itself; a quote ends a text only where the value can end."""
    depth, quote, i = 0, "", start
    while i < len(text):
        character = text[i]
        if quote:
            if character == "\\":
                i += 1
            elif character == quote and (depth or _can_end(text[i + 1 :]) is not False):
                if not depth and _can_end(text[i + 1 :]) is None:
                    return None
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}" and depth:
            depth -= 1
        elif not depth and character in ",)":
            return i
        i += 1
    return None


def _can_end(rest: str) -> bool | None:
    """Whether what follows a quote goes on as a call does; None while that cannot be told. Templates write quotes inside texts as they are."""
    if re.match(r"\)|,\s*[^\W\d]\w*\s*=", rest):
        return True
    return None if re.fullmatch(r"(,\s*([^\W\d]\w*\s*)?)?", rest) else False


def _json(text: str) -> str:
    text = text.strip()
    if text[:1] in {"'", '"'} and text[-1:] == text[:1] and len(text) > 1:
        inner = re.sub(r"\\(['\"\\nrtbf/]|u[0-9a-fA-F]{4})", lambda each: json.loads(f'"{each[0]}"') if each[1] != "'" else "'", text[1:-1])
        return json.dumps(inner, ensure_ascii=False)
    return json.dumps(value_of(text), ensure_ascii=False)
