"""Arguments as tags, one for each: texts as they are, everything else as JSON. What families write that were trained on XML.

<parameter=city>
Rome
</parameter>
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from offline_assistants.engine.chat_formats.rules import Rules, loose
from offline_assistants.engine.chat_formats.schemas import allows_text, is_text, resolved, text_choices, text_pattern, types_of, value_of
from offline_assistants.engine.chat_formats.syntax import ArgumentReader
from offline_assistants.engine.detokenizer import num_held_back
from offline_assistants.errors import RequestError

_UNKNOWN = ("allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "dependentRequired", "dependentSchemas", "minProperties", "maxProperties")
"""Keywords of a whole object that cannot be seen from one of its arguments."""
_ITEM = "item"
_JSON_TYPES = (("string", str), ("boolean", bool), ("number", (int, float)), ("array", list), ("object", dict))
_MAX_DEPTH = 12
_MAX_TAG = 300
"""Characters of an opening tag. What is longer is none."""


@dataclass(frozen=True, slots=True)
class TaggedArguments:
    """A line break in these words may be missing in what a model writes."""

    before_key: str
    after_key: str
    after_value: str
    """"{key}" in it stands for the key."""
    kinds: tuple[tuple[str, str], ...] = ()
    """What stands behind a key, by the type of the value ("string", "number", ...; "json" for all others). None: a value's type is not written."""
    after_last: str = ""
    """What follows the last value, also where there are none."""
    is_nested: bool = False
    """Lists and objects are tags in tags, an item of a list being one named "item"; else they are JSON."""
    wrap: tuple[str, str] = ("", "")
    """What may stand around a text, so that it may contain tags."""

    @property
    def words(self) -> tuple[str, ...]:
        return (self.before_key, self.after_key, self.after_value, self.after_last)

    @property
    def first(self) -> str:
        return r"[^\w.\-\s]"

    def reader(self, schema: Mapping[str, Any]) -> ArgumentReader:
        return _TagReader(self, dict(schema))

    def write(self, arguments: str) -> str:
        return self._tags(cast("dict[str, Any]", json.loads(arguments))) + self.after_last

    def _tags(self, values: Mapping[str, Any]) -> str:
        return "".join(self._tag(key, value) for key, value in values.items())

    def _tag(self, key: str, value: Any) -> str:
        kind = _json_type(value)
        if kind == "string":
            text = cast("str", value)
        elif kind == "object" and self.is_nested:
            text = self._tags(cast("dict[str, Any]", value))
        elif kind == "array" and self.is_nested:
            text = "".join(self._tag(_ITEM, each) for each in cast("list[Any]", value))
        else:
            text = json.dumps(value, ensure_ascii=False)
        return self._head(key, kind) + text + self.end(key)

    def end(self, key: str) -> str:
        return self.after_value.replace("{key}", key)

    def rule(self, schema: dict[str, Any], rules: Rules) -> str:
        whole = resolved(schema, schema)
        if unknown := next((word for word in _UNKNOWN if word in whole), None):
            raise RequestError(f"The JSON schema cannot be enforced in this model's syntax of calls: {unknown!r} at the top of the parameters.")
        return f"{self._object(whole, schema, rules, 0)} {rules.words(self.after_last)}".strip() or '""'

    def _object(self, schema: dict[str, Any], root: dict[str, Any], rules: Rules, depth: int) -> str:
        required = set(cast("Sequence[str]", schema.get("required", ())))
        properties = cast("dict[str, Any]", schema.get("properties", {}))
        return " ".join(self._argument(key, each, root, rules, depth) + ("" if key in required else "?") for key, each in properties.items())

    def _argument(self, key: str, schema: Any, root: dict[str, Any], rules: Rules, depth: int) -> str:
        each = resolved(cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}, root)
        if self.is_nested and types_of(each) in (["array"], ["object"]) and ("items" in each or "properties" in each):
            return rules.add(f"{rules.words(self._head(key, 'json'))} {self._inner(each, root, rules, depth + 1)} {rules.words(self.end(key))}")
        bodies = [f"{rules.words(self._head(key, 'string'))} {self._text(each, self.end(key), rules)}"] if allows_text(each) else []
        types = [name for name in types_of(each) if name != "string"]
        if not bodies or (self.kinds and types):
            kept = {word: root[word] for word in ("$defs", "definitions") if word in root}
            narrowed = {**kept, **each, **({"type": types} if bodies else {})}
            bodies.append(f"{rules.words(self._head(key, next(iter(types), 'json')))} {rules.json(narrowed)} {rules.words(self.end(key))}")
        return rules.add(" | ".join(bodies))

    def _inner(self, schema: dict[str, Any], root: dict[str, Any], rules: Rules, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise RequestError("The JSON schema cannot be enforced in this model's syntax of calls: it is nested too deeply, or '$ref' leads back to itself.")
        if types_of(schema) == ["object"]:
            return self._object(schema, root, rules, depth)
        low, high = int(schema.get("minItems", 0)), schema.get("maxItems", "")
        return f"({self._argument(_ITEM, schema.get('items', {}), root, rules, depth)}){{{low},{high}}}"

    def _text(self, schema: dict[str, Any], end: str, rules: Rules) -> str:
        choices = text_choices(schema)
        if choices is None:
            return rules.text_until(end, pattern=text_pattern(schema))
        return f"({' | '.join(json.dumps(choice, ensure_ascii=False) for choice in choices)}) {rules.words(end)}"

    def _head(self, key: str, kind: str) -> str:
        kinds = dict(self.kinds)
        return self.before_key + key + kinds.get(kind, kinds.get("json", "")) + self.after_key


class _TagReader:
    def __init__(self, syntax: TaggedArguments, schema: dict[str, Any]) -> None:
        self._syntax = syntax
        self._schema = schema
        self._properties = cast("dict[str, Any]", resolved(schema, schema).get("properties", {}))
        kinds = "|".join(loose(words) for _, words in syntax.kinds)
        self._head = re.compile(rf"\s*{loose(syntax.before_key)}(?P<key>[^<>\n\"/][^<>\n\"]{{0,199}}?)(?P<kind>{kinds}){_exact(syntax.after_key)}")
        self._keys = list[str]()
        self._types = list[str]()
        self._is_in_value = False
        self._is_text = False
        """The value is a text, and known to be one: it is passed on as it comes."""
        self._is_json = False
        """The value is written as JSON, texts too."""
        self._value = ""

    def feed(self, text: str) -> tuple[str, str, bool]:
        said = ""
        while True:
            if self._is_in_value:
                piece, text, is_moving = self._read_value(text)
                said += piece
                if not is_moving:
                    return said, text, False
            elif found := self._head.match(text):
                said += self._begin(found)
                text = text[found.end() :]
            elif self._is_end(text):
                return said + ("}" if self._keys else "{}"), re.sub(rf"^\s*{loose(self._syntax.after_last)}", "", text), True
            else:
                return said, text, False

    def _is_end(self, text: str) -> bool:
        """What comes is not one more argument."""
        start, mark, last = text.lstrip(), self._syntax.before_key.strip(), self._syntax.after_last.strip()
        if last:
            return start.startswith(last) or len(start) > _MAX_TAG
        return bool(start) and (not mark.startswith(start[: len(mark)]) or len(start) > _MAX_TAG)

    def _begin(self, found: re.Match[str]) -> str:
        key, said = found["key"], ", " if self._keys else "{"
        each: Any = self._properties.get(key, {})
        schema = resolved(cast("dict[str, Any]", each) if isinstance(each, dict) else {}, self._schema)
        written = found["kind"].strip()
        kind = next((name for name, words in self._syntax.kinds if words.strip() == written), None)
        self._is_json = kind not in {None, "string"}
        self._is_text = kind == "string" or (kind is None and is_text(schema))
        self._types = types_of(schema)
        self._keys.append(key)
        self._is_in_value, self._value = True, ""
        return f"{said}{json.dumps(key, ensure_ascii=False)}: " + ('"' if self._is_passed_on else "")

    @property
    def _is_passed_on(self) -> bool:
        return self._is_text and not self._syntax.wrap[0]

    def _read_value(self, text: str) -> tuple[str, str, bool]:
        mark = self._syntax.end(self._keys[-1]).rstrip()
        self._value += text
        opening, closing = self._syntax.wrap
        if opening and self._value.startswith(opening):
            mark = closing + mark
        before, found, rest = self._value.partition(mark.strip())
        if found:
            self._is_in_value = False
            value = before.removesuffix(mark[: len(mark) - len(mark.lstrip())])
            return (_quoted(value) + '"' if self._is_passed_on else self._json(value.removeprefix(opening))), rest, True
        if not self._is_passed_on:
            return "", "", False
        keep = max(num_held_back(before, mark), num_held_back(before, mark.strip()))
        piece, self._value = before[: len(before) - keep], before[len(before) - keep :]
        return _quoted(piece), "", False

    def _json(self, text: str) -> str:
        """The value as JSON; a text where it is none, or where only a text was meant."""
        if self._is_text:
            value: Any = text
        elif self._syntax.is_nested and not text and self._types in (["array"], ["object"]):
            value = [] if self._types == ["array"] else {}
        elif self._syntax.is_nested and self._syntax.before_key in text:
            value = self._nested(text)
        else:
            value = value_of(text)
        return json.dumps(value if self._is_json or not isinstance(value, str) else text, ensure_ascii=False)

    def _nested(self, text: str) -> Any:
        """The object, or the list, that tags in a value stand for."""
        pairs: list[tuple[str, Any]] = []
        while (found := self._head.match(text)) and (end := text.find(self._syntax.end(found["key"]), found.end())) >= 0:
            inner = text[found.end() : end]
            pairs.append((found["key"], self._nested(inner) if self._syntax.before_key in inner else value_of(inner)))
            text = text[end + len(self._syntax.end(found["key"])) :]
        return [value for _, value in pairs] if all(key == _ITEM for key, _ in pairs) else dict(pairs)


def _exact(words: str) -> str:
    """As `loose`, but a value begins right behind: one line break is all that may be missing."""
    core = words.rstrip("\n")
    return loose(core) + (r"(?:\n|(?=[^\n]))" if core != words else "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json_type(value: object) -> str:
    return next((name for name, types in _JSON_TYPES if isinstance(value, types)), "null")
