"""The states of a run: a table, and the one function that changes a run and announces it. Knows nothing of time, storage or streams.

Theory of operation. A run is a value. An event is a fact about it ("started", "tool outputs required"). TRANSITIONS says which facts a run can take
in which state; `apply` gives the next run together with the stream event that announces it, so no state is changed in one place and announced in another.
An event that the table does not hold changes nothing and raises. Rules that the table cannot hold (who may cancel, when a run expires) belong to the
supervisor. When a state or an event is added: the table, `_fields_set_by`, and the diagram in the map (a test compares them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_never

from offline_assistants.domain.objects import ErrorCode, LastError, RequiredAction, Run, RunIncompleteDetails, RunStatus, Usage
from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import OfflineAssistantsError


@dataclass(frozen=True, slots=True)
class Started:
    """The supervisor gave it to a runner."""


@dataclass(frozen=True, slots=True)
class ToolOutputsRequired:
    """The model called functions, which only the client can carry out."""

    required_action: RequiredAction


@dataclass(frozen=True, slots=True)
class ToolOutputsSubmitted:
    """The client answered every call."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """The server ended while it ran; it begins again after its last whole round."""

    computed_until: int
    """When it was last known to compute, in Unix seconds."""
    is_orderly: bool = False
    """The server was stopped. When it crashed, the run may have been the reason, so attempts are counted."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A client wants it to stop."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """It has stopped because a client wanted it to."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Completed:
    usage: Usage


@dataclass(frozen=True, slots=True)
class TokenLimitReached:
    reason: Literal["max_completion_tokens", "max_prompt_tokens"]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failed:
    code: ErrorCode
    message: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class TimedOut:
    """`expires_at` has passed."""

    usage: Usage


RunEvent = Started | ToolOutputsRequired | ToolOutputsSubmitted | Requeued | CancelRequested | Stopped | Completed | TokenLimitReached | Failed | TimedOut

TRANSITIONS: dict[RunStatus, dict[type[RunEvent], RunStatus]] = {
    "queued": {Started: "in_progress", CancelRequested: "cancelling", Failed: "failed", TimedOut: "expired"},
    "in_progress": {
        ToolOutputsRequired: "requires_action",
        Completed: "completed",
        TokenLimitReached: "incomplete",
        Requeued: "queued",
        CancelRequested: "cancelling",
        Failed: "failed",
        TimedOut: "expired",
    },
    "requires_action": {ToolOutputsSubmitted: "queued", CancelRequested: "cancelling", TimedOut: "expired"},
    # A run may reach its end while it is being cancelled. It does not expire then: what its client asked for comes first.
    "cancelling": {Stopped: "cancelled", Completed: "completed", TokenLimitReached: "incomplete", Failed: "failed"},
    "completed": {},
    "incomplete": {},
    "failed": {},
    "cancelled": {},
    "expired": {},
}


class IllegalTransition(OfflineAssistantsError):
    """A run was told something that its state cannot take."""


def apply(run: Run, event: RunEvent, now: int) -> tuple[Run, StreamEvent]:
    """The next run, and the stream event that announces it. The only place where a run's status changes.

    Raises IllegalTransition, in which case nothing has changed.
    """
    try:
        status = TRANSITIONS[run.status][type(event)]
    except KeyError:
        raise IllegalTransition(f"a run that is {run.status} cannot take {type(event).__name__}") from None
    run = run.model_copy(update={"status": status, "required_action": None, **_fields_set_by(run, event, now)})
    return run, StreamEvent(f"thread.run.{status}", run)


def _fields_set_by(run: Run, event: RunEvent, now: int) -> dict[str, Any]:
    match event:
        case Started():
            return {"started_at": now}
        case ToolOutputsRequired():
            return {"required_action": event.required_action, "expires_at": expiry(run, computed_until=now)}
        case Requeued():
            return {"attempt": run.attempt + (not event.is_orderly), "expires_at": expiry(run, computed_until=event.computed_until)}
        case ToolOutputsSubmitted() | CancelRequested():
            return {}
        case Stopped():
            return {"cancelled_at": now, "expires_at": None, "usage": event.usage}
        case Completed():
            return {"completed_at": now, "expires_at": None, "usage": event.usage}
        case TokenLimitReached():
            return {"completed_at": now, "expires_at": None, "incomplete_details": RunIncompleteDetails(reason=event.reason), "usage": event.usage}
        case Failed():
            return {"failed_at": now, "expires_at": None, "last_error": LastError(code=event.code, message=event.message), "usage": event.usage}
        case TimedOut():
            return {"usage": event.usage}
        case _:
            assert_never(event)


def expiry(run: Run, *, computed_until: int) -> int | None:
    """When a run that computed until then expires: that time is given back, because one long prompt on a slow processor may outlast any limit."""
    if run.expires_at is None or run.started_at is None:
        return run.expires_at
    return run.expires_at + max(0, computed_until - run.started_at)


def mermaid() -> str:
    """The table as a mermaid state diagram, for the map."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for status, arrows in TRANSITIONS.items():
        lines += [f"    {status} --> {target}: {event.__name__}" for event, target in arrows.items()]
        if not arrows:
            lines.append(f"    {status} --> [*]")
    return "\n".join(lines)
