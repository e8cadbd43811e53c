"""DeepSeek: V3 and R1 with fenced JSON behind a name, V3.1 with the JSON alone, V3.2 and V4 with tags of their own."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Part, Syntax
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments

_BEGIN, _END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"


def deepseek(source: str) -> Syntax | None:
    """For templates with DeepSeek's control tokens."""
    if "DSML" in source:
        return _tags("tool_calls" if "tool_calls>" in source else "function_calls")
    if _SEPARATOR not in source:
        return None
    opening, closing = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
    is_fenced = "```json" in source
    call: tuple[Part, ...] = (_BEGIN, NAME, _SEPARATOR, ARGUMENTS, _END)
    if is_fenced:
        call = (f"{_BEGIN}function{_SEPARATOR}", NAME, "\n```json\n", ARGUMENTS, f"\n```\n{_END}")
    return Syntax(CallSyntax(opening, call, JsonArguments(), between="\n" if is_fenced else "", closing=closing))


def _tags(name: str) -> Syntax:
    mark = "｜DSML｜"
    kinds = (("string", '" string="true"'), ("json", '" string="false"'))
    arguments = TaggedArguments(f'<{mark}parameter name="', ">", f"</{mark}parameter>\n", kinds=kinds)
    call = (f'\n<{mark}invoke name="', NAME, '">\n', ARGUMENTS, f"</{mark}invoke>")
    return Syntax(CallSyntax(f"<{mark}{name}>", call, arguments, closing=f"\n</{mark}{name}>"))
