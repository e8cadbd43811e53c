"""What a family of models writes instead of plain text, as data: thoughts, and calls of tools. Grammar and parser both follow from it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from offline_assistants.engine.chat_formats.rules import Rules

MAX_CALLS = 16
"""Calls in one turn. Nobody asks for more, and a small model that repeats itself must come to an end."""


class Hole(enum.Enum):
    """What differs from call to call, between words that do not."""

    NAME = enum.auto()
    ARGUMENTS = enum.auto()
    ID = enum.auto()
    """Whatever the model calls the call; it means nothing here."""


@dataclass(frozen=True, slots=True)
class Maybe:
    """Words that some templates write and others leave out."""

    parts: tuple[str | Hole, ...]


Part = str | Hole | Maybe
NAME, ARGUMENTS, ID = Hole.NAME, Hole.ARGUMENTS, Hole.ID


class ArgumentReader(Protocol):
    """Follows the arguments of one call as they are written."""

    def feed(self, text: str) -> tuple[str, str, bool]:
        """A piece of the arguments as JSON text, the end of `text` that cannot be told yet or does not belong to them, and whether they are complete."""
        ...


class ArgumentSyntax(Protocol):
    """How the arguments of a call are written."""

    @property
    def first(self) -> str:
        """A regular expression of what arguments begin with, or of what follows where there are none."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """The words around arguments in which a control token may stand."""
        ...

    def reader(self, schema: Mapping[str, Any]) -> ArgumentReader: ...

    def rule(self, schema: dict[str, Any], rules: Rules) -> str:
        """The grammar of arguments that are valid for this JSON schema. Raises RequestError for a schema that cannot be honoured in this syntax."""
        ...

    def write(self, arguments: str) -> str:
        """These arguments, a JSON object, as a model would write them: for templates that have no words for a call."""
        ...


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """A line break in these words, and the spaces after it, may also be missing: templates of one family disagree about them."""

    opening: str
    """The words from which on an answer consists of calls. Text before them is free."""
    call: tuple[Part, ...]
    arguments: ArgumentSyntax
    between: str = ""
    """What follows a call and precedes the next."""
    closing: str = ""
    """What follows the last."""
    is_single: bool = False
    """The template knows one call in a turn, and no more."""
    is_first: bool = False
    """The words of `opening` are ordinary ones: they open a call only where an answer begins."""
    also_opening: tuple[str, ...] = ()
    """Other words that models of the family have been seen to open calls with. Understood, never asked for."""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """What a model writes for itself before it answers."""

    opening: str
    closing: str
    bridge: str = ""
    """What stands between a thought and the answer. It has to be one of the silent words, unless it is white space."""
    also_opening: tuple[str, ...] = ()
    """Other words that begin a thought. Understood, never asked for."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """All that a family writes around its words."""

    calls: CallSyntax | None = None
    thoughts: Thoughts | None = None
    before_text: str = ""
    """Words without which text does not begin."""
    after_text: str = ""
    in_prompt: str = ""
    """Words at the end of every prompt that are the beginning of an answer."""
    silent: tuple[str, ...] = ()
    """Words around text that mean nothing here; they are not shown."""

    @property
    def words(self) -> list[str]:
        """Everything in which a control token may stand."""
        words = [self.before_text, self.after_text, *self.silent]
        if self.thoughts:
            words += [self.thoughts.opening, self.thoughts.closing, self.thoughts.bridge, *self.thoughts.also_opening]
        if self.calls:
            words += [self.calls.opening, *self.calls.also_opening, self.calls.between, self.calls.closing]
            words += [part for each in self.calls.call for part in (each.parts if isinstance(each, Maybe) else (each,)) if isinstance(part, str)]
            words += self.calls.arguments.words
        return [word for word in words if word]


def write_calls(syntax: CallSyntax, calls: Sequence[tuple[str, str]]) -> str:
    """Calls, each a name and its arguments in JSON, as a model would write them."""
    written = [_write(syntax.call, name, syntax.arguments.write(arguments)) for name, arguments in calls]
    return syntax.opening + syntax.between.join(written) + syntax.closing if written else ""


def _write(parts: Sequence[Part], name: str, arguments: str) -> str:
    texts = {NAME: name, ARGUMENTS: arguments, ID: "0"}
    return "".join(part if isinstance(part, str) else texts[part] for part in parts if not isinstance(part, Maybe))
