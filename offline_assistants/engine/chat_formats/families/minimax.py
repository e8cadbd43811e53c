"""MiniMax: M1 with a line of JSON for each call, M2 with tags, M3 with tags named after the arguments."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments

_SPACE = "]<]minimax[>["


def minimax(source: str) -> Syntax | None:
    """For templates of MiniMax."""
    if _SPACE in source:
        arguments = TaggedArguments(f"{_SPACE}<", ">", f"{_SPACE}</{{key}}>", after_last=f"{_SPACE}</invoke>", is_nested=True)
        call = (f'\n{_SPACE}<invoke name="', NAME, '">', ARGUMENTS)
        return Syntax(CallSyntax(f"{_SPACE}<tool_call>", call, arguments, closing=f"\n{_SPACE}</tool_call>"))
    if "minimax:tool_call" in source:
        arguments = TaggedArguments('<parameter name="', '">', "</parameter>\n")
        call = ('\n<invoke name="', NAME, '">\n', ARGUMENTS, "</invoke>")
        return Syntax(CallSyntax("<minimax:tool_call>", call, arguments, closing="\n</minimax:tool_call>"))
    if "<beginning_of_sentence>" in source and "<tool_calls>" in source:
        call = ('\n{"name": "', NAME, '", "arguments": ', ARGUMENTS, "}")
        return Syntax(CallSyntax("<tool_calls>", call, JsonArguments(), closing="\n</tool_calls>"))
    return None
