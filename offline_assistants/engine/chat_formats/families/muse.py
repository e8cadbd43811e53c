"""Muse: each part of an answer says whom it is for, and a call is tags with attributes."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax, Thoughts
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments

_TURN = "<|start|>assistant"


def muse(source: str) -> Syntax | None:
    """For templates with <atem:function_calls>."""
    if "atem:" not in source:
        return None
    arguments = TaggedArguments('<atem:parameter name="', '">', "</atem:parameter>\n")
    call = (NAME, '<|message|><atem:function_calls>\n<atem:invoke name="', NAME, '">\n', ARGUMENTS, "</atem:invoke>\n</atem:function_calls>")
    return Syntax(
        CallSyntax(f"{_TURN} to=", call, arguments, between=f"<|eom|>{_TURN} to="),
        Thoughts(" to=self<|message|>", "<|eom|>", bridge=_TURN, also_opening=(f"{_TURN} to=self<|message|>",)),
        before_text=f"{_TURN} to=user<|message|>",
        in_prompt=_TURN,
        silent=(_TURN, "<|eom|>", "<|eot|>"),
    )
