"""Every arrow of the run table comes about, and every one that a client may not cause is refused: through HTTP, word for word.

The tests are made from TRANSITIONS: an arrow that is added there without its way here fails.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta.threads import Run

from offline_assistants.domain.objects import ACTIVE, RunStatus
from offline_assistants.domain.run_state import (
    TRANSITIONS,
    CancelRequested,
    Completed,
    Failed,
    Requeued,
    RunEvent,
    Started,
    Stopped,
    TimedOut,
    TokenLimitReached,
    ToolOutputsRequired,
    ToolOutputsSubmitted,
)
from offline_assistants.errors import EngineError
from offline_assistants.ports import Chat, Delta, RawPrompt, SamplingParams
from offline_assistants.store.changes import Change, Draft
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer
from tests.api.test_ingestion import SlowDocuments, make_expired_store, upload
from tests.api.test_runs import WEATHER, wait_until

SEARCH = {"type": "file_search"}


class SlowToStop(ScriptedEngine):
    """A generation that is cancelled ends when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_stop = threading.Event()
        self.may_stop.set()
        self.num_over = 0

    async def generate(self, model: str, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        try:
            async for delta in super().generate(model, prompt, sampling):
                yield delta
        finally:
            self.num_over += 1
            while not self.may_stop.is_set():  # noqa: ASYNC110 set from the test's thread
                await asyncio.sleep(0.005)


@dataclass(frozen=True, eq=False)
class Wait(Change[None]):
    """Keeps the write thread busy, so that what comes meanwhile is saved later."""

    may_go_on: threading.Event

    def stage(self, draft: Draft) -> None:
        assert self.may_go_on.wait(10)


@dataclass
class Stage:
    """A server whose engine, files and store go on when the test says so."""

    folder: Path
    expires_after_s: int = 600
    engine: SlowToStop = field(default_factory=SlowToStop)
    documents: SlowDocuments = field(default_factory=SlowDocuments)

    def open(self) -> Stage:
        settings = {"run_expires_after_s": self.expires_after_s}
        self.live = LiveServer(self.folder / "data", engine=self.engine, documents=self.documents, settings=settings).start()
        return self

    def close(self) -> None:
        self.engine.release()
        self.engine.may_stop.set()
        self.documents.may_parse.set()
        self.live.stop()

    def restart(self) -> None:
        self.live.stop()
        self.live.start()

    def crash(self) -> None:
        """Go on with the disk as it is in this moment: what the server would still do in an orderly end is not on it."""
        shutil.copytree(self.folder / "data", self.folder / "crashed", ignore=shutil.ignore_patterns("*.sock"))
        self.live.stop()
        self.live.data_dir = self.folder / "crashed"
        self.live.start()

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.live.url, api_key="none", max_retries=0, timeout=15)

    # ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, *, tools: Any = (), store_id: str | None = None, **options: Any) -> Run:
        assistant = self.client.beta.assistants.create(model="scripted", tools=list(tools))
        thread: Any = {"messages": [{"role": "user", "content": "Hi"}]}
        if store_id is not None:
            thread["tool_resources"] = {"file_search": {"vector_store_ids": [store_id]}}
        return self.client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread, **options)

    def now(self, run: Run) -> Run:
        return self.client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)

    def until(self, run: Run, status: RunStatus) -> Run:
        wait_until(lambda: self.now(run).status == status)
        return self.now(run)

    def cancel(self, run: Run) -> Run:
        return self.client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)

    def submit(self, run: Run) -> Run:
        calls = run.required_action.submit_tool_outputs.tool_calls if run.required_action else []
        outputs: Any = [{"tool_call_id": call.id, "output": "fine"} for call in calls]
        return self.client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs)

    # ── Bringing a run to a status, where it stays ───────────────────────────────────────────────────────────────────

    def queued(self) -> Run:
        self.documents.may_parse.clear()
        store_id = self.client.vector_stores.create(file_ids=[upload(self.client)]).id
        return self.until(self.create(tools=[SEARCH], store_id=store_id), "queued")

    def in_progress(self, **options: Any) -> Run:
        self.engine.will_wait()
        return self.until(self.create(**options), "in_progress")

    def requires_action(self) -> Run:
        self.engine.will_call("get_weather", "{}")
        return self.until(self.create(tools=[WEATHER]), "requires_action")

    def cancelling(self) -> Run:
        self.engine.may_stop.clear()
        run = self.in_progress()
        self.cancel(run)
        return self.until(run, "cancelling")

    def completed(self) -> Run:
        return self.until(self.create(), "completed")

    def incomplete(self) -> Run:
        self.engine.will_say("word " * 300)
        return self.until(self.create(max_completion_tokens=256), "incomplete")

    def failed(self) -> Run:
        self.engine.will_fail(EngineError("It fell over."))
        return self.until(self.create(), "failed")

    def cancelled(self) -> Run:
        run = self.in_progress()
        self.cancel(run)
        return self.until(run, "cancelled")

    def expired(self) -> Run:
        self.engine.will_call("get_weather", "{}")
        return self.until(self.create(tools=[WEATHER]), "expired")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path).open()
    yield stage
    stage.close()


@pytest.fixture
def hasty_stage(tmp_path: Path) -> Iterator[Stage]:
    """Runs expire soon."""
    stage = Stage(tmp_path, expires_after_s=2).open()
    yield stage
    stage.close()


# ── The arrows ───────────────────────────────────────────────────────────────────────────────────────────────────────


def queued_started(stage: Stage) -> Run:
    run = stage.queued()
    stage.engine.will_wait()
    stage.documents.may_parse.set()
    return stage.until(run, "in_progress")


def queued_cancelled(stage: Stage) -> Run:
    return stage.cancel(stage.queued())


def queued_failed(stage: Stage) -> Run:
    stage.live.stop()
    store_id = asyncio.run(make_expired_store(stage.live.data_dir))
    stage.live.start()
    run = stage.create(tools=[SEARCH], store_id=store_id)
    assert run.status == "queued"
    ended = stage.until(run, "failed")
    assert ended.started_at is None
    return ended


def queued_timed_out(stage: Stage) -> Run:
    return stage.until(stage.queued(), "expired")


def asked_for_outputs(stage: Stage) -> Run:
    stage.engine.will_wait().then_call("get_weather", "{}")
    run = stage.until(stage.create(tools=[WEATHER]), "in_progress")
    stage.engine.release()
    return stage.until(run, "requires_action")


def came_to_its_end(stage: Stage) -> Run:
    run = stage.in_progress()
    stage.engine.release()
    return stage.until(run, "completed")


def reached_its_limit(stage: Stage) -> Run:
    stage.engine.will_wait().then_say("word " * 300)
    run = stage.until(stage.create(max_completion_tokens=256), "in_progress")
    stage.engine.release()
    return stage.until(run, "incomplete")


def server_went_away(stage: Stage) -> Run:
    store_id = stage.client.vector_stores.create().id
    run = stage.in_progress(tools=[SEARCH], store_id=store_id)
    stage.documents.may_parse.clear()
    stage.client.vector_stores.files.create(store_id, file_id=upload(stage.client))
    stage.restart()
    return stage.now(run)


def computing_cancelled(stage: Stage) -> Run:
    stage.engine.may_stop.clear()
    return stage.cancel(stage.in_progress())


def model_failed(stage: Stage) -> Run:
    stage.engine.will_wait().then_fail(EngineError("It fell over."))
    run = stage.until(stage.create(), "in_progress")
    stage.engine.release()
    return stage.until(run, "failed")


def was_over_when_the_server_came_back(stage: Stage) -> Run:
    run = stage.in_progress()
    time.sleep(stage.expires_after_s + 1)
    assert stage.now(run).status == "in_progress"
    stage.crash()
    return stage.until(run, "expired")


def outputs_submitted(stage: Stage) -> Run:
    return stage.submit(stage.requires_action())


def waiting_cancelled(stage: Stage) -> Run:
    return stage.cancel(stage.requires_action())


def waiting_timed_out(stage: Stage) -> Run:
    return stage.until(stage.requires_action(), "expired")


def stopped(stage: Stage) -> Run:
    run = stage.cancelling()
    stage.engine.may_stop.set()
    return stage.until(run, "cancelled")


def overtaken_by(end: Callable[[Stage], object], status: RunStatus) -> Callable[[Stage], Run]:
    """A run that comes to its end while the cancel is being saved."""

    def way(stage: Stage) -> Run:
        end(stage)
        run = stage.create(max_completion_tokens=256)
        wait_until(lambda: len(stage.client.beta.threads.messages.list(run.thread_id).data) == 2)
        may_go_on = threading.Event()
        held = asyncio.run_coroutine_threadsafe(stage.live.store.commit([Wait(may_go_on)]), stage.live.loop)
        with ThreadPoolExecutor(1) as pool:
            cancelling: Future[Run] = pool.submit(stage.cancel, run)
            time.sleep(0.5)  # the cancel is on its way to the write thread
            stage.engine.release()
            wait_until(lambda: stage.engine.num_over == 1)
            time.sleep(0.1)
            may_go_on.set()
            assert cancelling.result().status == "cancelling"
        held.result(10)
        return stage.until(run, status)

    return way


WAYS: dict[tuple[RunStatus, type[RunEvent]], Callable[[Stage], Run]] = {
    ("queued", Started): queued_started,
    ("queued", CancelRequested): queued_cancelled,
    ("queued", Failed): queued_failed,
    ("queued", TimedOut): queued_timed_out,
    ("in_progress", ToolOutputsRequired): asked_for_outputs,
    ("in_progress", Completed): came_to_its_end,
    ("in_progress", TokenLimitReached): reached_its_limit,
    ("in_progress", Requeued): server_went_away,
    ("in_progress", CancelRequested): computing_cancelled,
    ("in_progress", Failed): model_failed,
    ("in_progress", TimedOut): was_over_when_the_server_came_back,
    ("requires_action", ToolOutputsSubmitted): outputs_submitted,
    ("requires_action", CancelRequested): waiting_cancelled,
    ("requires_action", TimedOut): waiting_timed_out,
    ("cancelling", Stopped): stopped,
    ("cancelling", Completed): overtaken_by(lambda stage: stage.engine.will_say("So far").then_wait().then_say(" and on."), "completed"),
    ("cancelling", TokenLimitReached): overtaken_by(lambda stage: stage.engine.will_say("So far").then_wait().then_say("word " * 300), "incomplete"),
    ("cancelling", Failed): overtaken_by(lambda stage: stage.engine.will_say("So far").then_wait().then_fail(EngineError("It fell over.")), "failed"),
}
ARROWS = [(status, event, target) for status, arrows in TRANSITIONS.items() for event, target in arrows.items()]


@pytest.mark.timeout(40)
@pytest.mark.parametrize(("status", "event", "target"), ARROWS, ids=[f"{status}-{event.__name__}" for status, event, _ in ARROWS])
def test_every_arrow_of_the_table_comes_about(status: RunStatus, event: type[RunEvent], target: RunStatus, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue("hasty_stage" if event is TimedOut else "stage")

    run = WAYS[status, event](stage)

    assert run.status == target
    assert (run.required_action is not None) == (target == "requires_action")
    assert (run.usage is None) == (target in ACTIVE)


def test_there_is_no_way_without_an_arrow() -> None:
    assert set(WAYS) == {(status, event) for status, event, _ in ARROWS}


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def refusal(request: Callable[[], object]) -> dict[str, Any]:
    with pytest.raises(openai.BadRequestError) as refused:
        request()
    return refused.value.body


def sentence(message: str) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": None, "code": None}


@pytest.mark.timeout(40)
@pytest.mark.parametrize("status", TRANSITIONS)
def test_what_a_state_cannot_take_is_refused_word_for_word(status: RunStatus, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue("hasty_stage" if status == "expired" else "stage")
    run: Run = getattr(stage, status)()

    if CancelRequested not in TRANSITIONS[status]:
        assert refusal(lambda: stage.cancel(run)) == sentence(f"Cannot cancel run with status '{status}'.")
    if ToolOutputsSubmitted not in TRANSITIONS[status]:
        assert refusal(lambda: stage.submit(run)) == sentence(f'Runs in status "{status}" do not accept tool outputs.')
    threads, message = stage.client.beta.threads, {"role": "user", "content": "More."}
    if status in ACTIVE:
        busy = sentence(f"Thread {run.thread_id} already has an active run {run.id}.")
        assert refusal(lambda: threads.messages.create(run.thread_id, role="user", content="More.")) == sentence(
            f"Can't add messages to {run.thread_id} while a run {run.id} is active."
        )
        assert refusal(lambda: threads.runs.create(run.thread_id, assistant_id=run.assistant_id)) == busy
        assert refusal(lambda: threads.runs.create(run.thread_id, assistant_id=run.assistant_id, additional_messages=[message])) == busy
        assert len(threads.messages.list(run.thread_id).data) == 1
    assert stage.now(run).status == status


@pytest.mark.timeout(40)
@pytest.mark.parametrize("status", TRANSITIONS)
def test_reading_and_metadata_are_never_locked(status: RunStatus, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue("hasty_stage" if status == "expired" else "stage")
    run: Run = getattr(stage, status)()
    threads = stage.client.beta.threads

    changed = threads.runs.update(run.id, thread_id=run.thread_id, metadata={"seen": "yes"})

    assert (changed.status, stage.now(run).metadata) == (status, {"seen": "yes"})
    assert threads.update(run.thread_id, metadata={"kept": "yes"}).metadata == {"kept": "yes"}
    assert threads.messages.list(run.thread_id).data[-1].role == "user"
    assert [each.id for each in threads.runs.list(run.thread_id)] == [run.id]
    assert all(step.run_id == run.id for step in threads.runs.steps.list(run.id, thread_id=run.thread_id))


@pytest.mark.parametrize("given", [[], ["first"], ["first", "first"], ["first", "second", "other"]])
def test_outputs_have_to_answer_every_call_once(stage: Stage, given: list[str]) -> None:
    stage.engine.will_call("get_weather", "{}").then_call("get_weather", "{}")
    run = stage.until(stage.create(tools=[WEATHER]), "requires_action")
    wanted = [call.id for call in run.required_action.submit_tool_outputs.tool_calls]
    got = [{"first": wanted[0], "second": wanted[1]}.get(name, "call_other") for name in given]

    outputs: Any = [{"tool_call_id": call_id, "output": ""} for call_id in got]
    refused = refusal(lambda: stage.client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs))

    assert refused == sentence(f"Expected tool outputs for call_ids {wanted}, got {got}")
    assert stage.now(run).status == "requires_action"


@pytest.mark.parametrize("messages", [[], [{"role": "assistant", "content": "I begin."}]])
def test_somebody_has_to_say_what_to_do(stage: Stage, messages: Any) -> None:
    assistant = stage.client.beta.assistants.create(model="scripted")
    thread = stage.client.beta.threads.create(messages=messages)
    words = {**sentence("Run creation requires a Thread with a user message or an assistant with instructions."), "code": "invalid_thread"}

    assert refusal(lambda: stage.client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)) == words
    assert refusal(lambda: stage.client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": messages})) == words
    assert stage.client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, instructions="Begin.").status == "queued"
