"""The table of run states: every legal event, every illegal one, and what an event sets."""

from __future__ import annotations

from typing import get_args

import pytest

from offline_assistants.domain.objects import (
    ACTIVE,
    RequiredAction,
    RequiredFunction,
    RequiredToolCall,
    Run,
    RunStatus,
    SubmitToolOutputs,
    Usage,
)
from offline_assistants.domain.run_state import (
    TRANSITIONS,
    CancelRequested,
    Completed,
    Failed,
    IllegalTransition,
    Requeued,
    RunEvent,
    Started,
    Stopped,
    TimedOut,
    TokenLimitReached,
    ToolOutputsRequired,
    ToolOutputsSubmitted,
    apply,
    mermaid,
)
from offline_assistants.domain.stream_events import EVENT_NAMES

NOW = 1_700_000_100
USAGE = Usage(prompt_tokens=5, completion_tokens=2, total_tokens=7)
CALL = RequiredToolCall(id="call_1", function=RequiredFunction(name="get_weather", arguments="{}"))
EVENTS: tuple[RunEvent, ...] = (
    Started(),
    ToolOutputsRequired(RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=[CALL]))),
    ToolOutputsSubmitted(),
    Requeued(computed_until=NOW),
    CancelRequested(),
    Stopped(usage=Usage()),
    Completed(USAGE),
    TokenLimitReached("max_completion_tokens", USAGE),
    Failed("server_error", "The model failed.", USAGE),
    TimedOut(USAGE),
)
PAIRS = [(status, event) for status in TRANSITIONS for event in EVENTS]
LEGAL = [(status, event) for status, event in PAIRS if type(event) in TRANSITIONS[status]]
ILLEGAL = [(status, event) for status, event in PAIRS if type(event) not in TRANSITIONS[status]]


def run_that_is(status: RunStatus) -> Run:
    return Run(id="run_1", created_at=1_700_000_000, assistant_id="asst_1", thread_id="thread_1", model="m", expires_at=1_700_000_600, status=status)


def after(*events: RunEvent) -> Run:
    run = run_that_is("queued")
    for event in events:
        run, _ = apply(run, event, NOW)
    return run


def test_every_kind_of_event_is_tried() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(RunEvent))


@pytest.mark.parametrize(("status", "event"), LEGAL, ids=lambda value: value if isinstance(value, str) else type(value).__name__)
def test_a_legal_event_moves_the_run_and_announces_it(status: RunStatus, event: RunEvent) -> None:
    run, announcement = apply(run_that_is(status), event, NOW)

    assert run.status == TRANSITIONS[status][type(event)]
    assert announcement.event == f"thread.run.{run.status}"
    assert announcement.event in EVENT_NAMES
    assert announcement.data == run


@pytest.mark.parametrize(("status", "event"), ILLEGAL, ids=lambda value: value if isinstance(value, str) else type(value).__name__)
def test_an_illegal_event_changes_nothing(status: RunStatus, event: RunEvent) -> None:
    run = run_that_is(status)

    with pytest.raises(IllegalTransition, match=f"a run that is {status} cannot take {type(event).__name__}"):
        apply(run, event, NOW)

    assert run == run_that_is(status)


def test_a_run_that_is_not_active_takes_no_event() -> None:
    assert {status for status, arrows in TRANSITIONS.items() if arrows} == ACTIVE


@pytest.mark.parametrize("status", TRANSITIONS)
def test_every_status_can_be_reached(status: RunStatus) -> None:
    reached: set[RunStatus] = {"queued"}
    while (more := reached | {target for known in reached for target in TRANSITIONS[known].values()}) != reached:
        reached = more

    assert status in reached


def test_an_event_leaves_the_run_before_it_as_it_was() -> None:
    before = run_that_is("queued")

    apply(before, Started(), NOW)

    assert before == run_that_is("queued")


def test_a_run_remembers_what_it_waits_for_only_while_it_waits() -> None:
    waiting = after(Started(), EVENTS[1])
    going_on = after(Started(), EVENTS[1], ToolOutputsSubmitted())

    assert waiting.required_action is not None
    assert waiting.required_action.submit_tool_outputs.tool_calls == [CALL]
    assert going_on.required_action is None


def test_a_cancelled_run_no_longer_waits_for_anything() -> None:
    run = after(Started(), EVENTS[1], CancelRequested(), Stopped(USAGE))

    assert (run.status, run.required_action, run.cancelled_at, run.expires_at) == ("cancelled", None, NOW, None)


def test_a_completed_run_knows_its_time_and_its_usage() -> None:
    run = after(Started(), Completed(USAGE))

    assert (run.started_at, run.completed_at, run.expires_at, run.usage) == (NOW, NOW, None, USAGE)


def test_an_incomplete_run_says_which_limit_it_reached() -> None:
    run = after(Started(), TokenLimitReached("max_prompt_tokens", USAGE))

    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason, run.usage) == ("incomplete", "max_prompt_tokens", USAGE)


def test_a_failed_run_says_why() -> None:
    run = after(Started(), Failed("rate_limit_exceeded", "Too many requests.", USAGE))

    assert run.last_error is not None
    assert (run.last_error.code, run.last_error.message, run.failed_at) == ("rate_limit_exceeded", "Too many requests.", NOW)


def test_an_interruption_is_counted_and_not_told() -> None:
    run = after(Started(), Requeued(computed_until=NOW), Started(), Requeued(computed_until=NOW))

    assert (run.status, run.attempt) == ("queued", 2)
    assert "attempt" not in run.wire()


@pytest.mark.parametrize("event", [EVENTS[1], Requeued(computed_until=NOW + 700)], ids=["asked", "interrupted"])
def test_time_spent_computing_is_given_back(event: RunEvent) -> None:
    started, _ = apply(run_that_is("queued"), Started(), NOW)
    run, _ = apply(started, event, NOW + 700)

    assert started.expires_at is not None
    assert run.expires_at == started.expires_at + 700


def test_the_diagram_has_an_arrow_for_every_entry_of_the_table() -> None:
    lines = mermaid().splitlines()

    arrows = [line for line in lines if "-->" in line and "[*]" not in line]
    assert len(arrows) == sum(len(targets) for targets in TRANSITIONS.values())
    assert "    in_progress --> requires_action: ToolOutputsRequired" in arrows
