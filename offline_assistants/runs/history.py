"""A thread as the turns of a chat: messages, and between them the tool exchanges of their runs. Knows nothing of engines.

What the model reads of its own earlier turns is what it wrote: citation markers, which the server put in, are taken out again, so that the KV cache of the
turn before still matches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from offline_assistants.domain.objects import (
    CodeInterpreterCall,
    FileCitationAnnotation,
    FileSearchCall,
    FunctionCall,
    ImageOutput,
    LogsOutput,
    Message,
    MessageCreationDetails,
    Run,
    RunStep,
    TextPart,
    ToolCall,
    ToolCallsDetails,
)
from offline_assistants.ports import ChatMessage, ChatToolCall
from offline_assistants.store.duckdb_store import DuckDBStore

PAGE = 100
MAX_MESSAGES = 2000
"""The newest that are looked at; more than any context holds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message, or one whole tool exchange (the call and all its results)."""

    messages: tuple[ChatMessage, ...]
    is_required: bool = False

    def text(self) -> str:
        """All that has to be counted."""
        return "\n".join(f"{m.content}\n" + "\n".join(f"{call.name} {call.arguments}" for call in m.tool_calls) for m in self.messages)


class History:
    """Reads threads from the store."""

    def __init__(self, store: DuckDBStore) -> None:
        self._store = store

    async def turns(self, run: Run) -> list[Turn]:
        """The thread's turns, oldest first, ending with what `run` itself has done. Required: the newest user message and all that is after it."""
        messages = await self._messages(run)
        seen: set[str] = set()
        turns: list[Turn] = []
        for index, message in enumerate(messages):
            if message.run_id is None:
                is_newest = message.role == "user" and all(later.role != "user" for later in messages[index + 1 :])
                turns.append(Turn((ChatMessage(role=message.role, content=model_text(message)),), is_required=is_newest))
            elif message.run_id not in seen and message.run_id != run.id:
                seen.add(message.run_id)
                turns += await self._run_turns(message.run_id, [m for m in messages if m.run_id == message.run_id], is_required=False)
        return turns + await self._run_turns(run.id, [m for m in messages if m.run_id == run.id], is_required=True)

    async def steps(self, run_id: str) -> list[RunStep]:
        """All steps of a run, oldest first."""
        return [step async for step in self._store.list_all(RunStep, parent={"run_id": run_id})]

    async def _messages(self, run: Run) -> list[Message]:
        limit = run.truncation_strategy.last_messages if run.truncation_strategy.type == "last_messages" else None
        newest, own = list[Message](), list[Message]()
        after: str | None = None
        while len(newest) < (limit or MAX_MESSAGES):
            page = await self._store.list_page(Message, parent={"thread_id": run.thread_id}, limit=PAGE, order="desc", after=after)
            newest += [message for message in page.items if message.status != "in_progress" and message.run_id != run.id]
            own += [message for message in page.items if message.run_id == run.id]
            if not page.has_more:
                break
            after = page.items[-1].id
        return [*newest[: limit or MAX_MESSAGES][::-1], *own[::-1]]

    async def _run_turns(self, run_id: str, messages: list[Message], *, is_required: bool) -> list[Turn]:
        """A run's steps in order. Text that the model wrote just before a call belongs to the same turn as the call."""
        by_id = {message.id: message for message in messages}
        turns: list[Turn] = []
        said: Message | None = None
        for step in await self.steps(run_id):
            match step.step_details:
                case MessageCreationDetails(message_creation=creation):
                    if said is not None:
                        turns.append(Turn((ChatMessage(role="assistant", content=model_text(said)),), is_required))
                    said = by_id.get(creation.message_id)
                case ToolCallsDetails(tool_calls=calls):
                    exchange = _exchange(calls, model_text(said) if said else "")
                    turns += [Turn(exchange, is_required)] if exchange else []
                    said = None
        if said is not None:
            turns.append(Turn((ChatMessage(role="assistant", content=model_text(said)),), is_required))
        return turns


def model_text(message: Message) -> str:
    """A message as its author wrote it: without the markers of citations. Images are named, since a text model cannot see them."""
    parts: list[str] = []
    for part in message.content:
        if isinstance(part, TextPart):
            value, end = part.text.value, len(part.text.value)
            for annotation in sorted(part.text.annotations, key=lambda a: -a.start_index):
                if isinstance(annotation, FileCitationAnnotation) and annotation.end_index <= end:
                    value, end = value[: annotation.start_index] + value[annotation.end_index :], annotation.start_index
            parts.append(value)
        elif message.role == "user":
            parts.append(f"[{part.type}: this model cannot see images]")
    return "\n".join(parts)


def _exchange(calls: list[ToolCall], said: str) -> tuple[ChatMessage, ...]:
    """The turn that calls, and a turn for each result. A call that was never answered is left out."""
    answered = [(call, result) for call in calls if (result := result_text(call)) is not None]
    if not answered:
        return ()
    asking = ChatMessage(role="assistant", content=said, tool_calls=tuple(_chat_call(call) for call, _ in answered))
    return (asking, *(ChatMessage(role="tool", content=result, tool_call_id=call.id) for call, result in answered))


def _chat_call(call: ToolCall) -> ChatToolCall:
    match call:
        case CodeInterpreterCall():
            return ChatToolCall(call.id, "code_interpreter", call.code_interpreter.input)
        case FileSearchCall():
            return ChatToolCall(call.id, "file_search", search_arguments(call.file_search.query))
        case FunctionCall():
            return ChatToolCall(call.id, call.function.name, call.function.arguments)


def search_arguments(query: str) -> str:
    """The arguments of a file_search call as the model writes them."""
    return json.dumps({"query": query}, ensure_ascii=False)


def result_text(call: ToolCall) -> str | None:
    """What the model reads as the result of a call; None for a function that has not been answered."""
    match call:
        case CodeInterpreterCall():
            details = call.code_interpreter
            lines = [output.logs.rstrip("\n") for output in details.outputs if isinstance(output, LogsOutput)]
            lines += ["[an image was shown to the user]" for output in details.outputs if isinstance(output, ImageOutput)]
            lines += [f"[file saved: {file.path}]" for file in details.files]
            return "\n".join(lines) or "(no output)"
        case FileSearchCall():
            results = call.file_search.results
            passages = [f"{result.file_name}:\n{result.text()}" for result in results]
            return "\n\n".join(passages) or "No passages were found."
        case FunctionCall():
            return call.function.output
