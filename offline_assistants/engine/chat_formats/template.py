"""A model's own chat template, run in jinja2's sandbox with the functions that such templates expect. Knows nothing of tools or tokens.

Text that a user wrote may contain the words of control tokens ("<|im_end|>"). It must never become one: such words are marked before the template runs, and
`split_literals` gives the tokenizer the pieces that are to be read as plain text. Where a picture belongs there is a mark, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, cast

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment

from offline_assistants.errors import RequestError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""For a model without a template: the form that most were trained on."""

# Unicode noncharacters: never assigned, never part of a text that means something.
_LITERAL_START, _LITERAL_END = "\ufdd0", "\ufdd1"
_PICTURE_START, _PICTURE_END = "\ufdd2", "\ufdd3"
_PICTURE = re.compile(f"{_PICTURE_START}([0-9]+){_PICTURE_END}")
_ESCAPED_MARK = re.compile(r"\\u(fdd[0-3])")
_OURS = re.compile(f"[{_LITERAL_START}-{_PICTURE_END}]")
_LITERAL = re.compile(f"{_LITERAL_START}(.*?){_LITERAL_END}", re.DOTALL)


class Written(dict[str, Any]):
    """The arguments of a call, which `tojson` writes as the model wrote them: the same tokens, so what is in the KV cache matches."""

    def __init__(self, text: str) -> None:
        """Raises ValueError when the text is no JSON object."""
        value: Any = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("arguments are an object")
        super().__init__(cast("dict[str, Any]", value))
        self.text = text


class ChatTemplate:
    def __init__(
        self, source: str, *, bos_token: str, eos_token: str, control_tokens: Sequence[str], strftime: Callable[[str], str], model: str = "this model"
    ) -> None:
        """`control_tokens`: the words that the tokenizer reads as control tokens. `strftime`: the time now, for templates that state the date.

        Raises ValueError when the template is not one.
        """
        # Some templates append to lists. Whatever they are given was made for this one rendering.
        environment = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationTag])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception  # pyright: ignore[reportArgumentType] - any function may be a global
        environment.globals["strftime_now"] = strftime  # pyright: ignore[reportArgumentType]
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ValueError(f"the chat template of {model} cannot be read (line {error.lineno}): {error.message}") from error
        except TemplateError as error:
            raise ValueError(f"the chat template of {model} cannot be read: {error}") from error
        self.source = source
        self._strftime = strftime
        self._model = model
        self._words = {"bos_token": bos_token, "eos_token": eos_token}
        self._control = re.compile("|".join(re.escape(word) for word in sorted(control_tokens, key=len, reverse=True)) or r"(?!)")

    def render(self, messages: Sequence[tuple[str, str]], variables: Mapping[str, Any] | None = None) -> str:
        """The prompt of (role, content) turns, up to where the assistant begins. Raises RequestError with the template's own words when it refuses them."""
        return self.render_messages([{"role": role, "content": content} for role, content in messages], variables=variables or {})

    def render_messages(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = (), variables: Mapping[str, Any]) -> str:
        """The prompt of messages and tools as templates expect them, with variables of the template's own. Raises RequestError like `render`."""
        words = {**variables, **self._words}
        if tools:
            words["tools"] = self._marked(tools)
        if "datetime" in self.source:
            # Said so by templates older than `tools` and `strftime_now`.
            words |= {"functions": _tojson(self._marked(tools), indent=4), "datetime": self._strftime("%Y-%m-%d")}
        try:
            return self._template.render(messages=self._marked(messages), add_generation_prompt=True, **words)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            place = _line(error.__traceback__)
            raise RequestError(f"The chat template of {self._model} refuses these messages{place}: {error}") from error

    def _marked(self, value: Any) -> Any:
        """A copy in which no text can become a control token."""
        match value:
            case str():
                return self._mark(value)
            case Written():
                copy = Written(value.text)
                copy.update({self._mark(key): self._marked(each) for key, each in value.items()})
                copy.text = self._mark(value.text)
                return copy
            case dict():
                return {self._mark(str(key)): self._marked(each) for key, each in cast("dict[Any, Any]", value).items()}
            case list() | tuple():
                return [self._marked(each) for each in cast("Sequence[Any]", value)]
            case _:
                return value

    def _mark(self, content: str) -> str:
        content = content.replace(_LITERAL_START, "").replace(_LITERAL_END, "")
        return self._control.sub(lambda word: f"{_LITERAL_START}{word[0]}{_LITERAL_END}", content)


def split_literals(prompt: str) -> list[tuple[str, bool]]:
    """The prompt in pieces; True marks those in which no control token may be read."""
    pieces = [(piece, i % 2 == 1) for i, piece in enumerate(_LITERAL.split(prompt))]
    return [(piece, is_literal) for piece, is_literal in pieces if piece]


def plain(text: str) -> str:
    """A text that a user wrote, without the characters that mean something here."""
    return _OURS.sub("", text)


def picture_mark(index: int) -> str:
    """What stands in the prompt where the chat's picture of this index belongs."""
    return f"{_PICTURE_START}{index}{_PICTURE_END}"


def split_pictures(prompt: str, num_pictures: int) -> list[str | int]:
    """The prompt in pieces of text and indexes of pictures. Raises RequestError when the template lost a picture, or turned them round."""
    parts: list[str | int] = [int(piece) if i % 2 else piece for i, piece in enumerate(_PICTURE.split(prompt))]
    if [part for part in parts if isinstance(part, int)] != list(range(num_pictures)):
        raise RequestError("The model's chat template leaves out a picture. Put pictures into messages of the user.")
    return [part for part in parts if part != ""]


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's words for training; here it has no effect."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False, separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    # jinja2's own filter escapes for HTML, which the templates do not expect.
    if isinstance(value, Written) and indent is None and separators is None and not sort_keys:
        return value.text
    text = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, separators=separators, sort_keys=sort_keys, default=_listed)
    # Marks have to stay marks.
    return _ESCAPED_MARK.sub(lambda mark: chr(int(mark[1], 16)), text) if ensure_ascii else text


def _listed(value: Any) -> Any:
    """What filters make is not yet a list."""
    if isinstance(value, Iterable):
        return list(cast("Iterable[Any]", value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def _line(trace: TracebackType | None) -> str:
    """Where in the template something failed."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
