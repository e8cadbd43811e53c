"""GLM 4.5 to 4.7, and who took it over (Ling 3, Laguna, Spark, Hunyuan 3): keys and values as pairs of tags."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments


def glm(source: str) -> Syntax | None:
    """For templates with <arg_key>, also where the tags have a suffix of their own."""
    if "<arg_key" not in source:
        return None
    if "<tool_sep" in source:
        return _hunyuan(":opensource" if ":opensource" in source else "")
    arguments = TaggedArguments("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n")
    return Syntax(CallSyntax("<tool_call>", (NAME, "\n", ARGUMENTS, "</tool_call>"), arguments, between="\n<tool_call>"))


def _hunyuan(suffix: str) -> Syntax:
    arguments = TaggedArguments(f"<arg_key{suffix}>", f"</arg_key{suffix}>\n<arg_value{suffix}>", f"</arg_value{suffix}>\n")
    call = (f"\n<tool_call{suffix}>", NAME, f"<tool_sep{suffix}>\n", ARGUMENTS, f"</tool_call{suffix}>")
    return Syntax(CallSyntax(f"<tool_calls{suffix}>", call, arguments, closing=f"\n</tool_calls{suffix}>"))
