"""Arguments as a JSON object: what most families write. Also the program inside such an object, for tools that take one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offline_assistants.engine.chat_formats.rules import Rules
from offline_assistants.engine.chat_formats.syntax import ArgumentReader

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class JsonArguments:
    first: str = r"\{"
    words: tuple[str, ...] = ()

    def reader(self, schema: Mapping[str, Any]) -> ArgumentReader:
        return _ObjectReader()

    def rule(self, schema: dict[str, Any], rules: Rules) -> str:
        return rules.json(schema)

    def write(self, arguments: str) -> str:
        return arguments


class _ObjectReader:
    """Passes an object on as it stands, and knows its last brace."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False

    def feed(self, text: str) -> tuple[str, str, bool]:
        for i, character in enumerate(text):
            if self._is_in_string:
                self._is_in_string = self._is_escaped or character != '"'
                self._is_escaped = not self._is_escaped and character == "\\"
                continue
            match character:
                case '"':
                    self._is_in_string = True
                case "{" | "[":
                    self._depth += 1
                case "}" | "]":
                    self._depth -= 1
                    if self._depth == 0:
                        return text[: i + 1], text[i + 1 :], True
                case _:
                    pass
        return text, "", False


class ProgramReader:
    """The program out of a JSON object with one string in it, piece by piece."""

    def __init__(self) -> None:
        self._text = ""
        self._is_in_program = False
        self._is_done = False

    def feed(self, fragment: str) -> str:
        """The next piece of the program."""
        self._text += fragment
        if self._is_done:
            return ""
        if not self._is_in_program and not self._find_beginning():
            return ""
        return self._decode()

    def _find_beginning(self) -> bool:
        key_end = self._text.find('":')
        start = self._text.find('"', key_end + 2) if key_end >= 0 else -1
        if start < 0:
            return False
        self._text, self._is_in_program = self._text[start + 1 :], True
        return True

    def _decode(self) -> str:
        said, i, text = list[str](), 0, self._text
        while i < len(text):
            if text[i] == '"':
                self._is_done = True
                break
            length = _unit_length(text, i)
            if length > len(text) - i:
                break
            said.append(_unit(text[i : i + length]))
            i += length
        self._text = text[i:]
        return "".join(said)


def _unit_length(text: str, i: int) -> int:
    """Characters of the escape, or the character, at `i`; more than there are when it is not whole yet."""
    if text[i] != "\\":
        return 1
    if text[i + 1 : i + 2] != "u":
        return 2
    is_half_of_two = text[i + 2 : i + 3].lower() == "d" and text[i + 3 : i + 4].lower() in set("89ab")
    return 12 if is_half_of_two and text[i + 6 : i + 8] in {"", "\\", "\\u"} else 6


def _unit(unit: str) -> str:
    if len(unit) <= 2:
        return unit if len(unit) == 1 else _ESCAPES.get(unit[1], unit[1])
    try:
        return "".join(chr(int(unit[i + 2 : i + 6], 16)) for i in range(0, len(unit), 6)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    except ValueError:
        return unit
