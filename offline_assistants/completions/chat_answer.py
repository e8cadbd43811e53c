"""A chat completion while it is being made: deltas in, chunks out, and the whole of it at the end. Knows nothing of HTTP or the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from offline_assistants.completions.generations import Said
from offline_assistants.completions.usage import usage_of
from offline_assistants.domain.chat_completions import (
    AnswerMessage,
    ChatChoice,
    ChoiceLogprobs,
    ChosenToken,
    CompletionUsage,
    FinishReason,
    FunctionCalled,
    LikelyToken,
    MessageToolCall,
)
from offline_assistants.ports import Delta, Finished, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta, ToolCallStarted


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What stays the same over all chunks, and how the answer is written."""

    head: dict[str, Any]
    """id, created, model and so on, of every chunk."""
    with_logprobs: bool
    with_usage: bool
    is_legacy: bool
    """Calls are told as `function_call` instead of `tool_calls`."""


@dataclass(slots=True)
class _Choice:
    index: int
    text: str = ""
    reasoning: str = ""
    calls: list[_Call] = field(default_factory=lambda: list[_Call]())
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finished: Finished | None = None
    has_begun: bool = False


@dataclass(slots=True)
class _Call:
    call_id: str
    name: str
    arguments: str = ""


class ChatAnswer:
    def __init__(self, form: AnswerForm, *, num_choices: int, new_call_id: Callable[[], str]) -> None:
        self._form = form
        self._new_call_id = new_call_id
        self._choices = [_Choice(index) for index in range(num_choices)]

    # ── In pieces ────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, batch: Sequence[Said]) -> list[dict[str, Any]]:
        """The chunks that tell what has come."""
        return [chunk for number, delta in batch for chunk in self._chunks(self._choices[number], delta)]

    def last_chunk(self) -> dict[str, Any] | None:
        """The usage, if it was asked for; behind all others."""
        return {**self._form.head, "choices": [], "usage": self.usage.model_dump()} if self._form.with_usage else None

    def _chunks(self, choice: _Choice, delta: Delta) -> list[dict[str, Any]]:
        opening: list[dict[str, Any]] = []
        start: dict[str, Any] = {}
        if not choice.has_begun:
            choice.has_begun = True
            if isinstance(delta, ToolCallStarted):
                start = {"role": "assistant", "content": None, "refusal": None}
            else:
                opening = [self._chunk(choice, {"role": "assistant", "content": "", "refusal": None})]
        match delta:
            case TextDelta(text, logprobs):
                choice.text += text
                choice.logprobs += logprobs
                return [*opening, self._chunk(choice, {"content": text}, logprobs=logprobs)]
            case ReasoningDelta(text):
                choice.reasoning += text
                return [*opening, self._chunk(choice, {"reasoning_content": text})]
            case ToolCallStarted(index, name):
                call = _Call(self._new_call_id(), name)
                choice.calls.append(call)
                return [self._chunk(choice, start | self._call_started(index, call))]
            case ToolCallDelta(index, fragment):
                choice.calls[index].arguments += fragment
                return [self._chunk(choice, self._call_goes_on(index, fragment))]
            case Finished():
                choice.finished = delta
                return [*opening, self._chunk(choice, {}, finish_reason=self._finish_reason(choice, delta))]

    def _call_started(self, index: int, call: _Call) -> dict[str, Any]:
        if self._form.is_legacy:
            return {"function_call": {"name": call.name, "arguments": ""}}
        return {"tool_calls": [{"index": index, "id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": ""}}]}

    def _call_goes_on(self, index: int, fragment: str) -> dict[str, Any]:
        if self._form.is_legacy:
            return {"function_call": {"arguments": fragment}}
        return {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}

    def _chunk(
        self, choice: _Choice, delta: dict[str, Any], *, logprobs: Sequence[TokenLogprob] = (), finish_reason: FinishReason | None = None
    ) -> dict[str, Any]:
        shown = _logprobs(logprobs).model_dump() if logprobs else None
        usage = {"usage": None} if self._form.with_usage else {}
        return {**self._form.head, "choices": [{"index": choice.index, "delta": delta, "logprobs": shown, "finish_reason": finish_reason}], **usage}

    # ── As a whole ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def usage(self) -> CompletionUsage:
        return usage_of([[choice.finished for choice in self._choices if choice.finished]])

    def choices(self) -> list[ChatChoice]:
        """Of an answer that has come to its end."""
        return [self._whole(choice, choice.finished) for choice in self._choices if choice.finished]

    def _whole(self, choice: _Choice, finished: Finished) -> ChatChoice:
        called = [FunctionCalled(name=call.name, arguments=call.arguments) for call in choice.calls]
        calls = [MessageToolCall(id=call.call_id, function=function) for call, function in zip(choice.calls, called, strict=True)]
        return ChatChoice(
            index=choice.index,
            message=AnswerMessage(
                content=choice.text if choice.text or not choice.calls else None,
                reasoning_content=choice.reasoning or None,
                tool_calls=calls if calls and not self._form.is_legacy else None,
                function_call=called[0] if called and self._form.is_legacy else None,
            ),
            logprobs=_logprobs(choice.logprobs) if self._form.with_logprobs else None,
            finish_reason=self._finish_reason(choice, finished),
        )

    def _finish_reason(self, choice: _Choice, finished: Finished) -> FinishReason:
        return "function_call" if self._form.is_legacy and finished.finish_reason == "tool_calls" else finished.finish_reason


def _logprobs(logprobs: Sequence[TokenLogprob]) -> ChoiceLogprobs:
    return ChoiceLogprobs(content=[_token(each) for each in logprobs])


def _token(each: TokenLogprob) -> ChosenToken:
    top = [LikelyToken(token=_shown(name), logprob=value, bytes=list(name)) for name, value in each.top]
    return ChosenToken(token=_shown(each.token), logprob=each.logprob, bytes=list(each.token), top_logprobs=top)


def _shown(token: bytes) -> str:
    return token.decode("utf-8", "replace")
