"""The chat that a run sends to its model: instructions, tools, and as much of the thread as fits. Knows nothing of streams or states."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from offline_assistants.domain.objects import Run, Truncation
from offline_assistants.domain.prompt import Counted, answer_reserve, fit
from offline_assistants.errors import ContextOverflow, OfflineAssistantsError
from offline_assistants.ports import Chat, ChatMessage, Engines, ModelInfo, ResponseFormat
from offline_assistants.runs.history import History, Turn
from offline_assistants.runs.pictures import PictureReader
from offline_assistants.runs.progress import Progress
from offline_assistants.runs.token_counts import TokenCounts
from offline_assistants.runs.tool_calls import ToolSetting, tool_choice, tool_specs

TURN_OVERHEAD_TOKENS = 8
"""What a template puts around one message, generously."""
SHORTEN_CAREFULLY = 0.9
"""Tokens are not spread evenly over a text."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    max_tool_rounds: int
    max_repeated_calls: int


@dataclass(frozen=True, slots=True)
class Prompt:
    chat: Chat
    context_tokens: int
    required_tokens: int
    """Tokens of instructions, tools, the newest user message and what the run itself has done."""
    truncation: Truncation | None = None
    """What of the thread is not in it."""


class PromptLimitReached(OfflineAssistantsError):
    """The run's max_prompt_tokens is used up."""


class PromptTooLong(ContextOverflow):
    """What must not be dropped is larger than the model's context."""


@dataclass(slots=True)
class _Thread:
    """Turns with their counts, oldest first."""

    turns: list[Turn]
    counted: list[Counted]
    num_own: int = 0
    """Of the turns, the last so many are what the run itself has done."""
    has_opening: bool = False
    """Whether the first of the turns is the thread's."""
    is_whole: bool = False
    """Whether they are all there are."""

    def add_older(self, turns: Sequence[Turn], counts: Sequence[int]) -> None:
        self.turns[:0] = turns
        self.counted[:0] = [Counted(n + TURN_OVERHEAD_TOKENS * len(turn.messages), turn.is_required) for n, turn in zip(counts, turns, strict=True)]

    def required_tokens(self) -> int:
        return sum(turn.num_tokens for turn in self.counted if turn.is_required)

    def all_tokens(self) -> int:
        return sum(turn.num_tokens for turn in self.counted)


class PromptBuilder:
    """Builds the prompt of each round anew from the store."""

    def __init__(self, *, engines: Engines, counts: TokenCounts, history: History, pictures: PictureReader, limits: RunLimits) -> None:
        self._engines = engines
        self._counts = counts
        self._history = history
        self._pictures = pictures
        self._limits = limits

    async def build(self, run: Run, progress: Progress, setting: ToolSetting, *, num_used_tokens: int, spare_share: float = 0.0) -> Prompt:
        """`num_used_tokens`: prompt tokens of the rounds before, which count against the run's limit. `spare_share` of the context stays free.

        Raises PromptLimitReached when the required turns exceed that limit, PromptTooLong when they exceed the context, RequestError for a picture that
        cannot be seen, and what Engines.measure raises.
        """
        model = await self._engines.load(run.model)
        context_tokens = model.context_tokens or 0
        frame = self._frame(run, progress, setting)
        fixed = await self._counts.of_chat(model, frame)
        room = _room(run, context_tokens) - int(context_tokens * spare_share)
        left = room if run.max_prompt_tokens is None else min(room, run.max_prompt_tokens - num_used_tokens)
        thread = await self._read(run, model, left - fixed)
        num_cut = await self._shorten(thread, model, left - fixed)
        kept = fit(thread.counted, left - fixed, has_opening=thread.has_opening)
        required = fixed + thread.required_tokens()
        if kept is None and left < required <= room:
            raise PromptLimitReached
        if kept is None:
            raise PromptTooLong(_what_is_too_long(thread, fixed, room))
        first_own = len(thread.turns) - thread.num_own
        used = fixed + sum(thread.counted[index].num_tokens for index in kept if index >= first_own or thread.counted[index].is_required)
        truncation = await self._truncation(run, thread, kept, num_cut)
        chat = await self._pictures.fill(_with_turns(frame, [thread.turns[index] for index in kept]), model, run.thread_id)
        return Prompt(chat, context_tokens, used, truncation)

    async def _read(self, run: Run, model: ModelInfo, budget: int) -> _Thread:
        """The newest turns, up to what the budget holds and one stretch more; where there are older ones, the thread's opening and what it asks for last."""
        thread = _Thread([], [])
        await self._add(thread, model, await self._history.own(run))
        thread.num_own = len(thread.turns)
        async with aclosing(self._history.backwards(run)) as stretches:
            async for turns in stretches:
                await self._add(thread, model, turns[::-1])
                if thread.all_tokens() > budget:
                    break
            else:
                thread.is_whole = thread.has_opening = run.truncation_strategy.type == "auto"
                return thread
        known = {message_id for turn in thread.turns for message_id in turn.message_ids}
        if not any(turn.is_required and turn.messages[0].role == "user" for turn in thread.turns):
            await self._add_first(thread, model, await self._history.newest_user_message(run), known)
        if run.truncation_strategy.type == "auto":
            opening = await self._history.opening(run)
            thread.has_opening = opening is not None
            await self._add_first(thread, model, opening, known)
        return thread

    async def _add_first(self, thread: _Thread, model: ModelInfo, turn: Turn | None, known: set[str]) -> None:
        if turn is not None and known.isdisjoint(turn.message_ids):
            known.update(turn.message_ids)
            await self._add(thread, model, [turn])

    async def _add(self, thread: _Thread, model: ModelInfo, turns: Sequence[Turn]) -> None:
        counts = await self._counts.of_texts(model, [turn.text() for turn in turns])
        thread.add_older(turns, [count + (model.picture_tokens or 0) * turn.num_pictures for count, turn in zip(counts, turns, strict=True)])

    async def _shorten(self, thread: _Thread, model: ModelInfo, budget: int) -> int:
        """Outputs of code that would fill the prompt lose their middle, and the model reads so. Returns how many characters are left out."""
        over = thread.required_tokens() - budget
        if over <= 0 or budget <= 0 or not thread.turns or not thread.turns[-1].is_required:
            return 0
        turn = thread.turns[-1]
        code_calls = {call.call_id for message in turn.messages for call in message.tool_calls if call.name == "code_interpreter"}
        outputs = [message for message in turn.messages if message.tool_call_id in code_calls]
        num_tokens = sum(await self._counts.of_texts(model, [message.content for message in outputs]))
        share = (num_tokens - over) / num_tokens * SHORTEN_CAREFULLY if num_tokens else 0
        if share <= 0:
            return 0
        short = {message.tool_call_id: shortened(message.content, share) for message in outputs}
        messages = tuple(replace(message, content=short.get(message.tool_call_id, message.content)) for message in turn.messages)
        num_cut = sum(len(message.content) for message in turn.messages) - sum(len(message.content) for message in messages)
        thread.turns.pop()
        thread.counted.pop()
        last = replace(turn, messages=messages)
        [count] = await self._counts.of_texts(model, [last.text()])
        thread.turns.append(last)
        thread.counted.append(Counted(count + TURN_OVERHEAD_TOKENS * len(messages), is_required=True))
        return num_cut

    async def _truncation(self, run: Run, thread: _Thread, kept: Sequence[int], num_cut: int) -> Truncation | None:
        """What the prompt leaves out; None when that is nothing."""
        if thread.is_whole and len(kept) == len(thread.turns) and not num_cut:
            return None
        own = range(len(thread.turns) - thread.num_own, len(thread.turns))
        num_calls = sum(thread.turns[index].num_calls() for index in own if index not in kept)
        # What the run itself said is told with its calls, not as a message of the thread.
        present = {message_id for index in {*kept, *own} for message_id in thread.turns[index].message_ids}
        truncation = await self._history.dropped(run, present)
        if truncation is None and not num_calls and not num_cut:
            return None
        return (truncation or Truncation()).model_copy(update={"num_dropped_tool_calls": num_calls, "num_cut_characters": num_cut})

    def _frame(self, run: Run, progress: Progress, setting: ToolSetting) -> Chat:
        """The prompt without the thread."""
        return Chat(
            messages=(ChatMessage(role="system", content=run.instructions),) if run.instructions else (),
            tools=tool_specs(run, setting),
            tool_choice=self._tool_choice(run, progress),
            parallel_tool_calls=run.parallel_tool_calls,
            response_format=ResponseFormat.asked(run.response_format),
            reasoning_effort=run.reasoning_effort,
        )

    def _tool_choice(self, run: Run, progress: Progress) -> str:
        """A required or named tool binds the first round only. A model that goes round in circles has to answer."""
        if progress.num_rounds == 0:
            return tool_choice(run)
        in_circles = progress.num_rounds >= self._limits.max_tool_rounds or progress.most_repeated() >= self._limits.max_repeated_calls
        return "none" if in_circles or run.tool_choice == "none" else "auto"


def _with_turns(frame: Chat, turns: Sequence[Turn]) -> Chat:
    return replace(frame, messages=frame.messages + tuple(message for turn in turns for message in turn.messages))


def shortened(text: str, share: float) -> str:
    """A text without its middle: the beginning says what it is, the end how it came out."""
    num_kept = int(len(text) * share)
    head, tail = num_kept // 2, num_kept - num_kept // 2
    num_cut = len(text) - num_kept
    return f"{text[:head]}\n[... {num_cut} characters left out ...]\n{text[len(text) - tail :]}" if num_cut > 0 else text


def _what_is_too_long(thread: _Thread, fixed: int, room: int) -> str:
    parts = {"the instructions and tools": fixed, "the newest message": 0, "the newest tool calls with their outputs": 0}
    for turn, counted in zip(thread.turns, thread.counted, strict=True):
        if turn.is_required:
            parts["the newest message" if turn.messages[0].role == "user" else "the newest tool calls with their outputs"] += counted.num_tokens
    longest = max(parts, key=lambda part: parts[part])
    shares = ", ".join(f"{part} take about {num_tokens} tokens" for part, num_tokens in parts.items() if num_tokens)
    return f"The prompt has room for {room} tokens, but {shares}. Shorten {longest}, or serve the model with a larger context (--context-tokens)."


def _room(run: Run, context_tokens: int) -> int:
    """Tokens for the whole prompt: what the answer leaves of the context."""
    return context_tokens - min(answer_reserve(context_tokens), run.max_completion_tokens or context_tokens)
