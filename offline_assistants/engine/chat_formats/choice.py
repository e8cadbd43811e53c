"""Which family a chat template belongs to, and why: the one place where they are listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from offline_assistants.engine.chat_formats.answer_parser import AnswerParser
from offline_assistants.engine.chat_formats.compact_tools import compact_section
from offline_assistants.engine.chat_formats.families.cohere import cohere
from offline_assistants.engine.chat_formats.families.deepseek import deepseek
from offline_assistants.engine.chat_formats.families.functionary import functionary
from offline_assistants.engine.chat_formats.families.functions_in_xml import functions_in_xml
from offline_assistants.engine.chat_formats.families.gemma import gemma
from offline_assistants.engine.chat_formats.families.glm import glm
from offline_assistants.engine.chat_formats.families.harmony import harmony
from offline_assistants.engine.chat_formats.families.hermes import hermes
from offline_assistants.engine.chat_formats.families.json_lists import apertus, apriel, firefunction, gigachat, granite, nemotron, phi
from offline_assistants.engine.chat_formats.families.kimi import kimi, kimi_k3
from offline_assistants.engine.chat_formats.families.lfm import lfm
from offline_assistants.engine.chat_formats.families.llama import llama
from offline_assistants.engine.chat_formats.families.minicpm import minicpm
from offline_assistants.engine.chat_formats.families.minimax import minimax
from offline_assistants.engine.chat_formats.families.mistral import mistral
from offline_assistants.engine.chat_formats.families.muse import muse
from offline_assistants.engine.chat_formats.families.solar import solar
from offline_assistants.engine.chat_formats.generic import GenericFormat
from offline_assistants.engine.chat_formats.native import NativeFormat
from offline_assistants.engine.chat_formats.reasoning import thoughts_of
from offline_assistants.engine.chat_formats.syntax import Syntax
from offline_assistants.engine.chat_formats.template import ChatTemplate
from offline_assistants.errors import ModelNotLoaded, RequestError
from offline_assistants.ports import Chat

Family = Callable[[str], Syntax | None]
"""From a template's text to what its models write; None for a template of another family."""


class ChatFormat(Protocol):
    """How one model is spoken to. Prompt, grammar and parser go together: each is told of the prompt that was rendered."""

    name: str

    def render(self, chat: Chat) -> str:
        """The prompt, ending where the assistant's next words begin. Raises RequestError when the template refuses the chat."""
        ...

    def grammar(self, chat: Chat, prompt: str, special_words: Mapping[str, int]) -> str | None:
        """What may follow the prompt, in llguidance's form of Lark; None when any text may. `special_words`: those that are one token, with their ids."""
        ...

    def parser(self, chat: Chat, prompt: str) -> AnswerParser:
        """Reads what follows the prompt."""
        ...

    @property
    def words(self) -> list[str]:
        """Words that the parser has to see, also those that are control tokens and stand for no text."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    format: ChatFormat
    reason: str
    """A sentence for whoever wants to know."""


def families() -> tuple[tuple[str, Family], ...]:
    """Every family by its name. The first that knows a template has it, so those with telling words come first, and the one that many imitate last."""
    return (
        ("mistral", mistral),
        ("deepseek", deepseek),
        ("kimi-k3", kimi_k3),
        ("kimi", kimi),
        ("harmony", harmony),
        ("solar", solar),
        ("muse", muse),
        ("cohere", cohere),
        ("gemma", gemma),
        ("gigachat", gigachat),
        ("lfm", lfm),
        ("minimax", minimax),
        ("minicpm", minicpm),
        ("apertus", apertus),
        ("nemotron", nemotron),
        ("apriel", apriel),
        ("firefunction", firefunction),
        ("phi", phi),
        ("granite", granite),
        ("glm", glm),
        ("functions-in-xml", functions_in_xml),
        ("functionary", functionary),
        ("llama", llama),
        ("hermes", hermes),
    )


def choose(template: ChatTemplate, *, trained_on: str | None = None) -> Choice:
    """The format for a template, chosen by the template's text alone, or the one that the model's adapter was trained on. Raises ModelNotLoaded."""
    if trained_on == "compact":
        return Choice(GenericFormat(template, name="compact", tools_told=compact_section), "The model, or its adapter, was trained on tools in a line each.")
    if trained_on is not None:
        raise ModelNotLoaded(
            f"The model or its LoRA adapter was trained on the chat format {trained_on!r}, which this version does not know. Take the adapter out of --lora."
        )
    for name, family in families():
        syntax = family(template.source)
        if syntax is None or syntax.calls is None:
            continue
        whole = replace(syntax, thoughts=syntax.thoughts or thoughts_of(template.source))
        try:
            chosen = NativeFormat(name, template, whole, syntax.calls)
        except RequestError as error:
            return Choice(GenericFormat(template), f"The template looks like {name}, and does not work as one: {error.message}")
        notes = f" For this template: {', '.join(chosen.shape.notes)}." if chosen.shape.notes else ""
        return Choice(chosen, f"The template has the words of {name} around calls ({syntax.calls.opening.strip()!r}).{notes}")
    return Choice(GenericFormat(template), "The template has no words around calls, so tools are described in the system text.")


def describe(source: str | None, *, trained_on: str | None = None) -> tuple[str, str]:
    """The family of a template's text, and why: for whoever looks at a model without loading it. Raises ValueError when it is no template.

    `trained_on`: the chat format that the model's adapter says it was trained on, or the model itself.
    """
    if not source and trained_on is None:
        return "generic", "The file has no chat template; it is spoken to in ChatML, and tools are described in the system text."
    choice = choose(ChatTemplate(source or "", bos_token="", eos_token="", control_tokens=(), strftime=lambda form: form), trained_on=trained_on)
    return choice.format.name, choice.reason
