"""Tools in a line each, for models that were trained on it: every name stands quoted, just as a call has to write it. Knows no template and no tokens.

    # Tools

    - "get_weather": The weather in a city. {"city": string, "unit": optional "celsius" | "fahrenheit"}
    - code_interpreter: Runs Python code and shows what it prints.

What a name is made of for a model depends on the character before it, so a small one copies what it has read in the very form that it has to write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from offline_assistants.engine.chat_formats.schemas import resolved, types_of
from offline_assistants.ports import ToolSpec

_MAX_DEPTH = 6


def compact_section(tools: Sequence[ToolSpec]) -> str:
    """What the model is told of its tools. It knows the form of a call."""
    return "\n".join(["# Tools", "", *(_line(tool) for tool in tools)])


def _line(tool: ToolSpec) -> str:
    if tool.syntax == "code":
        return f"- {tool.name}: {tool.description}"
    said = " ".join(part for part in (tool.description.strip().replace("\n", " "), _object(tool.parameters, tool.parameters, 0)) if part)
    return f"- {json.dumps(tool.name, ensure_ascii=False)}: {said}"


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str:
    properties = cast("dict[str, Any]", schema.get("properties") or {})
    required = cast("list[str]", schema.get("required") or [])
    parts = [
        f"{json.dumps(name, ensure_ascii=False)}: {'' if name in required else 'optional '}{_value(each, root, depth)}" for name, each in properties.items()
    ]
    return "{" + ", ".join(parts) + "}"


def _value(schema: Any, root: Mapping[str, Any], depth: int) -> str:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return "any"
    found = resolved(cast("dict[str, Any]", schema), root)
    description = str(found.get("description") or "").strip().replace("\n", " ")
    return f"{_kind(found, root, depth + 1)} ({description})" if description else _kind(found, root, depth + 1)


def _kind(schema: dict[str, Any], root: Mapping[str, Any], depth: int) -> str:
    if isinstance(choices := schema.get("enum"), list):
        return " | ".join(json.dumps(each, ensure_ascii=False) for each in cast("list[Any]", choices)) or "any"
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if isinstance(several := schema.get("anyOf", schema.get("oneOf")), list):
        return " | ".join(_value(each, root, depth) for each in cast("list[Any]", several)) or "any"
    return " | ".join(_named(name, schema, root, depth) for name in types_of(schema)) or ("any" if "properties" not in schema else _object(schema, root, depth))


def _named(name: str, schema: dict[str, Any], root: Mapping[str, Any], depth: int) -> str:
    match name:
        case "object" if schema.get("properties"):
            return _object(schema, root, depth)
        case "array":
            return f"[{_value(schema.get('items', {}), root, depth)}]"
        case "string" if isinstance(schema.get("format"), str):
            return str(schema["format"])
        case _:
            return name
