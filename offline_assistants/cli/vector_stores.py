"""`vector-stores`: what file_search looks into."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Optional

import httpx
import typer

from offline_assistants.cli.connection import answered, client_of_server, listed
from offline_assistants.cli.documents import wait_until_indexed
from offline_assistants.cli.terminal import complain, examples, of_server, progress, say, show_counts
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.transfer import contents_beside, export_vector_store

vector_stores = typer.Typer(
    help="The vector stores that file_search looks into.",
    epilog=examples("vector-stores create contracts lease.pdf annex.pdf", "vector-stores add vs_abc more.pdf", "vector-stores list"),
    no_args_is_help=True,
)


@vector_stores.command("reindex", epilog=examples("vector-stores reindex", "vector-stores reindex vs_abc"))
@of_server
def reindex_vector_stores(vector_store_ids: Optional[list[str]] = typer.Argument(None, metavar="[ID]...", help="Default: all.")) -> None:  # noqa: UP045, B008 typer reads this form
    """Rebuild the search indexes from the stored texts: after the embedding model was changed, or an index was lost."""
    if not asyncio.run(_reindex(vector_store_ids or [])):
        raise SystemExit(1)


async def _reindex(vector_store_ids: list[str]) -> bool:
    """Whether every file of these stores could be indexed, or of all stores of all projects."""
    num_failed, missing = 0, set(vector_store_ids)
    async with client_of_server() as client:
        for project in answered(await client.get("/admin/projects"))["data"]:
            client.headers["OpenAI-Project"] = project
            there = [store["id"] async for store in listed(client, "/v1/vector_stores")]
            for store_id in there if not vector_store_ids else [each for each in there if each in vector_store_ids]:
                missing.discard(store_id)
                try:
                    num_failed += await _reindex_one(client, store_id)
                except OfflineAssistantsError as error:  # one that is busy, or was deleted meanwhile, is no reason to leave the others as they are
                    complain(f"{store_id}: {error.message}")
                    num_failed += 1
    if missing:
        raise OfflineAssistantsError(f"There is no vector store {', '.join(sorted(missing))}.")
    return not num_failed


async def _reindex_one(client: httpx.AsyncClient, store_id: str) -> int:
    """How many of its files failed."""
    store = answered(await client.post(f"/v1/vector_stores/{store_id}/reindex"))
    if store["status"] == "in_progress":
        store = await wait_until_indexed(client, store_id, f"indexing {store_id}")
    counts = store["file_counts"]
    say(f"{store_id}: {counts['completed']} files indexed" + (f", {counts['failed']} failed" if counts["failed"] else ""))
    if counts["failed"]:
        async for each in listed(client, f"/v1/vector_stores/{store_id}/files", filter="failed"):
            error: dict[str, Any] = each["last_error"] or {"message": "it failed"}
            complain(f"{store_id}: {each['id']}: {error['message']}")
    return counts["failed"]


@vector_stores.command("export", epilog=examples("vector-stores export vs_abc contracts", "import contracts   # into another server"))
@of_server
def export_one(
    vector_store_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    path: Annotated[Path, typer.Argument(help="A file NAME.jsonl, or a folder, which gets objects.jsonl. Contents of files go to NAME.files/ beside it.")],
) -> None:
    """Write a vector store and its files to the disk, so that `import` can take them up. Vectors are left out: they are computed anew."""
    target = path if path.suffix == ".jsonl" and not path.is_dir() else path / "objects.jsonl"

    async def run() -> Counter[str]:
        async with client_of_server() as client:
            return await export_vector_store(client, vector_store_id, target, contents=contents_beside(target), watch=progress)

    show_counts(target, asyncio.run(run()))
