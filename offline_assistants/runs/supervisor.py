"""Starts, cancels, expires and recovers runs: one task per active run. Knows nothing of what a runner does.

A cancel travels by its own path: the run is told, its task is cancelled, and with it whatever it waits for (the engine drops the sequence, the sandbox
interrupts the code). A client that closes its stream changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from offline_assistants.domain import run_state
from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import Message, MessageCreationDetails, Run, RunStatus, RunStep, Thread, Usage
from offline_assistants.domain.run_state import CancelRequested, Failed, IllegalTransition, Requeued, RunEvent, Stopped, TimedOut
from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import NotFound, OfflineAssistantsError, RequestError, RunIsActive, StoreError
from offline_assistants.runs.active_run import ActiveRun, StaleRun
from offline_assistants.runs.runner import Runner
from offline_assistants.store.changes import Change, Delete, Lock, NotLocked, Precondition, Put, TakeOver
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore

log = logging.getLogger(__name__)


class ServerStops(OfflineAssistantsError):
    """The server stops. The run goes on when it is started again; follow it by polling."""

    status = 503


MAX_ATTEMPTS = 3
"""How often a run is begun; one that brings the server down each time must not do so for ever."""
MIN_TIMER_S = 1.0
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0
"""Between attempts to save the end of a run that the store refuses."""
STREAM_KEPT_S = 60.0
"""How long the stream of a finished run can still be replayed."""
CAN_EXPIRE: frozenset[RunStatus] = frozenset({"queued", "requires_action"})
"""Waiting expires; computing does not: one long prompt on a slow processor may outlast any limit."""


class Supervisor:
    """Every active run of this server."""

    def __init__(self, *, store: DuckDBStore, runner: Runner, ids: Ids, now: Clock) -> None:
        self._store = store
        self._runner = runner
        self._ids = ids
        self._now = now
        self._active: dict[str, ActiveRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._expiring: set[asyncio.Task[None]] = set()
        self._is_closing = False

    # ── What clients ask for ─────────────────────────────────────────────────────────────────────────────────────────

    async def create(
        self, run: Run, *, store: ProjectStore, changes: Sequence[Change[Any]], require: Sequence[Precondition] = (), thread: Thread | None = None
    ) -> Run:
        """Save `run` with `changes` (its thread, its messages) in one transaction of its project, and start it. Raises RunIsActive and what `require` raises.

        With `thread` the stream begins with thread.created.
        """
        is_free = NotLocked(run.thread_id, lambda run_id: RunIsActive(f"Thread {run.thread_id} already has an active run {run_id}."))
        await store.commit([*changes, Lock(run.thread_id, run.id), Put(run)], require=[*require, is_free])
        active = self._activate(run)
        if thread is not None:
            active.stream.publish(StreamEvent("thread.created", thread))
        active.stream.publish(StreamEvent("thread.run.created", run), StreamEvent("thread.run.queued", run))
        self._start(active)
        return run

    async def cancel(self, run: Run) -> Run:
        """Ask an active run to stop; answers with the run as `cancelling`. Raises RequestError when it is over."""
        active = self._active.get(run.id)
        try:
            if active is None:
                raise IllegalTransition
            cancelling = await active.tell(CancelRequested())
        except StaleRun:
            raise _gone(run) from None
        except IllegalTransition:
            raise RequestError(f"Cannot cancel run with status '{active.run.status if active else run.status}'.") from None
        task = self._tasks.get(run.id)
        if task is None or task.done():
            self._spawn(active, self._insist(active, Stopped(usage=active.usage)))
        else:
            task.cancel()
        return cancelling

    async def submit_tool_outputs(self, run: Run, outputs: Sequence[tuple[str, str]]) -> tuple[Run, int]:
        """Take the client's results (call id, output); the run is queued again. Answers with the run and where its stream goes on. Raises RequestError."""
        active = self._active.get(run.id)
        if active is None or active.run.required_action is None:
            raise RequestError(f'Runs in status "{active.run.status if active else run.status}" do not accept tool outputs.')
        wanted = [call.id for call in active.run.required_action.submit_tool_outputs.tool_calls]
        got = [call_id for call_id, _ in outputs]
        if sorted(got) != sorted(wanted):
            raise RequestError(f"Expected tool outputs for call_ids {wanted}, got {got}")
        start = len(active.stream)
        try:
            queued = await active.take_outputs(dict(outputs))
        except StaleRun:
            raise _gone(run) from None
        except IllegalTransition:
            raise RequestError(f'Runs in status "{active.run.status}" do not accept tool outputs.') from None
        self._start(active)
        return queued, start

    async def abandon(self, thread_id: str) -> None:
        """The thread was deleted, and its run with it: stop whatever it was waiting for. Returns when it has stopped."""
        lost = [active for active in self._active.values() if active.run.thread_id == thread_id]
        tasks = [task for active in lost if (task := self._tasks.get(active.run.id)) is not None]
        for active in lost:
            self._forget(active, StaleRun())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def set_metadata(self, run: Run, metadata: dict[str, str]) -> Run:
        """The only thing about a run that a client may change; in any state."""
        active = self._active.get(run.id)
        if active is not None:
            return await active.set_metadata(metadata)
        return await self._store.update(Run, run.id, lambda old: old.model_copy(update={"metadata": metadata}))

    def read(self, run_id: str, start: int = 0, *, patience_s: float | None = None) -> AsyncGenerator[Sequence[StreamEvent]]:
        """The run's events from `start` up to where its stream ends, see EventStream.read. Raises NotFound a minute after the run is over."""
        active = self._active.get(run_id)
        if active is None:
            raise NotFound(f"No run found with id '{run_id}'.")
        return active.stream.read(start, patience_s=patience_s)

    # ── Tasks and timers ─────────────────────────────────────────────────────────────────────────────────────────────

    def _activate(self, run: Run, usage: Usage | None = None, epoch: int = 0) -> ActiveRun:
        active = ActiveRun(run, store=self._store, ids=self._ids, now=self._now, usage=usage, epoch=epoch)
        self._active[run.id] = active
        self._set_timer(active)
        return active

    def _start(self, active: ActiveRun) -> None:
        self._spawn(active, self._carry(active))

    def _spawn(self, active: ActiveRun, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=active.run.id)
        self._tasks[active.run.id] = task
        task.add_done_callback(lambda _: self._on_task_done(active))

    async def _carry(self, active: ActiveRun) -> None:
        try:
            await self._runner.run(active)
        except asyncio.CancelledError:
            if active.run.status != "cancelling":
                raise  # the server stops; the run goes on when it is back
        except StaleRun as error:
            self._forget(active, error)
        except StoreError as error:
            # Not even the end of the run could be saved.
            active.stream.close(error)
            await self._insist(active, Failed(code="server_error", message=error.message, usage=active.usage))
        if active.run.status == "cancelling":
            await self._insist(active, Stopped(usage=active.usage))

    async def _insist(self, active: ActiveRun, event: RunEvent, *, only_from: Collection[RunStatus] | None = None) -> None:
        """Tell the run `event` until it has been saved: a run that cannot end would lock its thread for ever."""
        pause_s = FIRST_PAUSE_S
        while not active.is_over:
            try:
                await active.tell(event, only_from=only_from)
            except StaleRun as error:
                self._forget(active, error)
                return
            except IllegalTransition:
                return  # it went another way meanwhile
            except StoreError as error:
                log.error("run %s: %s", active.run.id, error.message)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _on_task_done(self, active: ActiveRun) -> None:
        log.info("run %s of thread %s: %s, %d tokens", active.run.id, active.run.thread_id, active.run.status, active.usage.total_tokens)
        if active.is_over:
            self._tasks.pop(active.run.id, None)
            self._drop_timer(active)
            asyncio.get_running_loop().call_later(STREAM_KEPT_S, self._drop_stream, active)
        elif active.run.status == "cancelling" and self._active.get(active.run.id) is active and not self._is_closing:
            # The cancel met the run while its end could not be saved. It has to stop all the same, or its thread would be locked for ever.
            self._spawn(active, self._insist(active, Stopped(usage=active.usage)))

    def _forget(self, active: ActiveRun, why: StaleRun) -> None:
        """The run is no longer ours; most likely its thread was deleted."""
        self._active.pop(active.run.id, None)
        self._tasks.pop(active.run.id, None)
        self._drop_timer(active)
        active.stream.close(why)

    def _drop_timer(self, active: ActiveRun) -> None:
        if (timer := self._timers.pop(active.run.id, None)) is not None:
            timer.cancel()

    def _drop_stream(self, active: ActiveRun) -> None:
        """Unless another run has come under its id: imports bring ids of their own."""
        if self._active.get(active.run.id) is active:
            del self._active[active.run.id]

    def _set_timer(self, active: ActiveRun) -> None:
        if active.run.expires_at is not None:
            wait_s = max(MIN_TIMER_S, active.run.expires_at - self._now())
            self._timers[active.run.id] = asyncio.get_running_loop().call_later(wait_s, self._on_timer, active)

    def _on_timer(self, active: ActiveRun) -> None:
        """A run that computes just now, or that was given more time to be answered, is looked at again later."""
        expires_at = active.run.expires_at
        if active.run.status in CAN_EXPIRE and expires_at is not None and expires_at <= self._now():
            task = asyncio.create_task(self._expire(active))
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)
        elif not active.is_over:
            self._set_timer(active)

    async def _expire(self, active: ActiveRun) -> None:
        await self._insist(active, TimedOut(usage=active.usage), only_from=CAN_EXPIRE)
        task = self._tasks.get(active.run.id)
        if not active.is_over and active.run.id in self._active:
            self._set_timer(active)
        elif task is not None and not task.done():
            task.cancel()  # it still waits for what the run needs to begin
        else:
            self._on_task_done(active)

    # ── Beginning and end of the server ──────────────────────────────────────────────────────────────────────────────

    async def recover(self) -> None:
        """Take up what was active when the server ended: what waits goes on waiting, what computed begins again after its last whole round."""
        for run in await self._store.active_runs():
            try:
                await self._recover(run)
            except StoreError as error:
                log.error("run %s could not be taken up: %s", run.id, error.message)

    async def _recover(self, run: Run) -> None:
        steps = [step async for step in self._store.list_all(RunStep, parent={"run_id": run.id})]
        take_over = TakeOver(run.thread_id, run.id)
        ends_as = self._ending(run, steps)
        goes_on = ends_as is None and run.status != "requires_action"
        dropped = _after_last_round(steps) if goes_on else [step for step in steps if step.status == "in_progress" and step.type == "message_creation"]
        epoch = (await self._store.commit([take_over, *_drop(dropped)]))[take_over]
        kept = [step for step in steps if step not in dropped]
        usage = sum((step.usage for step in kept if step.usage), Usage())
        active = self._activate(run, usage, epoch)
        active.step = next((step for step in kept if step.status == "in_progress"), None)
        if ends_as is not None:
            self._spawn(active, self._insist(active, ends_as(usage)))
        elif goes_on:
            if run.status == "in_progress":
                await active.tell(Requeued(computed_until=_last_sign(run, steps)))
            self._start(active)

    def _ending(self, run: Run, steps: Sequence[RunStep]) -> Callable[[Usage], RunEvent] | None:
        """How a run ends that is not to go on; None for one that is."""
        if run.status == "cancelling":
            return lambda usage: Stopped(usage=usage)
        until = _last_sign(run, steps) if run.status == "in_progress" else run.started_at or 0
        expires_at = run_state.expiry(run, computed_until=until)
        if expires_at is not None and expires_at <= self._now():
            return lambda usage: TimedOut(usage=usage)
        if run.status == "in_progress" and run.attempt + 1 >= MAX_ATTEMPTS:
            message = f"The server ended {MAX_ATTEMPTS} times while this run was active. Create a new run to try again."
            return lambda usage: Failed(code="server_error", message=message, usage=usage)
        return None

    async def close(self) -> None:
        """The server stops: what computes is interrupted and queued for the next start, readers are told."""
        self._is_closing = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = [*self._tasks.values(), *self._expiring]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for active in self._active.values():
            if active.run.status == "in_progress":
                with suppress(StoreError, IllegalTransition):
                    await active.tell(Requeued(computed_until=self._now(), is_orderly=True))
            if not active.is_over:
                active.stream.close(ServerStops())


def _gone(run: Run) -> NotFound:
    return NotFound(f"No run found with id '{run.id}'.")


def _after_last_round(steps: Sequence[RunStep]) -> list[RunStep]:
    """What the run did after the last round that it finished. Also what it said before calling tools that it never came to call: it will say so again."""
    ends = [index for index, step in enumerate(steps) if step.type == "tool_calls" and step.status == "completed"]
    return list(steps[ends[-1] + 1 if ends else 0 :])


def _drop(steps: Sequence[RunStep]) -> list[Change[Any]]:
    """The steps and the messages that they created."""
    messages = [step.step_details.message_creation.message_id for step in steps if isinstance(step.step_details, MessageCreationDetails)]
    return [*(Delete(RunStep, step.id) for step in steps), *(Delete(Message, message_id) for message_id in messages)]


def _last_sign(run: Run, steps: Sequence[RunStep]) -> int:
    """When the run was last seen to compute."""
    return max(run.started_at or 0, *(step.completed_at or step.created_at for step in steps), 0)
