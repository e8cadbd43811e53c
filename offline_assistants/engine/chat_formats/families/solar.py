"""Solar Open: an answer is messages of different kinds, and a call has its id, name and arguments between control tokens."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, ID, NAME, CallSyntax, Syntax, Thoughts

_TURN = "<|begin|>assistant"


def solar(source: str) -> Syntax | None:
    """For templates with <|tool_call:begin|>."""
    if "<|tool_call:begin|>" not in source:
        return None
    call = ("<|tool_call:begin|>", ID, "<|tool_call:name|>", NAME, "<|tool_call:args|>", ARGUMENTS, "<|tool_call:end|>")
    return Syntax(
        CallSyntax(f"{_TURN}<|tool_calls|>", call, JsonArguments(), also_opening=("<|tool_calls|>",)),
        Thoughts("<|think|>", "<|end|>", bridge=_TURN, also_opening=(f"{_TURN}<|think|>",)),
        before_text=f"{_TURN}<|content|>",
        in_prompt=_TURN,
        silent=(_TURN, "<|content|>", "<|end|>", "<|calls|>"),
    )
