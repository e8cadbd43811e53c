"""Families that write a list of JSON objects, each between words of its own: Granite 3, Phi 4 mini, Apriel, Nemotron 2, Apertus, FireFunction, GigaChat."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, ID, NAME, CallSyntax, Maybe, Part, Syntax

_OBJECT: tuple[Part, ...] = ('{"name": "', NAME, '", "arguments": ', ARGUMENTS, "}")
_WITH_ID: tuple[Part, ...] = ('{"name": "', NAME, '", "arguments": ', ARGUMENTS, Maybe((', "id": "', ID, '"')), "}")
_BY_NAME: tuple[Part, ...] = ('{"', NAME, '": ', ARGUMENTS, "}")


def granite(source: str) -> Syntax | None:
    """Granite 3: a control token, and the list."""
    return _list("<|tool_call|>[", "]") if "<|tool_call|>" in source and "<|start_of_role|>" in source else None


def phi(source: str) -> Syntax | None:
    """Phi 4 mini: control tokens on both sides; the template tells of tools only."""
    return _list("<|tool_call|>[", "]<|/tool_call|>") if "<|/tool|>" in source else None


def apriel(source: str) -> Syntax | None:
    """Apriel: tags on both sides, and an id."""
    if "<tool_calls>" not in source or ("Apriel" not in source and "<tool_calls>[" not in source):
        return None
    is_marked = "[BEGIN FINAL RESPONSE]" in source
    calls = _list("<tool_calls>[", "]</tool_calls>", _WITH_ID)
    return Syntax(calls.calls, silent=("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]") if is_marked else ())


def nemotron(source: str) -> Syntax | None:
    """Nemotron Nano 2: capital tags."""
    return _list("<TOOLCALL>[", "]</TOOLCALL>") if "<TOOLCALL>" in source else None


def apertus(source: str) -> Syntax | None:
    """Apertus: objects with the name as their key."""
    return _list("<|tools_prefix|>[", "]<|tools_suffix|>", _BY_NAME) if "<|tools_prefix|>" in source else None


def firefunction(source: str) -> Syntax | None:
    """FireFunction 2: a word in front."""
    return _list("functools[", "]") if "functools[" in source else None


def gigachat(source: str) -> Syntax | None:
    """GigaChat 3: one object behind control tokens."""
    if "<|role_sep|>" not in source:
        return None
    opening = "<|function_call|>" if "<|function_call|>" in source else "<|message_sep|>\n\nfunction call<|role_sep|>\n"
    return Syntax(CallSyntax(opening, _OBJECT, JsonArguments(), is_single=True))


def _list(opening: str, closing: str, call: tuple[Part, ...] = _OBJECT) -> Syntax:
    return Syntax(CallSyntax(opening, call, JsonArguments(), between=", ", closing=closing))
