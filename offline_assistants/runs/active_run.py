"""A run while it is active: saves every change of it, of its steps and of its messages, and announces each after it was saved.

Knows nothing of engines or tools. Everything that changes a run goes through one lock, so a cancel that arrives while a step is being saved waits its turn.
Everything that it saves is fenced: only while the thread is the run's, and the run this writer's, does the store take it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from offline_assistants.domain import run_state
from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import (
    FunctionCall,
    LastError,
    Message,
    MessageCreation,
    MessageCreationDetails,
    MessageIncompleteDetails,
    MessageIncompleteReason,
    Run,
    RunStatus,
    RunStep,
    StepDetails,
    ToolCall,
    ToolCallsDetails,
    Truncation,
    Usage,
)
from offline_assistants.domain.run_state import RunEvent, ToolOutputsSubmitted
from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.runs.event_stream import EventStream
from offline_assistants.store.changes import Change, Close, Committed, Exists, Holds, Put, PutAlways, Unlock
from offline_assistants.store.duckdb_store import DuckDBStore

_TERMINAL = frozenset(status for status, arrows in run_state.TRANSITIONS.items() if not arrows)
_WHY_INCOMPLETE: dict[str, MessageIncompleteReason] = {
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "failed": "run_failed",
    "incomplete": "max_tokens",
}


class StaleRun(run_state.IllegalTransition):
    """The run is no longer there: its thread was deleted."""


P = ParamSpec("P")
R = TypeVar("R")


def _uninterrupted(change: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Awaitable[R]]:
    """A change, once begun, is carried to its end before a cancellation is felt: the store and this object never part ways."""

    @functools.wraps(change)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        task = asyncio.ensure_future(change(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # looked at; what matters now is the cancellation
            raise

    return wrapper


class ActiveRun:
    """One run, its stream, and the step and message that are open, if any."""

    def __init__(self, run: Run, *, store: DuckDBStore, ids: Ids, now: Clock, usage: Usage | None = None, epoch: int = 0) -> None:
        self.run = run
        self.epoch = epoch
        """Which of the run's writers this is."""
        self.stream = EventStream()
        self.usage = usage or Usage()
        self.open_usage = Usage()
        """Of the generation that the open step belongs to."""
        self.truncation: Truncation | None = None
        """What the model does not read in this round."""
        self.step: RunStep | None = None
        self.message: Message | None = None
        self.call_drafts: dict[int, Callable[[], ToolCall]] = {}
        """By its index in the open step, what a tool call that is being carried out has brought by now."""
        self._draft: Callable[[], dict[str, Any]] = dict
        self._store = store
        self._ids = ids
        self._now = now
        self._lock = asyncio.Lock()

    @property
    def is_over(self) -> bool:
        return self.run.status in _TERMINAL

    async def _save(self, *changes: Change[Any]) -> Committed:
        """All or nothing. Raises StaleRun, in which case nothing is kept."""
        run = self.run
        return await self._store.commit(changes, require=[Holds(run.thread_id, run.id, self.epoch, StaleRun())])

    async def _save_closed(self, closing: Sequence[StreamEvent], *changes: Change[Any]) -> list[StreamEvent]:
        """With the messages and steps that these events close. Returns the events as they are true of what was kept."""
        closes = [Close(event.data) if isinstance(event.data, Message | RunStep) else None for event in closing]
        committed = await self._save(*(close for close in closes if close is not None), *changes)
        return [event if close is None else StreamEvent(event.event, committed[close]) for event, close in zip(closing, closes, strict=True)]

    @_uninterrupted
    async def tell(self, event: RunEvent, *, only_from: Collection[RunStatus] | None = None) -> Run:
        """Take `event`: save the run, with what it closes and unlocks, in one transaction; then announce. Raises IllegalTransition.

        `only_from` narrows the states that may take it, and is looked at when it is this change's turn.
        """
        async with self._lock:
            if only_from is not None and self.run.status not in only_from:
                raise run_state.IllegalTransition(f"run {self.run.id} is {self.run.status} by now")
            return await self._tell(event, [])

    async def _tell(self, event: RunEvent, before: list[StreamEvent]) -> Run:
        """With `before`, what is closed in the same transaction."""
        run, announcement = run_state.apply(self.run, event, self._now())
        is_over = run.status in _TERMINAL
        closing = before + (self._close_what_is_open(run) if is_over and not before else [])
        closing = await self._save_closed(closing, PutAlways(run), *([Unlock(run.thread_id)] if is_over else []))
        self.run = run
        self.stream.publish(*closing, announcement)
        if is_over:
            self.step = self.message = None
            self.stream.close()
        return run

    @_uninterrupted
    async def take_outputs(self, outputs: dict[str, str]) -> Run:
        """The client's results, by call id: the open step is complete and the run queued again, in one transaction. Raises IllegalTransition."""
        async with self._lock:
            run, announcement = run_state.apply(self.run, ToolOutputsSubmitted(), self._now())
            step = self._open_step()
            calls = step.step_details.tool_calls if isinstance(step.step_details, ToolCallsDetails) else []
            details = ToolCallsDetails(tool_calls=[_answered(call, outputs) for call in calls])
            step = self._completed_step({"step_details": details})
            closing = await self._save_closed([StreamEvent("thread.run.step.completed", step)], PutAlways(run))
            self.run, self.step = run, None
            self.stream.publish(*closing, announcement)
            return run

    @_uninterrupted
    async def set_metadata(self, metadata: dict[str, str]) -> Run:
        """Not a change of state, so nothing is announced."""
        async with self._lock:
            run = self.run.model_copy(update={"metadata": metadata})
            await self._store.commit([Put(run)], require=[Exists(Run, run.id)])  # not fenced: it is allowed when the run is over, too
            self.run = run
            return run

    def _close_what_is_open(self, run: Run) -> list[StreamEvent]:
        """A run that ends takes its open message and step with it. A step that ran into a token limit is complete; its message is not."""
        now, closing = self._now(), list[StreamEvent]()
        if self.message is not None:
            details = MessageIncompleteDetails(reason=_WHY_INCOMPLETE.get(run.status, "run_failed"))
            message = self.message.model_copy(update={**self._draft(), "status": "incomplete", "incomplete_at": now, "incomplete_details": details})
            closing.append(StreamEvent("thread.message.incomplete", message))
        if self.step is not None:
            status: Literal["completed", "failed", "cancelled", "expired"]
            match run.status:
                case "failed" | "cancelled" | "expired":
                    status = run.status
                case _:
                    status = "completed"
            error = LastError(code=run.last_error.code, message=run.last_error.message) if run.last_error else None
            usage = self.step.usage or self.open_usage
            fields = {"status": status, f"{status}_at": now, "last_error": error, "usage": usage, "step_details": self._details_by_now(self.step)}
            step = self.step.model_copy(update=fields)
            closing.append(StreamEvent(f"thread.run.step.{status}", step))
        return closing

    def _details_by_now(self, step: RunStep) -> StepDetails:
        if not isinstance(step.step_details, ToolCallsDetails):
            return step.step_details
        calls = [self.call_drafts[index]() if index in self.call_drafts else call for index, call in enumerate(step.step_details.tool_calls)]
        return ToolCallsDetails(tool_calls=calls)

    @_uninterrupted
    async def open_message(self, draft: Callable[[], dict[str, Any]]) -> Message:
        """Begin a message and the step that creates it; `draft` tells its fields as they are by now, should the run end before the message does."""
        now = self._now()
        message = Message(
            id=self._ids.new("msg_"),
            created_at=now,
            thread_id=self.run.thread_id,
            assistant_id=self.run.assistant_id,
            run_id=self.run.id,
            role="assistant",
            status="in_progress",
        )
        step = self._new_step(MessageCreationDetails(message_creation=MessageCreation(message_id=message.id)))
        async with self._lock:
            self._check_is_active()
            await self._save(Put(step), Put(message))
            self.step, self.message, self._draft = step, message, draft
            for event in ("thread.run.step.created", "thread.run.step.in_progress"):
                self.stream.publish(StreamEvent(event, step))
            for event in ("thread.message.created", "thread.message.in_progress"):
                self.stream.publish(StreamEvent(event, message))
        return message

    @_uninterrupted
    async def close_message(self, fields: dict[str, Any], usage: Usage, ending: RunEvent | None = None) -> None:
        """The open message is whole, with `fields` as its content and attachments: save it with its step, and with the run when it is `ending` thereby."""
        async with self._lock:
            if self.message is None:
                raise run_state.IllegalTransition(f"run {self.run.id} has no open message")
            message = self.message.model_copy(update={**fields, "status": "completed", "completed_at": self._now()})
            step = self._completed_step({"usage": usage})
            closing = [StreamEvent("thread.message.completed", message), StreamEvent("thread.run.step.completed", step)]
            if ending is not None:
                await self._tell(ending, closing)
            else:
                closing = await self._save_closed(closing)
                self.step = self.message = None
                self.stream.publish(*closing)

    @_uninterrupted
    async def open_tool_calls(self) -> RunStep:
        """Begin a step that calls tools."""
        step = self._new_step(ToolCallsDetails())
        async with self._lock:
            self._check_is_active()
            await self._save(Put(step))
            self.step = step
            self.stream.publish(StreamEvent("thread.run.step.created", step), StreamEvent("thread.run.step.in_progress", step))
        return step

    @_uninterrupted
    async def save_tool_calls(self, tool_calls: list[ToolCall], usage: Usage) -> None:
        """What the open step has called so far, and what came back."""
        async with self._lock:
            step = self._open_step().model_copy(update={"step_details": ToolCallsDetails(tool_calls=tool_calls), "usage": usage})
            await self._save(Put(step))
            self.step, self.call_drafts = step, {}

    @_uninterrupted
    async def close_tool_calls(self, tool_calls: list[ToolCall], usage: Usage) -> None:
        """Every call of the open step has its result."""
        async with self._lock:
            step = self._completed_step({"step_details": ToolCallsDetails(tool_calls=tool_calls), "usage": usage})
            closing = await self._save_closed([StreamEvent("thread.run.step.completed", step)])
            self.step = None
            self.stream.publish(*closing)

    def _completed_step(self, fields: dict[str, Any]) -> RunStep:
        return self._open_step().model_copy(update={**fields, "status": "completed", "completed_at": self._now()})

    def _check_is_active(self) -> None:
        if self.is_over:
            raise run_state.IllegalTransition(f"run {self.run.id} is over")

    def _open_step(self) -> RunStep:
        if self.step is None:
            raise run_state.IllegalTransition(f"run {self.run.id} has no open step")
        return self.step

    def _new_step(self, details: StepDetails) -> RunStep:
        return RunStep(
            id=self._ids.new("step_"),
            created_at=self._now(),
            run_id=self.run.id,
            assistant_id=self.run.assistant_id,
            thread_id=self.run.thread_id,
            type=details.type,
            expires_at=self.run.expires_at,
            step_details=details,
            truncation=self.truncation,
        )


def _answered(call: ToolCall, outputs: dict[str, str]) -> ToolCall:
    if not isinstance(call, FunctionCall):
        return call
    return call.model_copy(update={"function": call.function.model_copy(update={"output": outputs[call.id]})})
