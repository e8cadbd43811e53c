"""The Engines port without a model: says what a test told it to say, word by word. A word counts as a token."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from offline_assistants.errors import ContextOverflow, ModelNotFound, OfflineAssistantsError, RequestError
from offline_assistants.ports import (
    Chat,
    Delta,
    Finished,
    LoadedModel,
    ModelInfo,
    RawPrompt,
    SamplingParams,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
)

_WORD = re.compile(r"\s*\S+|\s+$")
_WAIT_STEP_S = 0.005
NUM_VOCAB = 50_000
"""Ids of tokens that a prompt or a bias may name. Token 7 is the word "w7"."""


@dataclass(frozen=True, slots=True)
class _Say:
    text: str


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class _Fail:
    error: OfflineAssistantsError


@dataclass(frozen=True, slots=True)
class _Wait:
    pass


@dataclass(slots=True)
class Turn:
    """What one generation does, in order. `engine.will_say("Let me look.").then_call("f", "{}").then_call("g", "{}")` is one turn."""

    acts: list[_Say | _Call | _Fail | _Wait] = field(default_factory=list[_Say | _Call | _Fail | _Wait])

    def then_say(self, text: str) -> Turn:
        """Text, in pieces of one word."""
        self.acts.append(_Say(text))
        return self

    def then_call(self, name: str, arguments: str) -> Turn:
        """A tool call, its arguments in pieces of one word."""
        self.acts.append(_Call(name, arguments))
        return self

    def then_fail(self, error: OfflineAssistantsError) -> Turn:
        """Raises the error in the middle of the stream."""
        self.acts.append(_Fail(error))
        return self

    def then_wait(self) -> Turn:
        """Says nothing more until the generation is closed, or the engine is told to `release`."""
        self.acts.append(_Wait())
        return self


class ScriptedEngine:
    """Turns are used up in the order in which they were scripted, whichever model is asked; with none left, the answer repeats the last message."""

    def __init__(self, *models: str, context_tokens: int = 8192, picture_tokens: int | None = None, word_delay_s: float = 0.0) -> None:
        """`models`: the ids that a request may name; one called "scripted" when none is given. `picture_tokens`: they see, and a picture takes so many.
        `word_delay_s` passes before each word."""
        self.models = models or ("scripted",)
        self.context_tokens = context_tokens
        self.picture_tokens = picture_tokens
        self.word_delay_s = word_delay_s
        self.chats: list[Chat] = []
        """Every chat that was generated from, in order."""
        self.raw_prompts: list[RawPrompt] = []
        """Every raw prompt, in order."""
        self.samplings: list[SamplingParams] = []
        """How each of both was to be sampled, in order. Only `max_tokens`, `stop` and `top_logprobs` have an effect."""
        self.counted_texts: list[str] = []
        """Every text whose tokens were asked for, in order."""
        self.num_cancelled = 0
        """Generations that were closed before they had ended."""
        self.takes_reasoning_effort = False
        """Whether its models say that they do."""
        self._turns: deque[Turn] = deque()
        self._is_released = False

    # ── The script ───────────────────────────────────────────────────────────────────────────────────────────────────

    def will_say(self, text: str) -> Turn:
        return self._add().then_say(text)

    def will_call(self, name: str, arguments: str) -> Turn:
        return self._add().then_call(name, arguments)

    def will_fail(self, error: OfflineAssistantsError) -> Turn:
        return self._add().then_fail(error)

    def will_wait(self) -> Turn:
        return self._add().then_wait()

    def release(self) -> None:
        """Ends all waiting, now and later. May be called from any thread."""
        self._is_released = True

    def _add(self) -> Turn:
        turn = Turn()
        self._turns.append(turn)
        return turn

    # ── The port ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def generate(self, model: str, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        num_prompt_tokens = await self.measure(model, prompt)
        if num_prompt_tokens >= self.context_tokens:
            raise ContextOverflow(f"The prompt has {num_prompt_tokens} tokens, and the model's context holds {self.context_tokens}.")
        _check_tokens([token for token, _ in sampling.logit_bias], param="logit_bias")
        turn = self._begin(prompt, sampling)
        room = self.context_tokens - num_prompt_tokens
        limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        performance = _Performance(sampling.stop, limit, sampling.top_logprobs)
        is_whole = False
        try:
            if isinstance(prompt, RawPrompt) and prompt.echo:
                yield TextDelta(_text(prompt))
            for act in turn.acts:
                async for delta in self._perform(act, performance):
                    yield delta
            is_whole = True
            yield Finished(performance.finish_reason, num_prompt_tokens, performance.num_tokens, num_cached_tokens=0)
        finally:
            self.num_cancelled += not is_whole

    def _begin(self, prompt: Chat | RawPrompt, sampling: SamplingParams) -> Turn:
        self.samplings.append(sampling)
        if isinstance(prompt, Chat):
            self.chats.append(prompt)
            last = prompt.messages[-1].content if prompt.messages else ""
        else:
            self.raw_prompts.append(prompt)
            last = _text(prompt)
        return self._turns.popleft() if self._turns else Turn().then_say(last)

    async def count_tokens(self, model: str, texts: Sequence[str]) -> list[int]:
        self._check(model)
        self.counted_texts += texts
        return [len(text.split()) for text in texts]

    async def measure(self, model: str, prompt: Chat | RawPrompt) -> int:
        self._check(model)
        if isinstance(prompt, RawPrompt):
            return max(1, len(_text(prompt).split()))
        words = sum(len(message.content.split()) + sum(len(call.arguments.split()) for call in message.tool_calls) for message in prompt.messages)
        words += (self.picture_tokens or 0) * sum(len(message.pictures) for message in prompt.messages)
        return words + 2 * len(prompt.messages) + sum(len(tool.description.split()) for tool in prompt.tools) + 1

    async def load(self, model: str) -> ModelInfo:
        self._check(model)
        return self._info(model)

    async def list_models(self) -> list[ModelInfo]:
        return [self._info(model) for model in self.models]

    async def find(self, model: str) -> ModelInfo:
        self._check(model)
        return self._info(model)

    async def list_loaded(self) -> list[LoadedModel]:
        return [LoadedModel(model, process_id=None, memory_bytes=0, num_requests=0, idle_s=0, leaves_in_s=None) for model in self.models]

    async def unload(self, model: str) -> None:
        self._check(model)

    async def remove(self, model: str) -> None:
        self._check(model)
        self.models = tuple(each for each in self.models if each != model)

    def _check(self, model: str) -> None:
        if model not in self.models:
            raise ModelNotFound.named(model, self.models)

    def _info(self, model: str) -> ModelInfo:
        return ModelInfo(
            model,
            created_at=0,
            size_bytes=0,
            is_loaded=True,
            context_tokens=self.context_tokens,
            file_name=f"{model}.gguf",
            takes_reasoning_effort=self.takes_reasoning_effort,
            picture_tokens=self.picture_tokens,
        )

    async def _perform(self, act: _Say | _Call | _Fail | _Wait, performance: _Performance) -> AsyncGenerator[Delta]:
        match act:
            case _Fail(error):
                raise error
            case _Wait():
                # `release` may come from another thread, for which an asyncio.Event is not made.
                while not self._is_released:  # noqa: ASYNC110
                    await asyncio.sleep(_WAIT_STEP_S)
            case _Say(text):
                for word in performance.say(text):
                    await asyncio.sleep(self.word_delay_s)
                    yield TextDelta(word, performance.logprobs(word))
            case _Call(name, arguments):
                for delta in performance.call(name, arguments):
                    await asyncio.sleep(0)
                    yield delta


@dataclass(slots=True)
class _Performance:
    """What a turn has brought so far, and how it ends."""

    stop: tuple[str, ...]
    max_tokens: int
    top_logprobs: int | None
    num_tokens: int = 0
    num_calls: int = 0
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    is_over: bool = False

    def say(self, text: str) -> list[str]:
        """The words of the text up to a stop string or the limit."""
        ends = [place for stop in self.stop if (place := text.find(stop)) >= 0]
        words = self._take(text[: min(ends)] if ends else text)
        self.is_over = self.is_over or bool(ends)
        return words

    def logprobs(self, word: str) -> tuple[TokenLogprob, ...]:
        """Each word was likely, and the others in its place are made up."""
        if self.top_logprobs is None:
            return ()
        others = ((f" other{number}".encode(), -2.0 - number) for number in itertools.count())
        likeliest = itertools.chain([(word.encode(), -0.25)], others)
        return (TokenLogprob(word.encode(), -0.25, tuple(itertools.islice(likeliest, self.top_logprobs))),)

    def call(self, name: str, arguments: str) -> list[Delta]:
        if self.is_over:
            return []
        index, self.num_calls, self.finish_reason = self.num_calls, self.num_calls + 1, "tool_calls"
        return [ToolCallStarted(index, name), *(ToolCallDelta(index, word) for word in self._take(arguments))]

    def _take(self, text: str) -> list[str]:
        if self.is_over:
            return []
        words: list[str] = _WORD.findall(text)
        room = self.max_tokens - self.num_tokens
        if len(words) > room:
            self.is_over, self.finish_reason = True, "length"
        self.num_tokens += min(len(words), room)
        return words[:room]


def _text(prompt: RawPrompt) -> str:
    if isinstance(prompt.text, str):
        return prompt.text
    _check_tokens(prompt.text, param="prompt")
    return " ".join(f"w{token}" for token in prompt.text)


def _check_tokens(tokens: Sequence[int], *, param: str) -> None:
    for token in tokens:
        if not 0 <= token < NUM_VOCAB:
            raise RequestError(f"Invalid '{param}': the model has no token {token}; its tokens are 0 to {NUM_VOCAB - 1}.", param=param)
