"""What a model of a family may answer, as a grammar: free text until a call opens, then only valid calls of known tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from offline_assistants.engine.chat_formats.answer_parser import parameters_of
from offline_assistants.engine.chat_formats.rules import Rules, pattern_of
from offline_assistants.engine.chat_formats.schemas import closed
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, MAX_CALLS, NAME, CallSyntax, Hole, Maybe, Part, Syntax, Thoughts
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ResponseFormat, ToolSpec

_ANYTHING = "/(?s:.*)/"


def answer_grammar(chat: Chat, syntax: Syntax, special_words: Mapping[str, int], *, thinks: Thoughts | None, is_thinking: bool) -> str | None:
    """The grammar of the answer to this chat, in llguidance's form of Lark; None when any text will do.

    `thinks`: thoughts may come first. `is_thinking`: one has begun in the prompt. Raises RequestError for a tool choice that names no tool.
    """
    tools = callable_tools(chat)
    form = _format(chat.response_format)
    if not chat.tools and not form:
        return None
    rules = Rules(special_words)
    calls = syntax.calls if chat.tools and chat.tool_choice != "none" else None
    text = form or _free_text(syntax, rules)
    if syntax.before_text or syntax.after_text:
        after = f"({rules.words(syntax.after_text)})?" if syntax.after_text else ""
        text = f"{rules.words(syntax.before_text.removeprefix(syntax.in_prompt), is_exact=True)} {text} {after}"
    answers = [text] if chat.tool_choice in {"auto", "none"} else []
    if calls:
        answers.append(_calls(chat, calls, syntax, tools, rules, is_after_text=chat.tool_choice == "auto" and not form))
    start = rules.add(" | ".join(answers))
    return rules.lark(f"{_thought(thinks, rules, is_thinking=is_thinking)} {start}".strip())


def with_thoughts(lark: str | None, thoughts: Thoughts | None, special_words: Mapping[str, int], *, is_thinking: bool) -> str | None:
    """A grammar that knows nothing of thoughts, with those that may precede its answer."""
    if lark is None or thoughts is None:
        return lark
    rules = Rules(special_words)
    start = rules.lark(f"{_thought(thoughts, rules, is_thinking=is_thinking)} thoughtful_answer")
    return f"{start}\nthoughtful_answer: {lark.removeprefix('start: ')}"


def callable_tools(chat: Chat) -> Sequence[ToolSpec]:
    """The tools that the tool choice leaves."""
    if chat.tool_choice in {"auto", "none"}:
        return chat.tools
    if not chat.tools:
        raise RequestError("tool_choice asks for a tool, and there are no tools.", param="tool_choice")
    if not chat.tool_choice.startswith("="):
        return chat.tools
    name = chat.tool_choice[1:]
    tools = [tool for tool in chat.tools if tool.name == name]
    if not tools:
        raise RequestError(f"tool_choice names the tool {name!r}, which is not among the tools.", param="tool_choice")
    return tools


def _thought(thoughts: Thoughts | None, rules: Rules, *, is_thinking: bool) -> str:
    if thoughts is None:
        return ""
    after = rules.words(thoughts.bridge) if thoughts.bridge else "THOUGHT_END?"
    rest = f"{rules.text_until(thoughts.closing)} {after}"
    rules.add("/\\s{1,4}/", name="THOUGHT_END")
    if is_thinking:
        return rest
    opening = rules.words(thoughts.opening, is_exact=True)
    return f"({opening} {rest} | {rules.words(thoughts.closing)} {after})?"


def _free_text(syntax: Syntax, rules: Rules) -> str:
    calls = syntax.calls
    if calls is None:
        return rules.terminal(_ANYTHING)
    if calls.is_first:
        return rules.terminal(f"{_ANYTHING} & ~/\\s*{pattern_of(calls.opening)}(?s:.*)/")
    return rules.terminal(f"{_ANYTHING} & {rules.without(*dict.fromkeys([calls.opening, *calls.also_opening]))}")


def _calls(chat: Chat, calls: CallSyntax, syntax: Syntax, tools: Sequence[ToolSpec], rules: Rules, *, is_after_text: bool) -> str:
    call = rules.add(" | ".join(_call(tool, calls, rules) for tool in tools))
    is_many = chat.parallel_tool_calls and not chat.tool_choice.startswith("=") and not calls.is_single
    more = f"({rules.words(calls.between)} {call}){{0,{MAX_CALLS - 1}}}" if is_many else ""
    opening = rules.words(calls.opening.removeprefix(syntax.in_prompt), is_exact=True)
    if is_after_text and not (calls.is_first or syntax.before_text):
        opening = rules.text_until(calls.opening)
    return f"{opening} {call} {more} {rules.words(calls.closing)}"


def _call(tool: ToolSpec, calls: CallSyntax, rules: Rules) -> str:
    arguments = calls.arguments.rule(cast("dict[str, Any]", parameters_of(tool)), rules)
    return rules.add(_parts(calls.call, tool.name, arguments, rules))


def _parts(parts: Sequence[Part | Hole], name: str, arguments: str, rules: Rules) -> str:
    # Words that stand side by side are written as one, so that a tokenizer may join them.
    said, pending = list[str](), ""
    for part in parts:
        if isinstance(part, str) or part is NAME:
            pending += part if isinstance(part, str) else name
            continue
        said.append(rules.words(pending))
        pending = ""
        match part:
            case Maybe(inner):
                said.append(f"({_parts(inner, name, arguments, rules)})?")
            case _:
                said.append(arguments if part is ARGUMENTS else "/[A-Za-z0-9_]{1,24}/")
    return " ".join(each for each in [*said, rules.words(pending)] if each)


def _format(response_format: ResponseFormat) -> str | None:
    match response_format.type:
        case "text":
            return None
        case "json_object":
            return Rules({}).json({"type": "object"})
        case "json_schema":
            return Rules({}).json(closed(response_format.schema or {"type": "object"}))
