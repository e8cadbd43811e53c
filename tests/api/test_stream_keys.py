"""The keys of everything that streams, event by event, as the hosted API sent them: a client's code may look at any of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.ports import Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER
from tests.api.test_streams import events_of, story, stream
from tests.api.test_tools import CODE

Keys = dict[str, Any]
"""A key and the keys below it; those of a list are the keys that any of its items has."""

NEWER = {"thread.run.step": {"metadata", "expired_at"}, "thread.run": {"reasoning_effort", "parallel_tool_calls"}}
"""By object: keys of the API's description that recordings (or the older of them) lack."""
EXTENSIONS = {"files", "x_model_file"}
"""Ours, documented as such: below `code_interpreter`, and of a run."""


def keys_of(value: Any) -> Keys:
    match value:
        case dict():
            return {key: keys_of(each) for key, each in value.items()}
        case list():
            return _merged([keys_of(each) for each in value])
        case _:
            return {}


def _merged(keys: Sequence[Keys]) -> Keys:
    return {key: _merged([each[key] for each in keys if key in each]) for key in {key for each in keys for key in each}}


def by_event(events: Sequence[tuple[str, Any]]) -> dict[str, Keys]:
    """Of each kind of event, the keys that any of its data has."""
    return {name: _merged([keys_of(data) for other, data in events if other == name]) for name, _ in events}


# ── Our own table ────────────────────────────────────────────────────────────────────────────────────────────────────

USAGE = {
    "prompt_tokens": {},
    "completion_tokens": {},
    "total_tokens": {},
    "prompt_token_details": {"cached_tokens": {}},
    "completion_tokens_details": {"reasoning_tokens": {}},
}
RUN = (
    "id object created_at assistant_id thread_id status started_at expires_at cancelled_at failed_at completed_at required_action last_error model "
    "instructions tools tool_resources metadata temperature top_p reasoning_effort max_completion_tokens max_prompt_tokens truncation_strategy "
    "incomplete_details usage response_format tool_choice parallel_tool_calls x_model_file"
)
STEP = (
    "id object created_at run_id assistant_id thread_id type status cancelled_at completed_at expired_at expires_at failed_at last_error step_details "
    "usage metadata"
)
MESSAGE = "id object created_at assistant_id thread_id run_id status incomplete_details incomplete_at completed_at role content attachments metadata"
THREAD = "id object created_at metadata tool_resources"


def plain(names: str, **below: Keys) -> Keys:
    return {name: below.get(name, {}) for name in names.split()}


RUN_KEYS = plain(RUN, truncation_strategy={"type": {}, "last_messages": {}}, tools={"type": {}})
TEXT_KEYS = {"type": {}, "text": {"value": {}, "annotations": {}}}
CREATION_KEYS = {"type": {}, "message_creation": {"message_id": {}}}
CALL_KEYS = {"id": {}, "type": {}, "code_interpreter": {"input": {}, "outputs": {"type": {}, "logs": {}}, "files": {}}}
DELTA_CALL_KEYS = {"index": {}, "id": {}, "type": {}, "code_interpreter": {"input": {}, "outputs": {"index": {}, "type": {}, "logs": {}}}}
STARTED_STEP = plain(STEP, step_details={**CREATION_KEYS, "tool_calls": {}})
WITH_CODE: dict[str, Keys] = {
    "thread.created": plain(THREAD),
    **{f"thread.run.{status}": RUN_KEYS for status in ("created", "queued", "in_progress")},
    "thread.run.step.created": STARTED_STEP,
    "thread.run.step.in_progress": STARTED_STEP,
    "thread.run.step.delta": {"id": {}, "object": {}, "delta": {"step_details": {"type": {}, "tool_calls": DELTA_CALL_KEYS}}},
    "thread.run.step.completed": plain(STEP, step_details={**CREATION_KEYS, "tool_calls": CALL_KEYS}, usage=USAGE),
    "thread.message.created": plain(MESSAGE),
    "thread.message.in_progress": plain(MESSAGE),
    "thread.message.delta": {"id": {}, "object": {}, "delta": {"content": {"index": {}, **TEXT_KEYS}}},
    "thread.message.completed": plain(MESSAGE, content=TEXT_KEYS),
    "thread.run.completed": {**RUN_KEYS, "usage": USAGE},
    "done": {},
}


def test_the_keys_of_an_answer_with_code(server: LiveServer, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant) -> None:
    events = _with_code(server, engine, sandbox, assistant)

    assert by_event(events) == WITH_CODE


def test_the_keys_of_a_run_that_needs_its_client(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", '{"city": "Rome"}')

    keys = by_event(stream(server, f"{thread.id}/runs", assistant_id=assistant.id, tools=[WEATHER]))

    call = {"id": {}, "type": {}, "function": {"name": {}, "arguments": {}}}
    assert keys["thread.run.requires_action"]["required_action"] == {"type": {}, "submit_tool_outputs": {"tool_calls": call}}
    delta = keys["thread.run.step.delta"]["delta"]["step_details"]["tool_calls"]
    assert delta == {"index": {}, "id": {}, "type": {}, "function": {"name": {}, "arguments": {}, "output": {}}}


def _with_code(server: LiveServer, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant) -> list[tuple[str, Any]]:
    engine.will_call("code_interpreter", "print( 1 )")
    engine.will_say("It is one.")
    sandbox.will_emit([Logs("1\n")])
    return stream(server, "runs", assistant_id=assistant.id, tools=CODE, thread={"messages": [{"role": "user", "content": "Hi"}]})


# ── Recordings ───────────────────────────────────────────────────────────────────────────────────────────────────────


def recorded(name: str) -> list[tuple[str, Any]]:
    """A stream of the hosted API. They are others' files, so they are not kept here."""
    folder = os.environ.get("RECORDED_STREAMS", "")
    path = Path(folder) / name
    if not folder or not path.is_file():
        pytest.skip(f"RECORDED_STREAMS names no folder with {name}")
    return events_of(path.read_bytes().replace(b"\r\n", b"\n"))


def test_an_answer_with_code_is_told_like_the_recorded_one(server: LiveServer, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant) -> None:
    theirs = recorded("golden-code-interpreter-2026-03.sse")

    ours = _with_code(server, engine, sandbox, assistant)[1:]

    assert story(ours) == story(theirs)
    assert differences(by_event(ours), by_event(theirs)) == []


def test_an_answer_that_is_cut_is_told_like_the_recorded_one(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    theirs = recorded("golden-max-tokens-2024-04.sse")
    engine.will_say("word " * 300)

    ours = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, max_completion_tokens=256)

    # At that time the run's last event was called after another status than its own.
    assert [name.replace("run.completed", "run.incomplete") for name in story(theirs)] == story(ours)
    renamed = [(name.replace("run.completed", "run.incomplete"), data) for name, data in theirs]
    assert differences(by_event(ours), by_event(renamed)) == []


def differences(ours: dict[str, Keys], theirs: dict[str, Keys]) -> list[str]:
    """Where keys differ, as `event: path`, but for those that are newer than the recording or documented as ours."""
    return [f"{event}: {line}" for event in theirs for line in _differ(ours.get(event, {}), theirs[event], event)]


def _differ(ours: Keys, theirs: Keys, event: str, path: str = "") -> list[str]:
    newer = NEWER["thread.run.step" if ".step." in event else "thread.run"] if not path else set[str]()
    missing = [f"{path}{key} is missing" for key in theirs.keys() - ours.keys() if not _varies(path)]
    added = [f"{path}{key} is new" for key in ours.keys() - theirs.keys() - newer - EXTENSIONS if not _varies(path)]
    return missing + added + [line for key in ours.keys() & theirs.keys() for line in _differ(ours[key], theirs[key], event, f"{path}{key}.")]


def _varies(path: str) -> bool:
    """Below these, keys depend on what was asked."""
    return path in ("metadata.", "tool_resources.", "tools.", "usage.") or path.endswith("outputs.")
