"""gpt-oss: an answer is messages to different readers, each on a channel, and calls go to functions by name."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Maybe, Syntax, Thoughts

_TURN = "<|start|>assistant"
_FINAL, _REMARK, _THOUGHT = (f"<|channel|>{channel}<|message|>" for channel in ("final", "commentary", "analysis"))


def harmony(source: str) -> Syntax | None:
    """For templates with channels."""
    if "<|channel|>" not in source or ("to=functions." not in source and '"functions."' not in source):
        return None
    channel = Maybe(("<|channel|>commentary",))
    call = (NAME, channel, Maybe((" <|constrain|>json",)), Maybe((" json",)), "<|message|>", ARGUMENTS, Maybe(("<|call|>",)))
    calls = CallSyntax(
        f"{_TURN}<|channel|>commentary to=functions.",
        call,
        JsonArguments(),
        is_single=True,
        also_opening=(f"{_TURN} to=functions.", f"{_TURN}<|channel|>analysis to=functions.", "<|channel|>commentary to=functions.", " to=functions."),
    )
    return Syntax(
        calls,
        Thoughts(_THOUGHT, "<|end|>", bridge=_TURN, also_opening=(f"{_TURN}{_THOUGHT}",)),
        before_text=f"{_TURN}{_FINAL}",
        in_prompt=_TURN,
        silent=(_TURN, _FINAL, _REMARK, f"{_TURN}{_REMARK}", "<|end|>", "<|return|>"),
    )
