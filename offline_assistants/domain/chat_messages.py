"""What a client sends as the messages of a chat, and the tools and choices that go with them. Knows nothing of models or HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from offline_assistants.domain.objects import FunctionDefinition, FunctionName, FunctionTool, ImageUrlPart, NamedFunction, Shape

# ── Parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class ChatText(Shape):
    type: Literal["text"] = "text"
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Without effect: prefixes are found again by their tokens."""


class ChatRefusal(Shape):
    type: Literal["refusal"] = "refusal"
    refusal: str


class ChatImage(ImageUrlPart):
    prompt_cache_breakpoint: dict[str, Any] | None = None


Texts = str | Annotated[list[ChatText], Field(min_length=1)]
UserContent = str | Annotated[list[Annotated[ChatText | ChatImage, Field(discriminator="type")]], Field(min_length=1)]
AssistantContent = str | Annotated[list[Annotated[ChatText | ChatRefusal, Field(discriminator="type")]], Field(min_length=1)]

# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class CalledFunction(Shape):
    name: str
    arguments: str


class ChatToolCallIn(Shape):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class DeveloperMessage(Shape):
    role: Literal["developer"]
    content: Texts
    name: str | None = None


class SystemMessage(Shape):
    role: Literal["system"]
    content: Texts
    name: str | None = None


class UserMessage(Shape):
    role: Literal["user"]
    content: UserContent
    name: str | None = None


class AssistantMessage(Shape):
    """Also one that this server answered with, sent back as it came."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    name: str | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: None = None
    tool_calls: list[ChatToolCallIn] | None = None
    function_call: CalledFunction | None = None


class ToolMessage(Shape):
    role: Literal["tool"]
    content: Texts
    tool_call_id: str
    name: str | None = None


class FunctionMessage(Shape):
    role: Literal["function"]
    content: str | None
    name: str


ChatMessageIn = Annotated[DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")]

# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class NamedChoice(Shape):
    type: Literal["function"]
    function: NamedFunction


class NamedTool(Shape):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Shape):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1)]


class AllowedChoice(Shape):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ChatToolChoice = Literal["none", "auto", "required"] | Annotated[NamedChoice | AllowedChoice, Field(discriminator="type")]
ChatTools = Annotated[list[FunctionTool], Field(max_length=128)]
Functions = Annotated[list[FunctionDefinition], Field(min_length=1, max_length=128)]


class FunctionCallChoice(Shape):
    name: FunctionName
