"""How the tests ask the starter model: with the plain SDK, and steered in the open.

It has 135 million parameters. So `tool_choice` names the tool, the instructions hold one worked example, and a program stands in the message. Whatever goes
into a tool is decoded by the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.beta import Thread
from openai.types.beta.threads import Message, Run

from scripts.demo import CODE_INSTRUCTIONS, SEARCH_INSTRUCTIONS

MODEL = "smollm2-135m-instruct"
MAX_COMPLETION_TOKENS = 1024


@dataclass
class Told:
    """What the stream of a run told, put together as it came."""

    names: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    tool_inputs: dict[str, str] = field(default_factory=dict)
    """By step: the arguments of function calls and the code of code_interpreter, delta by delta."""
    steps: list[Any] = field(default_factory=list)
    run: Run | None = None

    def add(self, event: Any) -> None:
        self.names.append(event.event)
        match event.event.split("."):
            case ["thread", "message", "delta"]:
                self.text += [part.text.value for part in event.data.delta.content if part.type == "text" and part.text.value]
            case ["thread", "run", "step", "delta"]:
                self.tool_inputs[event.data.id] = self.tool_inputs.get(event.data.id, "") + "".join(fragments(event.data.delta.step_details))
            case ["thread", "run", "step", "completed"] if event.data.type == "tool_calls":
                self.steps.append(event.data)
            case ["thread", "run", _]:
                self.run = event.data
            case _:
                pass

    @property
    def ended(self) -> Run:
        assert self.run is not None, "the stream told of no run"
        return self.run


def fragments(details: Any) -> Iterable[str]:
    for call in details.tool_calls or [] if details.type == "tool_calls" else []:
        if call.type == "function":
            yield call.function.arguments or ""
        elif call.type == "code_interpreter":
            yield call.code_interpreter.input or ""


def follow(events: Iterable[Any]) -> Told:
    told = Told()
    for event in events:
        told.add(event)
    return told


def events_of_run(client: openai.OpenAI, thread: Thread, *, instructions: str, tools: Any, tool_choice: Any) -> Iterable[Any]:
    """A streamed run of a new assistant on the thread."""
    assistant = client.beta.assistants.create(model=MODEL, instructions=instructions, tools=tools, temperature=0)
    return client.beta.threads.runs.create(
        thread_id=thread.id, assistant_id=assistant.id, tool_choice=tool_choice, max_completion_tokens=MAX_COMPLETION_TOKENS, stream=True
    )


def search(client: openai.OpenAI, *, name: str, content: bytes, question: str) -> tuple[Told, Thread]:
    """Upload a document and ask about it."""
    store = client.vector_stores.create(name=name)
    indexed = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=(name, content), poll_interval_ms=200)
    assert indexed.status == "completed", indexed.last_error
    thread = client.beta.threads.create(messages=[{"role": "user", "content": question}], tool_resources={"file_search": {"vector_store_ids": [store.id]}})
    tools = [{"type": "file_search", "file_search": {"max_num_results": 3}}]
    return follow(events_of_run(client, thread, instructions=SEARCH_INSTRUCTIONS, tools=tools, tool_choice={"type": "file_search"})), thread


def program_thread(client: openai.OpenAI, *, question: str, program: str, name: str, content: bytes) -> Thread:
    """A thread that has a table attached and asks for a program to be run."""
    file = client.files.create(file=(name, content), purpose="assistants")
    return client.beta.threads.create(
        messages=[
            {
                "role": "user",
                "content": f"{question}\n\nRun this program:\n```python\n{program}\n```",
                "attachments": [{"file_id": file.id, "tools": [{"type": "code_interpreter"}]}],
            }
        ]
    )


def events_of_program(client: openai.OpenAI, thread: Thread) -> Iterable[Any]:
    tools, choice = [{"type": "code_interpreter"}], {"type": "code_interpreter"}
    return events_of_run(client, thread, instructions=CODE_INSTRUCTIONS, tools=tools, tool_choice=choice)


def newest(client: openai.OpenAI, thread: Thread) -> Message:
    return client.beta.threads.messages.list(thread.id, limit=1).data[0]


def text_of(message: Message) -> Any:
    return next(part.text for part in message.content if part.type == "text")
