"""The chat that a run sends to its model: instructions, tools, and as much of the thread as fits. Knows nothing of streams or states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from offline_assistants.domain.objects import JsonObjectFormat, JsonSchemaFormat, Run
from offline_assistants.domain.prompt import Counted, answer_reserve, fit
from offline_assistants.errors import ContextOverflow, OfflineAssistantsError
from offline_assistants.ports import Chat, ChatMessage, Engines, ResponseFormat
from offline_assistants.runs.history import History, Turn
from offline_assistants.runs.progress import Progress
from offline_assistants.runs.tool_calls import ToolSetting, tool_choice, tool_specs

TURN_OVERHEAD_TOKENS = 8
"""What a template puts around one message, generously."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    max_tool_rounds: int
    max_repeated_calls: int


@dataclass(frozen=True, slots=True)
class Prompt:
    chat: Chat
    context_tokens: int
    required_tokens: int
    """Tokens of what can never be dropped: instructions, tools, the newest user message and all that the run has done."""


class PromptLimitReached(OfflineAssistantsError):
    """The run's max_prompt_tokens is used up."""


class PromptBuilder:
    """Builds the prompt of each round anew from the store."""

    def __init__(self, *, engines: Engines, history: History, limits: RunLimits) -> None:
        self._engines = engines
        self._history = history
        self._limits = limits

    async def build(self, run: Run, progress: Progress, setting: ToolSetting, *, num_used_tokens: int) -> Prompt:
        """`num_used_tokens`: prompt tokens of the rounds before, which count against the run's limit.

        Raises PromptLimitReached when the required turns exceed that limit, ContextOverflow when they exceed the context, and what Engines.measure raises.
        """
        model = await self._engines.load(run.model)
        context_tokens = model.context_tokens or 0
        frame = self._frame(run, progress, setting)
        turns = await self._history.turns(run)
        fixed = await self._engines.measure(run.model, frame)
        counts = await self._engines.count_tokens(run.model, [turn.text() for turn in turns])
        counted = [Counted(n + TURN_OVERHEAD_TOKENS * len(turn.messages), turn.is_required) for n, turn in zip(counts, turns, strict=True)]
        required = fixed + sum(turn.num_tokens for turn in counted if turn.is_required)
        room = _room(run, context_tokens)
        left = room if run.max_prompt_tokens is None else min(room, run.max_prompt_tokens - num_used_tokens)
        kept = fit(counted, left - fixed)
        if kept is None and left < required <= room:
            raise PromptLimitReached
        if kept is None:
            raise ContextOverflow(
                f"The instructions, the tools and the newest message take about {required} tokens; the prompt has room for {room}. "
                "Shorten the message, or serve the model with a larger context (--context-tokens)."
            )
        return Prompt(_with_turns(frame, [turns[index] for index in kept]), context_tokens, required)

    def _frame(self, run: Run, progress: Progress, setting: ToolSetting) -> Chat:
        """The prompt without the thread."""
        return Chat(
            messages=(ChatMessage(role="system", content=run.instructions),) if run.instructions else (),
            tools=tool_specs(run, setting),
            tool_choice=self._tool_choice(run, progress),
            parallel_tool_calls=run.parallel_tool_calls,
            response_format=_response_format(run),
        )

    def _tool_choice(self, run: Run, progress: Progress) -> str:
        """A required or named tool binds the first round only. A model that goes round in circles has to answer."""
        if progress.num_rounds == 0:
            return tool_choice(run)
        in_circles = progress.num_rounds >= self._limits.max_tool_rounds or progress.most_repeated() >= self._limits.max_repeated_calls
        return "none" if in_circles or run.tool_choice == "none" else "auto"


def _with_turns(frame: Chat, turns: Sequence[Turn]) -> Chat:
    return replace(frame, messages=frame.messages + tuple(message for turn in turns for message in turn.messages))


def _room(run: Run, context_tokens: int) -> int:
    """Tokens for the whole prompt: what the answer leaves of the context."""
    return context_tokens - min(answer_reserve(context_tokens), run.max_completion_tokens or context_tokens)


def _response_format(run: Run) -> ResponseFormat:
    match run.response_format:
        case JsonObjectFormat():
            return ResponseFormat("json_object")
        case JsonSchemaFormat(json_schema=spec):
            return ResponseFormat("json_schema", spec.json_schema or {})
        case _:
            return ResponseFormat()
