"""A thread as the turns of a chat: messages, and between them the tool exchanges of their runs. Knows nothing of engines.

What the model reads of its own earlier turns is what it wrote: citation markers, which the server put in, are taken out again, so that the KV cache of the
turn before still matches.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass, replace

from offline_assistants.domain.objects import (
    CodeInterpreterCall,
    FileCitationAnnotation,
    FileSearchCall,
    FunctionCall,
    ImageFilePart,
    ImageOutput,
    LogsOutput,
    Message,
    MessageCreationDetails,
    Run,
    RunStep,
    TextPart,
    ToolCall,
    ToolCallsDetails,
    Truncation,
)
from offline_assistants.ports import ChatMessage, ChatToolCall, Picture
from offline_assistants.store.duckdb_store import DuckDBStore

PAGE = 50
STRETCH = 16
"""Turns that are counted at once."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message, or one whole tool exchange (the call and all its results) with the text that the model wrote just before it."""

    messages: tuple[ChatMessage, ...]
    is_required: bool = False
    message_ids: tuple[str, ...] = ()
    """The thread's messages that are in it."""

    @property
    def num_pictures(self) -> int:
        return sum(len(message.pictures) for message in self.messages)

    def text(self) -> str:
        """All that has to be counted, but for pictures."""
        return "\n".join(f"{m.content}\n" + "\n".join(f"{call.name} {call.arguments}" for call in m.tool_calls) for m in self.messages)

    def num_calls(self) -> int:
        return sum(len(message.tool_calls) for message in self.messages)


class History:
    """Reads threads from the store, from the newest message back: what no prompt can hold is not read."""

    def __init__(self, store: DuckDBStore) -> None:
        self._store = store

    async def steps(self, run_id: str) -> list[RunStep]:
        """All steps of a run, oldest first."""
        return [step async for step in self._store.list_all(RunStep, parent={"run_id": run_id})]

    async def own(self, run: Run) -> list[Turn]:
        """What `run` itself has done so far, oldest first. Its newest tool exchange is required."""
        steps = await self.steps(run.id)
        ids = [step.step_details.message_creation.message_id for step in steps if isinstance(step.step_details, MessageCreationDetails)]
        turns = _run_turns(steps, list((await self._store.get_many(Message, ids)).values()))
        return [*turns[:-1], *(replace(turn, is_required=True) for turn in turns[-1:])]

    async def backwards(self, run: Run) -> AsyncGenerator[list[Turn]]:
        """The turns before `run`, newest first, in stretches; as many messages as its truncation strategy allows. Required: the newest user message."""
        limit = run.truncation_strategy.last_messages if run.truncation_strategy.type == "last_messages" else None
        steps, has_user = _StepsBackwards(self._store, run.thread_id), False
        turns: list[Turn] = []
        async for group in self._groups(run, limit):
            if group[0].run_id is not None:
                turns += reversed(_run_turns(await steps.of(group[0].run_id), group[::-1]))
            else:
                is_newest = group[0].role == "user" and not has_user
                has_user = has_user or is_newest
                turns.append(turn_of(group[0], is_required=is_newest))
            if len(turns) >= STRETCH:
                yield turns
                turns = []
        yield turns

    async def _groups(self, run: Run, limit: int | None) -> AsyncGenerator[list[Message]]:
        """Messages before `run`, newest first: those of one run together, those of clients alone."""
        group: list[Message] = []
        async for message in self._messages(run, limit):
            if group and (message.run_id is None or message.run_id != group[0].run_id):
                yield group
                group = []
            group.append(message)
        if group:
            yield group

    async def _messages(self, run: Run, limit: int | None) -> AsyncGenerator[Message]:
        after: str | None = None
        num_given = 0
        while True:
            page = await self._store.list_page(Message, parent={"thread_id": run.thread_id}, limit=PAGE, order="desc", after=after)
            for message in page.items:
                if num_given == limit:
                    return
                if message.run_id != run.id:
                    num_given += 1
                    yield message
            if not page.has_more:
                return
            after = page.items[-1].id

    async def newest_user_message(self, run: Run) -> Turn | None:
        """For a thread whose newest messages are all the assistant's."""
        page = await self._store.list_page(Message, parent={"thread_id": run.thread_id}, where={"role": "user"}, limit=1)
        return turn_of(page.items[0], is_required=True) if page.items else None

    async def opening(self, run: Run) -> Turn | None:
        """The thread's first message, if a client wrote it: it often holds the task."""
        page = await self._store.list_page(Message, parent={"thread_id": run.thread_id}, limit=1, order="asc")
        return turn_of(page.items[0]) if page.items and page.items[0].run_id is None else None

    async def dropped(self, run: Run, present: Collection[str]) -> Truncation | None:
        """Which messages of the thread are not among those `present` in a prompt (all of the run's own are); None when all are."""
        all_there_are = {"thread_id": run.thread_id}
        num_dropped = await self._store.count(Message, parent=all_there_are) - len(present)
        if num_dropped <= 0:
            return None
        last = await anext((message.id async for message in self._messages(run, None) if message.id not in present), None)
        oldest = await self._store.list_page(Message, parent=all_there_are, limit=2, order="asc")
        first = next((message.id for message in oldest.items if message.id not in present), last)
        return Truncation(num_dropped_messages=num_dropped, first_dropped_id=first, last_dropped_id=last)


class _StepsBackwards:
    """The steps of a thread's runs, read page by page from the newest: runs of a thread follow one another, and so do their steps."""

    def __init__(self, store: DuckDBStore, thread_id: str) -> None:
        self._store = store
        self._thread_id = thread_id
        self._found: dict[str, list[RunStep]] = {}
        self._oldest: RunStep | None = None
        self._is_at_end = False

    async def of(self, run_id: str) -> list[RunStep]:
        """The steps of a run, oldest first."""
        while not self._is_at_end and (run_id not in self._found or (self._oldest is not None and self._oldest.run_id == run_id)):
            after = self._oldest.id if self._oldest else None
            page = await self._store.list_page(RunStep, parent={"thread_id": self._thread_id}, limit=PAGE, order="desc", after=after)
            for step in page.items:
                self._found.setdefault(step.run_id, []).append(step)
            self._oldest, self._is_at_end = page.items[-1] if page.items else None, not page.has_more
        return self._found.get(run_id, [])[::-1]


def turn_of(message: Message, *, is_required: bool = False) -> Turn:
    """A message alone."""
    return Turn((chat_message(message),), is_required, (message.id,))


def _run_turns(steps: Sequence[RunStep], messages: Sequence[Message]) -> list[Turn]:
    """A run's steps in order, oldest first. Messages that no step names (of a thread that came from elsewhere) come first."""
    by_id = {message.id: message for message in messages}
    named = {step.step_details.message_creation.message_id for step in steps if isinstance(step.step_details, MessageCreationDetails)}
    turns = [turn_of(message) for message in messages if message.id not in named]
    said: Message | None = None
    for step in steps:
        match step.step_details:
            case MessageCreationDetails(message_creation=creation):
                turns += [turn_of(said)] if said is not None else []
                said = by_id.get(creation.message_id)
            case ToolCallsDetails(tool_calls=calls):
                exchange = _exchange(calls, model_text(said) if said else "", is_whole=step.status == "completed")
                if exchange:
                    turns.append(Turn(exchange, message_ids=(said.id,) if said else ()))
                elif said is not None:
                    turns.append(turn_of(said))
                said = None
    return [*turns, turn_of(said)] if said is not None else turns


def chat_message(message: Message) -> ChatMessage:
    """A message as a turn of the chat; a client's pictures are named, and have yet to be read."""
    pictures: list[Picture] = []
    for index, part in enumerate(message.content):
        if message.run_id is None and not isinstance(part, TextPart):
            before = message.model_copy(update={"content": [*message.content[:index], part]})
            source = part.image_file.file_id if isinstance(part, ImageFilePart) else part.image_url.url
            pictures.append(Picture(len(model_text(before)), source))
    return ChatMessage(role=message.role, content=model_text(message), pictures=tuple(pictures))


def model_text(message: Message) -> str:
    """A message as its author wrote it: without the markers of citations. Where a client's picture stands, the text is empty."""
    parts: list[str] = []
    for part in message.content:
        if isinstance(part, TextPart):
            value, end = part.text.value, len(part.text.value)
            for annotation in sorted(part.text.annotations, key=lambda a: -a.start_index):
                if isinstance(annotation, FileCitationAnnotation) and annotation.end_index <= end:
                    value, end = value[: annotation.start_index] + value[annotation.end_index :], annotation.start_index
            parts.append(value)
        elif message.run_id is None:
            parts.append("")
    return "\n".join(parts)


def _exchange(calls: list[ToolCall], said: str, *, is_whole: bool) -> tuple[ChatMessage, ...]:
    """The turn that calls, and a turn for each result. A call that was never answered is left out."""
    answered = [(call, result) for call in calls if (result := result_text(call, is_whole=is_whole)) is not None]
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


def result_text(call: ToolCall, *, is_whole: bool = True) -> str | None:
    """What the model reads as the result of a call; None for a function that was not answered. `is_whole` False: the run ended before the call did."""
    match call:
        case CodeInterpreterCall():
            details = call.code_interpreter
            lines = [output.logs.rstrip("\n") for output in details.outputs if isinstance(output, LogsOutput)]
            lines += ["[an image was shown to the user]" for output in details.outputs if isinstance(output, ImageOutput)]
            lines += [f"[file saved: {file.path}]" for file in details.files]
            lines += [] if is_whole else ["(stopped before it ended)"]
            return "\n".join(lines) or "(no output)"
        case FileSearchCall():
            results = call.file_search.results
            passages = [f"{result.file_name}:\n{result.text()}" for result in results]
            return "\n\n".join(passages) or "No passages were found."
        case FunctionCall():
            return call.function.output
