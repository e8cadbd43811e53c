"""One run: prompt -> engine -> tool calls -> again, until done. Knows nothing of HTTP, templates or SQL.

A run always begins from what the store holds, so a first start, the way on after submit_tool_outputs and the way on after a restart are the same path.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from offline_assistants.domain.ids import Ids
from offline_assistants.domain.objects import (
    CodeInterpreterCall,
    CodeInterpreterDetails,
    CompletionTokensDetails,
    FileSearchCall,
    FileSearchDetails,
    FileSearchResult,
    FunctionCall,
    FunctionCallDetails,
    PromptTokenDetails,
    RequiredAction,
    RequiredFunction,
    RequiredToolCall,
    Run,
    SubmitToolOutputs,
    ToolCall,
    Usage,
)
from offline_assistants.domain.prompt import passage_budget
from offline_assistants.domain.run_state import Completed, Failed, Started, TokenLimitReached, ToolOutputsRequired
from offline_assistants.domain.stream_events import arguments_delta, code_delta, tool_call_started
from offline_assistants.errors import ContextOverflow, EngineBusy, OfflineAssistantsError, RequestError
from offline_assistants.file_search.citations import CitationWriter
from offline_assistants.ports import Chat, Delta, Engines, Finished, ReasoningDelta, SamplingParams, TextDelta, ToolCallDelta, ToolCallStarted
from offline_assistants.runs.active_run import ActiveRun, StaleRun
from offline_assistants.runs.history import History
from offline_assistants.runs.message_writer import MessageWriter
from offline_assistants.runs.progress import Progress
from offline_assistants.runs.prompts import TURN_OVERHEAD_TOKENS, Prompt, PromptBuilder, PromptLimitReached, PromptTooLong
from offline_assistants.runs.tool_calls import BuiltinTools, ToolSetting

log = logging.getLogger(__name__)

INDEXING_WAIT_S = 60.0


@dataclass(slots=True)
class Round:
    """What one generation has brought."""

    calls: list[PendingCall] = field(default_factory=lambda: list[PendingCall]())
    usage: Usage = field(default_factory=Usage)
    is_cut: bool = False
    """The token limit came before the end."""


@dataclass(slots=True)
class PendingCall:
    """A tool call that the model has written, or is writing."""

    call_id: str
    name: str
    tool: str
    """code_interpreter, file_search or function."""
    arguments: str = ""


class Runner:
    """Carries a run from queued to its end, or to requires_action."""

    def __init__(self, *, engines: Engines, tools: BuiltinTools, history: History, prompts: PromptBuilder, ids: Ids, max_answer_tokens: int) -> None:
        """`max_answer_tokens`: a model that never comes to an end is cut here."""
        self._engines = engines
        self._tools = tools
        self._history = history
        self._prompts = prompts
        self._ids = ids
        self._max_answer_tokens = max_answer_tokens

    async def run(self, active: ActiveRun) -> None:
        """Until the run is over or waits for its client. Every error ends it as `failed` with its reason; a cancellation and StaleRun escape."""
        try:
            await self._wait_for_indexing(active.run)
            await active.tell(Started())
            while await self._round(active):
                pass
        except StaleRun:
            raise
        except OfflineAssistantsError as error:
            # A cancel may come between two steps; then the next one is refused, and the supervisor ends the run as cancelled.
            if active.run.status != "cancelling":
                await self._fail(active, error)
        except Exception as error:
            log.exception("run %s failed", active.run.id)
            await self._fail(active, OfflineAssistantsError(f"The server failed: {type(error).__name__}. Its log holds the reason."))

    async def _fail(self, active: ActiveRun, error: OfflineAssistantsError) -> None:
        if isinstance(error, EngineBusy):
            code = "rate_limit_exceeded"
        else:
            code = "invalid_prompt" if isinstance(error, RequestError | ContextOverflow) else "server_error"
        if not active.is_over:
            await active.tell(Failed(code=code, message=error.message, usage=active.usage))

    async def _wait_for_indexing(self, run: Run) -> None:
        """A run stays queued up to a minute while its thread's vector store is being indexed; for the assistant's it does not wait."""
        if not any(tool.type == "file_search" for tool in run.tools):
            return
        deadline = time.monotonic() + INDEXING_WAIT_S
        while await self._tools.is_indexing(run) and time.monotonic() < deadline:  # noqa: ASYNC110 the store tells nobody
            await asyncio.sleep(0.2)

    async def _round(self, active: ActiveRun) -> bool:
        """One generation and the tools it calls; whether another one has to follow."""
        progress = Progress.of(await self._history.steps(active.run.id))
        setting = await self._tools.setting(active.run)
        budget = self._completion_budget(active)
        if budget <= 0:
            await active.tell(TokenLimitReached(reason="max_completion_tokens", usage=active.usage))
            return False
        try:
            prompt, this_round = await self._speak(active, progress, setting, budget)
        except PromptLimitReached:
            await active.tell(TokenLimitReached(reason="max_prompt_tokens", usage=active.usage))
            return False
        if this_round.is_cut:
            await active.tell(TokenLimitReached(reason="max_completion_tokens", usage=active.usage))
        if active.is_over:
            return False
        setting = await self._tools.setting(active.run)  # files may have come and gone while the model spoke
        return await self._carry_out(active, this_round, setting, prompt)

    def _completion_budget(self, active: ActiveRun) -> int:
        """Tokens that this round may still decode: the run's limit is over all rounds, the server's is for each."""
        limit = active.run.max_completion_tokens
        return self._max_answer_tokens if limit is None else min(self._max_answer_tokens, limit - active.usage.completion_tokens)

    # ── The generation ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _speak(self, active: ActiveRun, progress: Progress, setting: ToolSetting, max_tokens: int) -> tuple[Prompt, Round]:
        try:
            return await self._try_to_speak(active, progress, setting, max_tokens, spare_share=0.0)
        except PromptTooLong:
            raise
        except ContextOverflow:
            # What a prompt takes is estimated from its parts, and some templates put more around a message than others.
            return await self._try_to_speak(active, progress, setting, max_tokens, spare_share=0.25)

    async def _try_to_speak(self, active: ActiveRun, progress: Progress, setting: ToolSetting, max_tokens: int, *, spare_share: float) -> tuple[Prompt, Round]:
        used = active.usage.prompt_tokens
        prompt = await self._prompts.build(active.run, progress, setting, num_used_tokens=used, spare_share=spare_share)
        active.truncation = prompt.truncation
        return prompt, await self._generate(active, prompt.chat, progress, max_tokens)

    async def _generate(self, active: ActiveRun, chat: Chat, progress: Progress, max_tokens: int) -> Round:
        run = active.run
        sampling = SamplingParams(
            temperature=1.0 if run.temperature is None else run.temperature, top_p=1.0 if run.top_p is None else run.top_p, max_tokens=max_tokens
        )
        citations = await asyncio.to_thread(CitationWriter, progress.passages())  # many passages take a while to prepare
        writer = MessageWriter(active, citations=citations, image_ids=progress.new_image_ids(), files=progress.files(), new_file_ids=progress.new_file_ids())
        this_round, active.open_usage = Round(), Usage()
        async with aclosing(self._engines.generate(run.model, chat, sampling)) as deltas:
            async for delta in deltas:
                await self._take(active, writer, this_round, delta)
        active.usage += this_round.usage
        if not this_round.calls and not this_round.is_cut:
            await writer.close(this_round.usage, Completed(usage=active.usage))
        return this_round

    async def _take(self, active: ActiveRun, writer: MessageWriter, this_round: Round, delta: Delta) -> None:
        match delta:
            case TextDelta(text=text):
                if not this_round.calls:  # what a turn says comes before what it calls
                    await writer.write(text)
            case ToolCallStarted(name=name):
                if writer.is_open:
                    await writer.close(Usage())
                step = active.step or await active.open_tool_calls()
                tool = name if name in ("code_interpreter", "file_search") else "function"
                call = PendingCall(self._ids.new("call_"), name, tool)
                this_round.calls.append(call)
                active.stream.publish(tool_call_started(step, len(this_round.calls) - 1, call.call_id, tool, name))
            case ToolCallDelta(index=index, fragment=fragment):
                call = this_round.calls[index]
                call.arguments += fragment
                if active.step is not None and call.tool != "file_search":
                    event = code_delta if call.tool == "code_interpreter" else arguments_delta
                    active.stream.publish(event(active.step, index, fragment))
            case ReasoningDelta():
                pass  # the API of runs has no place for it but its count
            case Finished():
                this_round.usage = active.open_usage = _usage(delta)
                this_round.is_cut = delta.finish_reason == "length"

    # ── The tools ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _carry_out(self, active: ActiveRun, this_round: Round, setting: ToolSetting, prompt: Prompt) -> bool:
        """The built-in tools at once, side by side; functions are then left to the client. Whether the run goes on by itself."""
        await active.save_tool_calls([_begun(call) for call in this_round.calls], this_round.usage)
        results = await self._side_by_side(active, this_round.calls, setting)
        results = await self._fit_passages(active.run, results, prompt, this_round.usage.completion_tokens)
        functions = [call for call in results if isinstance(call, FunctionCall)]
        if not functions:
            await active.close_tool_calls(results, this_round.usage)
            return True
        await active.save_tool_calls(results, this_round.usage)
        required = [RequiredToolCall(id=call.id, function=RequiredFunction(name=call.function.name, arguments=call.function.arguments)) for call in functions]
        await active.tell(ToolOutputsRequired(RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=required))))
        return False

    async def _side_by_side(self, active: ActiveRun, calls: Sequence[PendingCall], setting: ToolSetting) -> list[ToolCall]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._call(active, index, call, setting)) for index, call in enumerate(calls)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _call(self, active: ActiveRun, index: int, call: PendingCall, setting: ToolSetting) -> ToolCall:
        match call.tool:
            case "code_interpreter":
                return await self._tools.run_code(active, index=index, call_id=call.call_id, code=call.arguments, files=setting.code_files)
            case "file_search":
                return await self._tools.search(active.run, call_id=call.call_id, query=_query(call.arguments), setting=setting)
            case _:
                return _begun(call)

    async def _fit_passages(self, run: Run, calls: list[ToolCall], prompt: Prompt, num_new_tokens: int) -> list[ToolCall]:
        """Searches, cut to what the prompt can hold: the step lists what the model will see, no more."""
        num_searches = sum(isinstance(call, FileSearchCall) for call in calls)
        if not num_searches:
            return calls
        budget = passage_budget(prompt.context_tokens, prompt.required_tokens + num_new_tokens) // num_searches
        return [await self._fit_search(run, call, budget) if isinstance(call, FileSearchCall) else call for call in calls]

    async def _fit_search(self, run: Run, call: FileSearchCall, budget: int) -> FileSearchCall:
        results = call.file_search.results
        counts = await self._engines.count_tokens(run.model, [result.file_name + result.text() for result in results])
        kept: list[FileSearchResult] = []
        for result, count in zip(results, counts, strict=True):
            budget -= count + TURN_OVERHEAD_TOKENS
            if budget < 0:
                break
            kept.append(result)
        if not kept and results:
            # A context smaller than one chunk: the beginning of the best one is better than nothing.
            share = max(0.0, (budget + counts[0]) / max(1, counts[0]))
            kept = [results[0].cut(int(len(results[0].text()) * share))]
        return call.model_copy(update={"file_search": call.file_search.model_copy(update={"results": kept})})


def _usage(finished: Finished) -> Usage:
    return Usage(
        prompt_tokens=finished.num_prompt_tokens,
        completion_tokens=finished.num_completion_tokens,
        total_tokens=finished.num_prompt_tokens + finished.num_completion_tokens,
        prompt_token_details=PromptTokenDetails(cached_tokens=finished.num_cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=finished.num_reasoning_tokens),
    )


def _begun(call: PendingCall) -> ToolCall:
    """The call before it has a result: what a client sees while code runs, and what is kept when the run ends meanwhile."""
    match call.tool:
        case "code_interpreter":
            return CodeInterpreterCall(id=call.call_id, code_interpreter=CodeInterpreterDetails(input=call.arguments))
        case "file_search":
            return FileSearchCall(id=call.call_id, file_search=FileSearchDetails(query=_query(call.arguments)))
        case _:
            return FunctionCall(id=call.call_id, function=FunctionCallDetails(name=call.name, arguments=call.arguments))


def _query(arguments: str) -> str:
    """The query of a file_search call; the grammar has seen to it that it is there."""
    try:
        return str(json.loads(arguments)["query"])
    except (ValueError, KeyError, TypeError):
        return arguments
