"""What a client sends as a chat, read as what a model answers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from offline_assistants.completions.chat_prompt import chat_messages, chosen_tools, stored_messages, tool_specs
from offline_assistants.domain.chat_messages import ChatMessageIn, ChatToolChoice
from offline_assistants.domain.objects import FunctionDefinition
from offline_assistants.errors import RequestError

MESSAGES: TypeAdapter[list[ChatMessageIn]] = TypeAdapter(list[ChatMessageIn])
USER = {"role": "user", "content": "Hi"}


def calls(*ids: str) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "done"}


def read(*messages: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(message.role, message.tool_call_id) for message in chat_messages(MESSAGES.validate_python(list(messages)))]


def test_results_may_come_in_any_order():
    assert read(USER, calls("a", "b"), result("b"), result("a")) == [("user", None), ("assistant", None), ("tool", "b"), ("tool", "a")]


@pytest.mark.parametrize(
    "messages",
    [
        (result("a"),),
        (USER, calls("a"), result("b")),
        (USER, calls("a"), result("a"), result("a")),
        (USER, calls("a", "b"), result("a")),
        (USER, calls("a"), USER),
        (USER, calls("a", "a")),
    ],
)
def test_calls_and_results_that_do_not_belong_together_are_refused(messages: tuple[dict[str, Any], ...]):
    with pytest.raises(RequestError) as refused:
        read(*messages)

    assert refused.value.param is not None
    assert refused.value.param.startswith("messages")


def test_only_allowed_tools_are_shown():
    tools = tool_specs([FunctionDefinition(name=name) for name in "abc"], param="tools")
    choice = TypeAdapter(ChatToolChoice).validate_python(
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": name}} for name in "cac"]}}
    )

    allowed, word = chosen_tools(tools, choice)

    assert ([tool.name for tool in allowed], word) == (["c", "a"], "auto")


def test_a_stored_message_keeps_its_parts_beside_its_text():
    [plain, parted] = stored_messages(MESSAGES.validate_python([USER, {"role": "user", "content": [{"type": "text", "text": "a"}]}]))

    assert plain == {"role": "user", "content": "Hi", "refusal": None, "content_parts": None}
    assert (parted["content"], parted["content_parts"]) == ("a", [{"type": "text", "text": "a"}])
