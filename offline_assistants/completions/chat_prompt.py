"""From the messages and tools that a client sent to the chat that a model answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from offline_assistants.domain.chat_messages import (
    AllowedChoice,
    AssistantMessage,
    ChatImage,
    ChatMessageIn,
    ChatRefusal,
    ChatText,
    ChatToolChoice,
    FunctionCallChoice,
    FunctionMessage,
    NamedChoice,
    ToolMessage,
    UserMessage,
)
from offline_assistants.domain.objects import FunctionDefinition
from offline_assistants.errors import RequestError
from offline_assistants.ports import ChatMessage, ChatToolCall, Picture, ToolSpec


def chat_messages(messages: Sequence[ChatMessageIn]) -> tuple[ChatMessage, ...]:
    """Pictures are named, not read. Raises RequestError, naming the message, for calls and results that do not belong together."""
    read: list[ChatMessage] = []
    open_calls: list[str] = []
    for i, message in enumerate(messages):
        if not isinstance(message, ToolMessage | FunctionMessage):
            _check_answered(open_calls, i)
        chat_message = _chat_message(message, i, open_calls)
        read.append(chat_message)
        if isinstance(message, ToolMessage | FunctionMessage):
            open_calls.remove(chat_message.tool_call_id or "")
        else:
            open_calls = [call.call_id for call in chat_message.tool_calls]
    _check_answered(open_calls, len(messages))
    return tuple(read)


def _check_answered(open_calls: Sequence[str], i: int) -> None:
    if open_calls:
        raise RequestError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            param=f"messages.[{i}].role",
        )


def _chat_message(message: ChatMessageIn, i: int, open_calls: Sequence[str]) -> ChatMessage:
    match message:
        case ToolMessage():
            if message.tool_call_id not in open_calls:
                raise _stray_result("tool", "tool_calls", i)
            return ChatMessage("tool", _text(message.content), tool_call_id=message.tool_call_id)
        case FunctionMessage():
            if not open_calls:
                raise _stray_result("function", "function_call", i)
            return ChatMessage("tool", message.content or "", tool_call_id=open_calls[0])
        case AssistantMessage():
            text = _text(message.content) if message.content is not None else message.refusal or ""
            return ChatMessage("assistant", text, tool_calls=_calls(message, i))
        case UserMessage():
            return _asked(message)
        case _:
            return ChatMessage("system", _text(message.content))


def _asked(message: UserMessage) -> ChatMessage:
    if isinstance(message.content, str):
        return ChatMessage("user", message.content)
    text, pictures = "", list[Picture]()
    for part in message.content:
        if isinstance(part, ChatImage):
            pictures.append(Picture(len(text), source=part.image_url.url))
        else:
            text += "\n" * bool(text) + part.text
    return ChatMessage("user", text, pictures=tuple(pictures))


def _stray_result(role: str, calls: str, i: int) -> RequestError:
    words = f"Invalid parameter: messages with role '{role}' must be a response to a preceeding message with '{calls}'."
    return RequestError(words, param=f"messages.[{i}].role")


def _calls(message: AssistantMessage, i: int) -> tuple[ChatToolCall, ...]:
    calls = [ChatToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    if len({call.call_id for call in calls}) < len(calls):
        raise RequestError("Two calls of one message have the same id.", param=f"messages[{i}].tool_calls")
    if message.function_call:
        calls.append(ChatToolCall(f"function_{i}", message.function_call.name, message.function_call.arguments))
    return tuple(calls)


def _text(content: str | Sequence[ChatText | ChatRefusal]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text if isinstance(part, ChatText) else part.refusal for part in content)


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tool_specs(functions: Sequence[FunctionDefinition], *, param: str) -> tuple[ToolSpec, ...]:
    names = [function.name for function in functions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(f"Invalid '{param}': the function '{twice}' is there twice.", param=param, code="invalid_value")
    return tuple(ToolSpec(function.name, function.description or "", function.parameters or {}) for function in functions)


def chosen_tools(tools: tuple[ToolSpec, ...], choice: ChatToolChoice | None) -> tuple[tuple[ToolSpec, ...], str]:
    """The tools that the model may call, and the engine's word for the choice. Raises RequestError for a choice that names no tool."""
    if choice is None or isinstance(choice, str):
        if not tools and choice == "required":
            raise RequestError("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
        return tools, choice or "auto"
    names = [choice.function.name] if isinstance(choice, NamedChoice) else [tool.function.name for tool in choice.allowed_tools.tools]
    known = {tool.name: tool for tool in tools}
    missing = next((name for name in names if name not in known), None)
    if missing is not None:
        raise RequestError(f"Invalid value: 'tool_choice' names '{missing}', which is not among the tools.", param="tool_choice", code="invalid_value")
    if isinstance(choice, AllowedChoice):
        return tuple(known[name] for name in dict.fromkeys(names)), choice.allowed_tools.mode
    return tools, f"={names[0]}"


def function_choice(choice: str | FunctionCallChoice | None) -> ChatToolChoice | None:
    """The legacy `function_call` as a tool choice."""
    if isinstance(choice, FunctionCallChoice):
        return NamedChoice.model_validate({"type": "function", "function": {"name": choice.name}})
    return "none" if choice == "none" else None


# ── What is kept of them ─────────────────────────────────────────────────────────────────────────────────────────────


def stored_messages(messages: Sequence[ChatMessageIn]) -> list[dict[str, Any]]:
    """The messages as they are listed for a stored chat completion: text as `content`, and parts, where there were any, beside it."""
    return [_stored(message.model_dump(mode="json", exclude_none=True)) for message in messages]


def _stored(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list):
        return {"content": None, "refusal": None, **message, "content_parts": None}
    text = "\n".join(part.get("text", part.get("refusal", "")) for part in cast("list[dict[str, str]]", parts))
    return {"refusal": None, **message, "content": text, "content_parts": parts}
