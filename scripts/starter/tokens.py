"""Conversations as the engine would read them: its own chat format makes the text, the model's own tokenizer the tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from offline_assistants.engine.chat_formats.compact_tools import compact_section
from offline_assistants.engine.chat_formats.generic import GenericFormat
from offline_assistants.engine.chat_formats.template import ChatTemplate
from offline_assistants.engine.chat_formats.tool_syntax import render_call
from offline_assistants.ports import Chat, ChatMessage, ChatToolCall, ToolSpec

END = "<|im_end|>"


class Tokens:
    """The base model's vocabulary with the chat format that is learned."""

    def __init__(self, model: Path) -> None:
        self._llama: Any = llama_cpp.Llama(str(model), vocab_only=True, verbose=False)
        template = self._llama.metadata["tokenizer.chat_template"]
        spoken = ChatTemplate(template, bos_token="", eos_token=END, control_tokens=(END, "<|im_start|>"), strftime=lambda form: form)
        self.format = GenericFormat(spoken, name="compact", tools_told=compact_section)

    def of(self, conversation: dict[str, Any]) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        """The tokens of a conversation of the data, shape (n,), and which of them are learned: what the assistant writes, with its end."""
        tools = tuple(ToolSpec(**tool) for tool in conversation["tools"])
        messages = tuple(_message(each) for each in conversation["messages"])
        tokens: list[int] = []
        is_learned: list[bool] = []
        written = ""
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt = self.format.render(Chat(messages[:i], tools))
            if not prompt.startswith(written):
                raise ValueError("a turn is not rendered as it was written")
            said = message.content + "\n".join(render_call(call, tools) for call in message.tool_calls)
            is_cut = i in conversation["cut"]
            self._add(tokens, is_learned, prompt[len(written) :], learned=False)
            self._add(tokens, is_learned, said if is_cut else said + END, learned=i not in conversation["untrained"])
            written = prompt + said + END
            if is_cut:
                break
        return np.array(tokens, dtype=np.uint16), np.array(is_learned, dtype=np.bool_)

    def _add(self, tokens: list[int], is_learned: list[bool], text: str, *, learned: bool) -> None:
        new = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        tokens += new
        is_learned += [learned] * len(new)


def _message(message: dict[str, Any]) -> ChatMessage:
    calls = tuple(ChatToolCall(*call) for call in message.get("calls", ()))
    return ChatMessage(message["role"], message["content"], calls, tool_call_id=message.get("call_id"))
