"""`chat`: a thread on the terminal. Answers stream, steps and citations are shown, files that code made are saved."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import httpx
import typer

from offline_assistants.cli.chat_view import ChatView
from offline_assistants.cli.connection import answered, client_of_server, default_model
from offline_assistants.cli.documents import add_documents, check_readable
from offline_assistants.cli.terminal import remark, status
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings
from offline_assistants.transfer import lines_of

ACTIVE = ("queued", "in_progress", "requires_action", "cancelling")
OVER = ("thread.run.completed", "thread.run.incomplete", "thread.run.failed", "thread.run.expired", "thread.run.cancelled")
MAX_TOKENS = 2048
DOCUMENT_INSTRUCTIONS = """You answer questions about the user's documents in one short sentence. You search first. Example:

User: When do the gates open?
Assistant: <tool_call>
{"name": "file_search", "arguments": {"query": "opening time of the gates"}}
</tool_call>"""
"""Where the user gives none. Models of less than a billion parameters do not search without an example; larger ones do not mind it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was given; None where it was not."""

    model: str | None
    instructions: str | None
    documents: list[Path]
    goes_on: bool
    runs_code: bool
    temperature: float | None
    max_tokens: int
    save_to: Path


@dataclass(frozen=True, slots=True)
class Talk:
    """What a chat consists of on the server."""

    assistant_id: str
    thread_id: str
    vector_store_id: str | None = None


def chat(
    message: Annotated[Optional[str], typer.Argument(metavar="[MESSAGE]", help="Without it, and without a pipe, you are asked line by line.")] = None,  # noqa: UP045
    *,
    model: Annotated[Optional[str], typer.Option("--model", "-m", help="Default: the model that hosted names stand for.")] = None,  # noqa: UP045
    system: Annotated[Optional[str], typer.Option("--system", "-s", help="Instructions.")] = None,  # noqa: UP045
    file: Annotated[Optional[list[Path]], typer.Option("--file", "-f", help="A document to answer from; may be given several times.")] = None,  # noqa: UP045
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last chat of this data directory; other options change it.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Let the model run Python in the sandbox.")] = False,
    temperature: Annotated[Optional[float], typer.Option("--temperature", "-t", min=0, max=2, help="Default: 0, always the likeliest word.")] = None,  # noqa: UP045
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=256, help="How long an answer may become, thoughts and tool calls included.")
    ] = MAX_TOKENS,
    save_to: Annotated[Path, typer.Option("--save-to", help="Where files that code made are saved.")] = Path(),
) -> None:
    """Talk with a model. What is piped in belongs to the message; the answer alone goes to stdout, all else to stderr.

    On a terminal, Ctrl-C stops an answer; Ctrl-D ends the chat. Exit code 1 also when the run failed, expired, or was cancelled elsewhere.
    """
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    first = "\n\n".join(part for part in (message, piped.strip()) if part)
    if not first and not sys.stdin.isatty():
        raise OfflineAssistantsError("There is nothing to say: give a message, or pipe one in.")
    check_readable(file or [])
    if not save_to.is_dir():
        raise OfflineAssistantsError(f"{save_to} is not a folder to save files to.")
    asyncio.run(_chat(first, Asked(model, system, file or [], go_on, code, temperature, max_tokens, save_to)))


async def _chat(first: str, asked: Asked) -> None:
    async with client_of_server(is_working=True) as client:
        talk = await _begin(client, asked)
        if first:
            await _turn(client, talk, first, asked)
            return
        remark("Ctrl-C stops an answer, Ctrl-D ends the chat.")
        while text := await _line():
            await _turn_of_conversation(client, talk, text, asked)


async def _line() -> str:
    """What the person says next; nothing at the end. The server that may live in this process goes on meanwhile."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    sys.stderr.write("> ")
    sys.stderr.flush()
    loop.add_reader(sys.stdin, readable.set)
    try:
        while True:
            await readable.wait()
            line = sys.stdin.readline()  # a terminal is readable when a whole line is there
            if line.strip() or not line:
                return line.strip()
            readable.clear()
            sys.stderr.write("> ")
            sys.stderr.flush()
    finally:
        loop.remove_reader(sys.stdin)


async def _turn_of_conversation(client: httpx.AsyncClient, talk: Talk, text: str, asked: Asked) -> None:
    """Neither Ctrl-C nor a run that fails ends the conversation."""
    turn = asyncio.create_task(_turn(client, talk, text, asked))
    with _on_interrupt(turn):
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it is us who are to end
                raise
            remark("\n(stopped)")
        except OfflineAssistantsError as error:
            remark(f"error: {error.message}")


@contextmanager
def _on_interrupt(turn: asyncio.Task[None]) -> Generator[None]:
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, turn.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


# ── The chat as objects of the API ───────────────────────────────────────────────────────────────────────────────────


async def _begin(client: httpx.AsyncClient, asked: Asked) -> Talk:
    """The last chat with what is to be different, or a new one. It is remembered."""
    place = Settings().data_dir / "last_chat.json"
    before = await _still_there(client, _read(place)) if asked.goes_on else None
    store_id = before.vector_store_id if before else None
    if asked.documents:
        store_id = store_id or answered(await client.post("/v1/vector_stores", json={"name": "chat"}))["id"]
        if await add_documents(client, store_id, asked.documents) == len(asked.documents):
            raise OfflineAssistantsError("None of the documents can be searched.")
    if before is None:
        body = await _assistant(client, asked, store_id)
        assistant, thread = answered(await client.post("/v1/assistants", json=body)), answered(await client.post("/v1/threads", json={}))
        talk = Talk(assistant["id"], thread["id"], store_id)
    else:
        talk = Talk(before.assistant_id, before.thread_id, store_id)
        await _change(client, talk, asked)
    place.write_text(json.dumps({"assistant_id": talk.assistant_id, "thread_id": talk.thread_id, "vector_store_id": talk.vector_store_id}), "utf-8")
    return talk


def _read(place: Path) -> Talk:
    """The last chat. Raises OfflineAssistantsError when there is none."""
    try:
        found = json.loads(place.read_text("utf-8"))
        return Talk(found["assistant_id"], found["thread_id"], found.get("vector_store_id"))
    except (OSError, ValueError, KeyError) as error:
        raise OfflineAssistantsError("There is no chat to go on with. Begin one without --continue.") from error


async def _still_there(client: httpx.AsyncClient, talk: Talk) -> Talk:
    """Raises OfflineAssistantsError when it was deleted. A run that it left behind is ended, or its thread would take no message."""
    for path in (f"/v1/threads/{talk.thread_id}", f"/v1/assistants/{talk.assistant_id}"):
        if (await client.get(path)).status_code == 404:
            raise OfflineAssistantsError("The last chat was deleted. Begin another without --continue.")
    runs = f"/v1/threads/{talk.thread_id}/runs"
    while (newest := answered(await client.get(runs, params={"limit": 1}))["data"]) and newest[0]["status"] in ACTIVE:
        if newest[0]["status"] != "cancelling":
            await client.post(f"{runs}/{newest[0]['id']}/cancel")  # it may end by itself meanwhile, and that is as good
        await asyncio.sleep(0.1)
    return talk


async def _assistant(client: httpx.AsyncClient, asked: Asked, store_id: str | None) -> dict[str, Any]:
    return {
        "model": asked.model or await default_model(client),
        "instructions": asked.instructions or (DOCUMENT_INSTRUCTIONS if asked.documents else None),
        "temperature": asked.temperature or 0,
        **_tools([], asked, store_id),
    }


async def _change(client: httpx.AsyncClient, talk: Talk, asked: Asked) -> None:
    given = {"model": asked.model, "instructions": asked.instructions, "temperature": asked.temperature}
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    assistant = answered(await client.get(f"/v1/assistants/{talk.assistant_id}"))
    if asked.documents or asked.runs_code:
        body |= _tools(assistant["tools"], asked, talk.vector_store_id)
    if asked.documents and not asked.instructions and not assistant["instructions"]:
        body["instructions"] = DOCUMENT_INSTRUCTIONS
    if body:
        answered(await client.post(f"/v1/assistants/{talk.assistant_id}", json=body))


def _tools(before: list[dict[str, Any]], asked: Asked, store_id: str | None) -> dict[str, Any]:
    names = {str(each["type"]) for each in before}
    names |= {name for name, is_wanted in (("code_interpreter", asked.runs_code), ("file_search", asked.documents)) if is_wanted}
    resources = {"tool_resources": {"file_search": {"vector_store_ids": [store_id]}}} if "file_search" in names else {}
    return {"tools": [{"type": name} for name in sorted(names)], **resources}


# ── A turn ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _turn(client: httpx.AsyncClient, talk: Talk, text: str, asked: Asked) -> None:
    """Say it, and show the answer as it comes. Whatever ends this ends the run, too."""
    thread = f"/v1/threads/{talk.thread_id}"
    answered(await client.post(f"{thread}/messages", json={"role": "user", "content": text}))
    run_id, is_over = None, False
    try:
        with status("the model reads; the first time it is loaded") as waits:
            view = ChatView(client, asked.save_to, waits)
            async for event, data in _events(client, f"{thread}/runs", _run(talk, asked)):
                run_id = data["id"] if event == "thread.run.created" else run_id
                is_over = is_over or event in OVER
                await view.show(event, data)
    finally:
        if run_id is not None and not is_over:
            await asyncio.shield(client.post(f"{thread}/runs/{run_id}/cancel"))


def _run(talk: Talk, asked: Asked) -> dict[str, Any]:
    """Who gave documents wants them read: small models would not look by themselves."""
    choice = {"tool_choice": {"type": "file_search"}} if talk.vector_store_id else {}
    return {"assistant_id": talk.assistant_id, "stream": True, "max_completion_tokens": asked.max_tokens, **choice}


async def _events(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """Name and data of each server-sent event."""
    async with client.stream("POST", path, json=body, timeout=httpx.Timeout(60, read=None)) as response:
        if response.is_error:
            await response.aread()
            answered(response)
        event = ""
        async for line in lines_of(response):
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: ") and event != "done":
                yield event, json.loads(line[6:])
