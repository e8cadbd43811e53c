"""`chat`: a thread on the terminal. Answers stream, steps and citations are shown, files that code made are saved."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import httpx
import typer

from offline_assistants.cli.connection import answered, client_of_server
from offline_assistants.cli.objects import add_documents, citations_of, save_content
from offline_assistants.cli.terminal import remark
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was given."""

    model: str | None
    instructions: str | None
    documents: list[Path]
    goes_on: bool
    runs_code: bool
    temperature: float
    save_to: Path


def chat(
    message: Annotated[Optional[str], typer.Argument(help="What you say. Without it, and without a pipe, you are asked line by line.")] = None,  # noqa: UP045
    *,
    model: Annotated[Optional[str], typer.Option("--model", "-m", help="Default: the model that hosted names stand for.")] = None,  # noqa: UP045
    system: Annotated[Optional[str], typer.Option("--system", "-s", help="Instructions.")] = None,  # noqa: UP045
    file: Annotated[Optional[list[Path]], typer.Option("--file", "-f", help="A document to answer from; may be given several times.")] = None,  # noqa: UP045
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last chat of this data directory.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Let the model run Python in the sandbox.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", "-t", min=0, max=2, help="0: always the likeliest word.")] = 0,
    save_to: Annotated[Path, typer.Option("--save-to", help="Where files that code made are saved.")] = Path(),
) -> None:
    """Talk with a model. What is piped in belongs to the message; the answer alone goes to stdout, all else to stderr."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    first = "\n\n".join(part for part in (message, piped.strip()) if part)
    if not first and not sys.stdin.isatty():
        raise OfflineAssistantsError("There is nothing to say: give a message, or pipe one in.")
    asyncio.run(_chat(first, Asked(model, system, file or [], go_on, code, temperature, save_to)))


async def _chat(first: str, asked: Asked) -> None:
    async with client_of_server(is_working=True) as client:
        talk = await _begin(client, asked)
        text = first or await _line()
        while text:
            await _turn(client, talk, text, asked)
            text = "" if first else await _line()


async def _line() -> str:
    """What the person says next; nothing at the end."""
    try:
        return (await asyncio.to_thread(input, "> ")).strip()
    except EOFError:
        return ""


async def _begin(client: httpx.AsyncClient, asked: Asked) -> dict[str, str]:
    """Thread and assistant: those of the last chat, or new ones."""
    place = Settings().data_dir / "last_chat.json"
    if asked.goes_on:
        try:
            return json.loads(place.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise OfflineAssistantsError("There is no chat to go on with. Begin one without --continue.") from error
    body: dict[str, Any] = {"model": asked.model or await _default_model(client), "instructions": asked.instructions, "temperature": asked.temperature}
    body["tools"] = [{"type": "code_interpreter"}] if asked.runs_code else []
    if asked.documents:
        store = answered(await client.post("/v1/vector_stores", json={"name": "chat"}))
        if await add_documents(client, store["id"], asked.documents) == len(asked.documents):
            raise OfflineAssistantsError("None of the documents can be searched.")
        body["tools"].append({"type": "file_search"})
        body["tool_resources"] = {"file_search": {"vector_store_ids": [store["id"]]}}
    assistant, thread = answered(await client.post("/v1/assistants", json=body)), answered(await client.post("/v1/threads", json={}))
    talk = {"assistant_id": assistant["id"], "thread_id": thread["id"], "searches": "yes" if asked.documents else ""}
    place.write_text(json.dumps(talk), "utf-8")
    return talk


async def _default_model(client: httpx.AsyncClient) -> str:
    hosted = await client.get("/v1/models/gpt-4o")
    if hosted.is_success:
        return "gpt-4o"
    named = Settings().default_model
    usable = [each["id"] for each in answered(await client.get("/v1/models"))["data"] if each["kind"] == "chat" and each["state"] != "damaged"]
    if not usable:
        answered(hosted)
    return named or usable[0]


async def _turn(client: httpx.AsyncClient, talk: dict[str, str], text: str, asked: Asked) -> None:
    thread = f"/v1/threads/{talk['thread_id']}"
    answered(await client.post(f"{thread}/messages", json={"role": "user", "content": text}))
    run_id, is_over = None, False
    try:
        async for event, data in _events(client, f"{thread}/runs", _run(talk)):
            if event == "thread.run.created":
                run_id = data["id"]
            is_over = is_over or event in ("thread.run.completed", "thread.run.incomplete", "thread.run.failed", "thread.run.expired", "thread.run.cancelled")
            await _show(client, event, data, asked.save_to)
    finally:
        if run_id is not None and not is_over:
            await asyncio.shield(client.post(f"{thread}/runs/{run_id}/cancel"))


def _run(talk: dict[str, str]) -> dict[str, Any]:
    """Who gave documents wants them read: small models would not look by themselves."""
    choice = {"tool_choice": {"type": "file_search"}} if talk["searches"] else {}
    return {"assistant_id": talk["assistant_id"], "stream": True, **choice}


async def _show(client: httpx.AsyncClient, event: str, data: dict[str, Any], save_to: Path) -> None:
    match event:
        case "thread.message.delta":
            for part in data["delta"]["content"]:
                if part["type"] == "text":
                    _write(part["text"].get("value") or "")
        case "thread.message.completed":
            _write("\n")
            await _show_what_it_brought(client, data, save_to)
        case "thread.run.step.completed" if data["type"] == "tool_calls":
            for call in data["step_details"]["tool_calls"]:
                _show_call(call)
        case "thread.run.failed" | "thread.run.expired" | "error":
            error: dict[str, Any] = data.get("last_error") or data.get("error") or data
            raise OfflineAssistantsError(str(error.get("message") or "The run expired."))
        case "thread.run.incomplete":
            remark("(cut off: the answer reached its limit)")
        case _:
            pass


def _show_call(call: dict[str, Any]) -> None:
    if call["type"] == "file_search":
        found: list[dict[str, Any]] = call["file_search"].get("results") or []
        remark("file_search found " + (", ".join(f"{each['file_name']} ({each['score']:.2f})" for each in found) or "nothing"))
    elif call["type"] == "code_interpreter":
        remark("code_interpreter")
        for line in call["code_interpreter"]["input"].splitlines():
            remark(f"  {line}")
        for output in call["code_interpreter"]["outputs"]:
            for line in output.get("logs", "").splitlines():
                remark(f"  > {line}")


async def _show_what_it_brought(client: httpx.AsyncClient, message: dict[str, Any], save_to: Path) -> None:
    """Citations, and the files that code made: those are saved, beside what is there already."""
    attached: list[dict[str, Any]] = message["attachments"] or []
    made: list[str] = [each["file_id"] for each in attached]
    for part in message["content"]:
        if part["type"] == "image_file":
            made.append(part["image_file"]["file_id"])
        elif part["type"] == "text":
            made += [each["file_path"]["file_id"] for each in part["text"]["annotations"] if each["type"] == "file_path"]
            for line in citations_of(part["text"]):
                remark(line)
    for file_id in dict.fromkeys(made):
        name = Path(answered(await client.get(f"/v1/files/{file_id}"))["filename"]).name
        target = save_to / name
        target = save_to / f"{target.stem}-{file_id}{target.suffix}" if target.exists() else target
        await save_content(client, file_id, target)
        remark(f"saved {target}")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


async def _events(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """Name and data of each server-sent event."""
    async with client.stream("POST", path, json=body, timeout=httpx.Timeout(60, read=None)) as response:
        if response.is_error:
            await response.aread()
            answered(response)
        event = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: ") and event != "done":
                yield event, json.loads(line[6:])
