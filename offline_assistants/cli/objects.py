"""`assistants`, `threads`, `files` and `vector-stores`: what is kept, listed, shown, made, deleted, taken out."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional
from urllib.parse import quote

import typer

from offline_assistants.cli.connection import answered, ask, client_of_server, listed
from offline_assistants.cli.documents import add_documents, check_readable, save_content, upload
from offline_assistants.cli.terminal import AlwaysJson, AsJson, date, examples, of_server, say, show_json, show_table, size, status
from offline_assistants.cli.vector_stores import vector_stores

assistants = typer.Typer(
    help="The assistants: a model with instructions and tools.",
    epilog=examples("assistants list", "assistants create -m qwen3-4b --name Clerk --tool file_search", "assistants export > assistants.jsonl"),
    no_args_is_help=True,
)
threads = typer.Typer(
    help="The threads and their messages.",
    epilog=examples("threads list", "threads export thread_abc > lease.md", "threads delete thread_abc"),
    no_args_is_help=True,
)
files = typer.Typer(
    help="The files that were uploaded or made.", epilog=examples("files create lease.pdf", "files export file-abc chart.png"), no_args_is_help=True
)
Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


@dataclass(frozen=True, slots=True)
class Kind:
    """What the groups of commands differ in."""

    commands: typer.Typer
    name: str
    path: str
    columns: tuple[str, ...]
    """Keys of the object, in the order of the table; those that end in _at are times, "bytes" a size."""


KINDS = (
    Kind(assistants, "assistants", "/v1/assistants", ("id", "name", "model", "created_at")),
    Kind(threads, "threads", "/v1/threads", ("id", "metadata", "created_at")),
    Kind(files, "files", "/v1/files", ("id", "filename", "bytes", "purpose", "created_at")),
    Kind(vector_stores, "vector-stores", "/v1/vector_stores", ("id", "name", "status", "usage_bytes", "created_at")),
)


def add_object_commands() -> None:
    """`list`, `show` and `delete`, which are the same for all."""
    for kind in KINDS:
        kind.commands.command("list", epilog=examples(f"{kind.name} list", f"{kind.name} list --json"))(of_server(_list_command(kind)))
        kind.commands.command("show", epilog=examples(f"{kind.name} show ID", f"{kind.name} show ID | jq .created_at"))(of_server(_show_command(kind)))
        kind.commands.command("delete", epilog=examples(f"{kind.name} delete ID", f"{kind.name} delete ID ID"))(of_server(_delete_command(kind)))


def _list_command(kind: Kind) -> Any:
    def list_objects(*, as_json: AsJson = False) -> None:
        found = asyncio.run(_all(kind.path))
        if as_json:
            show_json(found)
        elif found:
            show_table(
                (column.removesuffix("_at").replace("_", " ") for column in kind.columns), ([_cell(each, column) for column in kind.columns] for each in found)
            )
        else:
            say(f"No {kind.name.replace('-', ' ')}.")

    list_objects.__doc__ = f"Show all {kind.name.replace('-', ' ')} of the project default, the oldest first."
    return list_objects


async def _all(path: str) -> list[dict[str, Any]]:
    async with client_of_server() as client:
        with status("reading the list"):
            return [each async for each in listed(client, path)]


def _cell(found: dict[str, Any], column: str) -> str:
    value: Any = found.get(column)
    if column.endswith("_at"):
        return date(value)
    if column.endswith("bytes"):
        return size(value or 0)
    return str(value or "") if not value or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _show_command(kind: Kind) -> Any:
    def show_object(object_id: Id, *, as_json: AlwaysJson = True) -> None:
        del as_json  # so that it may be said here as everywhere
        show_json(asyncio.run(ask("GET", f"{kind.path}/{quote(object_id, safe='')}")))

    show_object.__doc__ = f"Show one of the {kind.name.replace('-', ' ')} as the API gives it, in JSON."
    return show_object


def _delete_command(kind: Kind) -> Any:
    def delete_objects(object_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="As `list` shows them.")]) -> None:
        async def run() -> None:
            async with client_of_server() as client:
                for each in object_ids:
                    answered(await client.delete(f"{kind.path}/{quote(each, safe='')}"))
                    say(f"Deleted {each}.")

        asyncio.run(run())

    delete_objects.__doc__ = f"Delete {kind.name.replace('-', ' ')}; what is deleted leaves the disk."
    return delete_objects


# ── Making ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@assistants.command("create", epilog=examples("assistants create -m qwen3-4b --name Clerk --instructions 'Answer briefly.' --tool file_search"))
@of_server
def create_assistant(
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="The model that answers.")],
    name: Annotated[Optional[str], typer.Option(help="What it is called.")] = None,  # noqa: UP045 typer reads this form
    instructions: Annotated[Optional[str], typer.Option("--instructions", "-s", help="What it is told before every thread.")] = None,  # noqa: UP045
    tool: Annotated[Optional[list[str]], typer.Option(help="file_search or code_interpreter; may be given twice.")] = None,  # noqa: UP045
) -> None:
    """Make an assistant; its id is printed."""
    tools = [{"type": each} for each in tool or []]
    say(asyncio.run(ask("POST", "/v1/assistants", {"model": model, "name": name, "instructions": instructions, "tools": tools}))["id"])


@threads.command("create", epilog=examples("threads create 'When does the lease end?'"))
@of_server
def create_thread(message: Annotated[Optional[str], typer.Argument(help="Its first message.")] = None) -> None:  # noqa: UP045 typer reads this form
    """Make a thread; its id is printed."""
    messages = [{"role": "user", "content": message}] if message else []
    say(asyncio.run(ask("POST", "/v1/threads", {"messages": messages}))["id"])


@files.command("create", epilog=examples("files create lease.pdf notes.md"))
@of_server
def create_files(
    paths: Annotated[list[Path], typer.Argument(help="What is uploaded.")], *, purpose: Annotated[str, typer.Option(help="As the API has it.")] = "assistants"
) -> None:
    """Upload files; their ids are printed."""

    check_readable(paths)

    async def run() -> None:
        async with client_of_server() as client:
            for path in paths:
                say((await upload(client, path, purpose=purpose))["id"])

    asyncio.run(run())


@vector_stores.command("add", epilog=examples("vector-stores add vs_abc annex.pdf"))
@of_server
def add_to_vector_store(
    vector_store_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Documents to put into it.")],
) -> None:
    """Put documents into a vector store and wait until they can be searched. Ctrl-C cancels those that are not done."""
    check_readable(paths)

    async def run() -> int:
        async with client_of_server(is_working=True) as client:
            answered(await client.get(f"/v1/vector_stores/{quote(vector_store_id, safe='')}"))
            return await add_documents(client, vector_store_id, paths)

    if asyncio.run(run()):
        raise SystemExit(1)


@vector_stores.command("create", epilog=examples("vector-stores create contracts lease.pdf annex.pdf"))
@of_server
def create_vector_store(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    paths: Annotated[Optional[list[Path]], typer.Argument(metavar="[FILE]...", help="Documents to put into it.")] = None,  # noqa: UP045 typer reads this form
) -> None:
    """Make a vector store, put documents into it and wait until they can be searched; its id is printed."""

    check_readable(paths or [])

    async def run() -> tuple[str, int]:
        async with client_of_server(is_working=True) as client:
            store = answered(await client.post("/v1/vector_stores", json={"name": name}))
            return store["id"], await add_documents(client, store["id"], paths or [])

    store_id, num_failed = asyncio.run(run())
    say(store_id)
    if num_failed:
        raise SystemExit(1)


# ── Taking out ───────────────────────────────────────────────────────────────────────────────────────────────────────


@files.command("export", epilog=examples("files export file-abc chart.png"))
@of_server
def export_file(file_id: Id, path: Annotated[Path, typer.Argument(help="Where its content is written; what is there already is not overwritten.")]) -> None:
    """Write a file's content to the disk."""

    async def run() -> None:
        async with client_of_server() as client:
            await save_content(client, file_id, path)

    asyncio.run(run())
    say(f"{path}")


@assistants.command("export", epilog=examples("assistants export > assistants.jsonl", "assistants export asst_abc --json > clerk.jsonl", "import clerk.jsonl"))
@of_server
def export_assistants(
    assistant_ids: Annotated[Optional[list[str]], typer.Argument(metavar="[ID]...", help="Default: all.")] = None,  # noqa: UP045 typer reads this form
    *,
    as_json: AlwaysJson = True,
) -> None:
    """Write assistants to stdout, one JSON object a line, for `import`. Files and vector stores that they name have exports of their own."""
    del as_json
    for each in asyncio.run(_assistants(assistant_ids or [])):
        sys.stdout.write(f"{json.dumps(each, ensure_ascii=False)}\n")


async def _assistants(assistant_ids: list[str]) -> list[dict[str, Any]]:
    async with client_of_server() as client:
        if not assistant_ids:
            return [each async for each in listed(client, "/v1/assistants")]
        return [answered(await client.get(f"/v1/assistants/{quote(each, safe='')}")) for each in assistant_ids]


@threads.command("export", epilog=examples("threads export thread_abc > lease.md", "threads export thread_abc --json > lease.json"))
@of_server
def export_thread(thread_id: Id, *, as_json: AsJson = False) -> None:
    """Write a thread's messages to stdout, as Markdown or as JSON."""
    messages = asyncio.run(_all(f"/v1/threads/{quote(thread_id, safe='')}/messages"))
    if as_json:
        show_json(messages)
        return
    for message in messages:
        say(f"## {message['role']}\n\n{text_of(message)}\n")


def text_of(message: dict[str, Any]) -> str:
    """A message in Markdown, its citations as a list of quotes below it."""
    parts: list[str] = []
    for part in message["content"]:
        if part["type"] != "text":
            parts.append(f"[{part['type']}]")
            continue
        parts += [part["text"]["value"], *citations_of(part["text"])]
    return "\n\n".join(parts)


def citations_of(text: dict[str, Any]) -> list[str]:
    """A line for each citation: its marker, and the quote that it stands for."""
    found = [each for each in text["annotations"] if each["type"] == "file_citation"]
    return [f"{each['text']} {each['file_citation'].get('quote') or each['file_citation']['file_id']}" for each in found]
