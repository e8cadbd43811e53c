"""What a run announces, in the names and shapes of the streaming API. Knows nothing of sockets.

In a delta the clients' accumulators concatenate strings and add numbers, except `index` and `type`. So an id, a name or an index of an annotation
is sent once, and every item of a list carries an integer `index`.

A delta is text from the beginning: answers have thousands of them, and a text is small and nothing that a garbage collector has to look into.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from offline_assistants.domain.objects import Annotation, ApiObject, CodeOutput, Message, RunStep

EVENT_NAMES = frozenset(
    {
        "thread.created",
        *(
            f"thread.run.{s}"
            for s in ("created", "queued", "in_progress", "requires_action", "completed", "incomplete", "failed", "cancelling", "cancelled", "expired")
        ),
        *(f"thread.run.step.{s}" for s in ("created", "in_progress", "delta", "completed", "failed", "cancelled", "expired")),
        *(f"thread.message.{s}" for s in ("created", "in_progress", "delta", "completed", "incomplete")),
        "error",
        "done",
    }
)


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a run's stream; `data` is an object as it was at that moment, or a delta as JSON."""

    event: str
    data: ApiObject | str

    def json(self, *, with_search_content: bool = False) -> str:
        """What a client gets, in one line; passages that were found only where it asked for them."""
        match self.data:
            case str(delta):
                return delta
            case RunStep() as step:
                return _JSON.encode(step.wire(with_search_content=with_search_content))
            case thing:
                return _JSON.encode(thing.wire())


def text_delta(message: Message, index: int, value: str, *, is_first: bool, annotations: list[dict[str, Any]] | None = None) -> StreamEvent:
    """A piece of text for content part `index`. Only a part's first delta carries `annotations: []`; later ones carry the key only when they bring some."""
    text: dict[str, Any] = {"value": value}
    if is_first or annotations:
        text["annotations"] = annotations or []
    return _message_delta(message, {"index": index, "type": "text", "text": text})


def annotation_delta(index: int, annotation: Annotation) -> dict[str, Any]:
    """An annotation as it stands inside a text delta; `index` counts the annotations of the part."""
    return {"index": index, **annotation.model_dump(mode="json")}


def image_delta(message: Message, index: int, file_id: str) -> StreamEvent:
    """A whole image part."""
    return _message_delta(message, {"index": index, "type": "image_file", "image_file": {"file_id": file_id}})


def _message_delta(message: Message, part: dict[str, Any]) -> StreamEvent:
    return _delta("thread.message.delta", message.id, {"content": [part]})


def tool_call_started(step: RunStep, index: int, call_id: str, tool: str, name: str) -> StreamEvent:
    """The first delta of a call; `tool` is code_interpreter, file_search or function."""
    empty: dict[str, dict[str, Any]] = {
        "code_interpreter": {"input": "", "outputs": []},
        "file_search": {},
        "function": {"name": name, "arguments": "", "output": None},
    }
    return _step_delta(step, {"index": index, "id": call_id, "type": tool, tool: empty[tool]})


def code_delta(step: RunStep, index: int, fragment: str) -> StreamEvent:
    """The next piece of a program."""
    return _step_delta(step, {"index": index, "type": "code_interpreter", "code_interpreter": {"input": fragment}})


def code_output_delta(step: RunStep, index: int, output_index: int, output: CodeOutput) -> StreamEvent:
    """Logs or an image; further logs with the same `output_index` are appended by the client."""
    return _step_delta(
        step, {"index": index, "type": "code_interpreter", "code_interpreter": {"outputs": [{"index": output_index, **output.model_dump(mode="json")}]}}
    )


def arguments_delta(step: RunStep, index: int, fragment: str) -> StreamEvent:
    """The next piece of a function's arguments."""
    return _step_delta(step, {"index": index, "type": "function", "function": {"arguments": fragment}})


def _step_delta(step: RunStep, call: dict[str, Any]) -> StreamEvent:
    return _delta("thread.run.step.delta", step.id, {"step_details": {"type": "tool_calls", "tool_calls": [call]}})


def _delta(event: str, object_id: str, delta: dict[str, Any]) -> StreamEvent:
    return StreamEvent(event, _JSON.encode({"id": object_id, "object": event, "delta": delta}))
