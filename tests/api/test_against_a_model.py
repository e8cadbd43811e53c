"""Threads, messages and runs against a plain model of them: hypothesis makes up what clients do, in any order, with restarts in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.api.conftest import LiveServer

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
METADATA = st.dictionaries(st.sampled_from(["a", "b", "ключ"]), st.text(st.characters(codec="utf-8"), max_size=8), max_size=2)
ORDERS = st.sampled_from(["asc", "desc"])
LIMITS = st.integers(1, 4)
TERMINAL = {"completed", "cancelled", "failed", "expired", "incomplete"}
FUNCTION = {"type": "function", "function": {"name": "look"}}


@dataclass
class Items:
    """What a list should hold, the oldest first: id -> metadata."""

    metadata: dict[str, dict[str, str]] = field(default_factory=dict)

    def page(self, *, order: str, limit: int, after: str | None, before: str | None) -> tuple[list[str], bool]:
        ids = list(self.metadata) if order == "asc" else list(self.metadata)[::-1]
        start = ids.index(after) + 1 if after else 0
        end = ids.index(before) if before else len(ids)
        between = ids[start : max(start, end)]
        cut = between[-limit:] if before and not after else between[:limit]
        return cut, len(between) > limit


@dataclass
class ModelThread:
    thread_id: str
    messages: Items = field(default_factory=Items)
    runs: Items = field(default_factory=Items)
    statuses: dict[str, str] = field(default_factory=dict)
    waiting: str | None = None
    """The run that waits for a tool output and holds the thread."""


class Client:
    """Speaks to a server that may be another one after a restart."""

    def __init__(self, live: LiveServer) -> None:
        self.live = live

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None, *, status: int = 200, **query: Any) -> dict[str, Any]:
        parameters = {name: value for name, value in query.items() if value is not None}
        answer = httpx.request(method, f"{self.live.url}{path}", json=body, params=parameters, timeout=15)
        assert answer.status_code == status, answer.text
        return answer.json()

    def wait(self, thread_id: str, run_id: str, statuses: set[str]) -> dict[str, Any]:
        deadline = time.monotonic() + 15
        while (run := self("GET", f"/threads/{thread_id}/runs/{run_id}"))["status"] not in statuses:
            assert time.monotonic() < deadline, run
            time.sleep(0.01)
        return run


class Model(RuleBasedStateMachine):
    live: LiveServer

    def __init__(self) -> None:
        super().__init__()
        self.ask = Client(self.live)
        self.threads: list[ModelThread] = []

    @initialize()
    def an_assistant(self) -> None:
        self.assistant_id = self.ask("POST", "/assistants", {"model": "scripted", "instructions": "Be brief.", "tools": [FUNCTION]})["id"]

    def pick(self, data: st.DataObject, *, free: bool | None = None) -> ModelThread:
        fitting = [each for each in self.threads if free is None or (each.waiting is None) == free]
        hypothesis.assume(bool(fitting))
        return data.draw(st.sampled_from(fitting), label="thread")

    # ── Threads and messages ─────────────────────────────────────────────────────────────────────────────────────────

    @rule(texts=st.lists(TEXTS, max_size=3))
    def create_thread(self, texts: list[str]) -> None:
        made = self.ask("POST", "/threads", {"messages": [{"role": "user", "content": text} for text in texts]})
        thread = ModelThread(made["id"])
        page = self.ask("GET", f"/threads/{thread.thread_id}/messages", order="asc")
        assert [each["content"][0]["text"]["value"] for each in page["data"]] == texts
        thread.messages.metadata = {each["id"]: {} for each in page["data"]}
        self.threads.append(thread)

    @rule(data=st.data(), text=TEXTS, metadata=METADATA)
    def create_message(self, data: st.DataObject, text: str, metadata: dict[str, str]) -> None:
        thread = self.pick(data, free=True)
        made = self.ask("POST", f"/threads/{thread.thread_id}/messages", {"role": "user", "content": text, "metadata": metadata})
        assert (made["content"][0]["text"]["value"], made["metadata"]) == (text, metadata)
        thread.messages.metadata[made["id"]] = metadata

    @rule(data=st.data(), text=TEXTS)
    def a_held_thread_takes_no_message_and_no_run(self, data: st.DataObject, text: str) -> None:
        thread = self.pick(data, free=False)
        refused = self.ask("POST", f"/threads/{thread.thread_id}/messages", {"role": "user", "content": text}, status=400)
        assert refused["error"]["message"] == f"Can't add messages to {thread.thread_id} while a run {thread.waiting} is active."
        refused = self.ask("POST", f"/threads/{thread.thread_id}/runs", {"assistant_id": self.assistant_id}, status=400)
        assert refused["error"]["message"] == f"Thread {thread.thread_id} already has an active run {thread.waiting}."

    @rule(data=st.data(), kind=st.sampled_from(["messages", "runs"]), metadata=METADATA)
    def modify(self, data: st.DataObject, kind: str, metadata: dict[str, str]) -> None:
        thread = self.pick(data)
        items: Items = getattr(thread, kind)
        hypothesis.assume(bool(items.metadata))
        item_id = data.draw(st.sampled_from(list(items.metadata)), label="item")
        assert self.ask("POST", f"/threads/{thread.thread_id}/{kind}/{item_id}", {"metadata": metadata})["metadata"] == metadata
        items.metadata[item_id] = metadata

    @rule(data=st.data())
    def delete_message(self, data: st.DataObject) -> None:
        thread = self.pick(data, free=True)
        hypothesis.assume(bool(thread.messages.metadata))
        message_id = data.draw(st.sampled_from(list(thread.messages.metadata)), label="message")
        self.ask("DELETE", f"/threads/{thread.thread_id}/messages/{message_id}")
        self.ask("GET", f"/threads/{thread.thread_id}/messages/{message_id}", status=404)
        del thread.messages.metadata[message_id]

    @rule(data=st.data())
    def delete_thread(self, data: st.DataObject) -> None:
        thread = self.pick(data)
        self.ask("DELETE", f"/threads/{thread.thread_id}")
        for path in ("", "/messages", "/runs", *(f"/messages/{each}" for each in thread.messages.metadata), *(f"/runs/{each}" for each in thread.statuses)):
            self.ask("GET", f"/threads/{thread.thread_id}{path}", status=404)
        self.threads.remove(thread)

    @rule(data=st.data(), kind=st.sampled_from(["messages", "runs"]), order=ORDERS, limit=LIMITS)
    def list_page(self, data: st.DataObject, kind: str, order: str, limit: int) -> None:
        thread = self.pick(data)
        items: Items = getattr(thread, kind)
        cursors = st.none() | st.sampled_from(list(items.metadata)) if items.metadata else st.none()
        cursor = {"after": data.draw(cursors, label="after"), "before": data.draw(cursors, label="before")}
        page = self.ask("GET", f"/threads/{thread.thread_id}/{kind}", order=order, limit=limit, **cursor)
        ids, has_more = items.page(order=order, limit=limit, **cursor)
        assert [each["id"] for each in page["data"]] == ids
        assert (page["has_more"], page["first_id"], page["last_id"]) == (has_more, ids[0] if ids else None, ids[-1] if ids else None)
        assert [each["metadata"] for each in page["data"]] == [items.metadata[each] for each in ids]

    # ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data())
    def run_to_its_end(self, data: st.DataObject) -> None:
        thread = self.pick(data, free=True)
        self.live.engine.will_say("Yes.")
        run_id = self.create_run(thread)
        self.ends(thread, run_id, "completed")

    @rule(data=st.data())
    def run_until_it_waits(self, data: st.DataObject) -> None:
        thread = self.pick(data, free=True)
        self.live.engine.will_call("look", "{}")
        run_id = self.create_run(thread)
        self.ask.wait(thread.thread_id, run_id, {"requires_action"})
        thread.waiting, thread.statuses[run_id] = run_id, "requires_action"

    @rule(data=st.data())
    def submit(self, data: st.DataObject) -> None:
        thread = self.pick(data, free=False)
        path = f"/threads/{thread.thread_id}/runs/{thread.waiting}"
        [call] = self.ask("GET", path)["required_action"]["submit_tool_outputs"]["tool_calls"]
        self.ask("POST", f"{path}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": "call_x", "output": "?"}]}, status=400)
        self.live.engine.will_say("Seen.")
        self.ask("POST", f"{path}/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": call["id"], "output": "a tree"}]})
        self.ends(thread, str(thread.waiting), "completed")

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        thread = self.pick(data, free=False)
        assert self.ask("POST", f"/threads/{thread.thread_id}/runs/{thread.waiting}/cancel")["status"] == "cancelling"
        self.ends(thread, str(thread.waiting), "cancelled")

    @rule(data=st.data())
    def what_is_over_stays_over(self, data: st.DataObject) -> None:
        thread = self.pick(data)
        over = [run_id for run_id, status in thread.statuses.items() if status in TERMINAL]
        hypothesis.assume(bool(over))
        run_id = data.draw(st.sampled_from(over), label="run")
        path, status = f"/threads/{thread.thread_id}/runs/{run_id}", thread.statuses[run_id]
        assert self.ask("POST", f"{path}/cancel", status=400)["error"]["message"] == f"Cannot cancel run with status '{status}'."
        refused = self.ask("POST", f"{path}/submit_tool_outputs", {"tool_outputs": []}, status=400)
        assert refused["error"]["message"] == f'Runs in status "{status}" do not accept tool outputs.'

    def create_run(self, thread: ModelThread) -> str:
        run = self.ask("POST", f"/threads/{thread.thread_id}/runs", {"assistant_id": self.assistant_id})
        assert run["status"] == "queued"
        thread.runs.metadata[run["id"]] = {}
        return run["id"]

    def ends(self, thread: ModelThread, run_id: str, status: str) -> None:
        run = self.ask.wait(thread.thread_id, run_id, TERMINAL)
        assert (run["status"], run["required_action"], run["last_error"]) == (status, None, None)
        thread.statuses[run_id], thread.waiting = status, None
        answers = self.ask("GET", f"/threads/{thread.thread_id}/messages", run_id=run_id)["data"]
        assert len(answers) == (status == "completed")
        thread.messages.metadata |= {each["id"]: {} for each in answers}

    # ── The server ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def restart(self) -> None:
        self.live.stop()
        self.live.start()

    def teardown(self) -> None:
        for thread in self.threads:
            for run_id, status in thread.statuses.items():
                assert self.ask("GET", f"/threads/{thread.thread_id}/runs/{run_id}")["status"] == status
            for kind in ("messages", "runs"):
                ids, _ = getattr(thread, kind).page(order="asc", limit=100, after=None, before=None)
                assert [each["id"] for each in self.ask("GET", f"/threads/{thread.thread_id}/{kind}", order="asc", limit=100)["data"]] == ids


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    each = LiveServer(tmp_path / "data").start()
    yield each
    each.engine.release()
    each.stop()


def compare(live: LiveServer, *, num_stories: int, num_steps: int) -> None:
    machine = type("Model", (Model,), {"live": live})
    checks = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much]
    settings = hypothesis.settings(
        max_examples=num_stories, stateful_step_count=num_steps, deadline=None, suppress_health_check=checks, database=None, derandomize=True
    )
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.timeout(240)
def test_a_few_stories_end_as_in_the_model(live: LiveServer) -> None:
    compare(live, num_stories=4, num_steps=20)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_stories_end_as_in_the_model(live: LiveServer) -> None:
    compare(live, num_stories=60, num_steps=40)
