"""Files on their way to the server and back: uploaded, put into a vector store until they can be searched, written to the disk."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from offline_assistants.cli.connection import answered, listed
from offline_assistants.cli.terminal import progress, remark
from offline_assistants.errors import OfflineAssistantsError

INDEXING_POLL_S = 0.1
UPLOAD_TIMEOUT_S = 600
FILES_IN_BATCH = 500
"""As many as the hosted API took at once."""


class _Watched(io.FileIO):
    """A file that tells how much of it has been read."""

    advance: Callable[[int], None]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.advance(len(data))
        return data


def check_readable(paths: Sequence[Path]) -> None:
    """Before anything is begun. Raises OfflineAssistantsError for the first that is no file, or may not be read."""
    for path in paths:
        try:
            if path.is_dir():
                raise OfflineAssistantsError(f"{path} is a folder. Name the files in it: {path}/*")
            path.open("rb").close()
        except OSError as error:
            raise OfflineAssistantsError(f"{path} cannot be read: {error.strerror}.") from error


async def upload(client: httpx.AsyncClient, path: Path, *, purpose: str = "assistants") -> dict[str, Any]:
    """The File object of a file of this machine. Raises OfflineAssistantsError."""
    try:
        with _Watched(path) as content, progress(f"uploading {path.name}", content.seek(0, io.SEEK_END)) as content.advance:
            content.seek(0)
            return answered(await client.post("/v1/files", data={"purpose": purpose}, files={"file": (path.name, content)}, timeout=UPLOAD_TIMEOUT_S))
    except OSError as error:
        raise OfflineAssistantsError(f"{path} cannot be read: {error.strerror}.") from error


async def add_documents(client: httpx.AsyncClient, store_id: str, paths: Sequence[Path]) -> int:
    """Upload, index, wait. How many failed; why is said on stderr. Whoever leaves meanwhile (Ctrl-C) cancels what is not done."""
    path_of, num_refused = dict[str, Path](), 0
    for path in paths:
        try:
            path_of[(await upload(client, path))["id"]] = path
        except OfflineAssistantsError as refused:  # the others are no worse for it
            remark(f"{path}: {refused.message}")
            num_refused += 1
    putting = asyncio.ensure_future(_in_batches(client, store_id, list(path_of)))
    try:
        await asyncio.shield(putting)
        await wait_until_indexed(client, store_id, f"indexing {paths[0].name if len(paths) == 1 else ''}".strip())
    except asyncio.CancelledError:
        for batch_id in await putting:
            await client.post(f"/v1/vector_stores/{store_id}/file_batches/{batch_id}/cancel")
        raise
    failed = [each async for each in listed(client, f"/v1/vector_stores/{store_id}/files") if each["id"] in path_of and each["status"] != "completed"]
    for each in failed:
        error: dict[str, Any] = each["last_error"] or {"message": each["status"]}
        remark(f"{path_of[each['id']]}: {error['message']}")
    return num_refused + len(failed)


async def _in_batches(client: httpx.AsyncClient, store_id: str, file_ids: Sequence[str]) -> list[str]:
    """Put files into a vector store; the batches that can be cancelled."""
    parts = [file_ids[first : first + FILES_IN_BATCH] for first in range(0, len(file_ids), FILES_IN_BATCH)]
    return [answered(await client.post(f"/v1/vector_stores/{store_id}/file_batches", json={"file_ids": part}))["id"] for part in parts]


async def wait_until_indexed(client: httpx.AsyncClient, store_id: str, what: str) -> dict[str, Any]:
    """The vector store, once none of its files is in progress."""
    store = answered(await client.get(f"/v1/vector_stores/{store_id}"))
    todo = store["file_counts"]["in_progress"]
    with progress(what, todo, unit="files") as advance:
        while todo:
            await asyncio.sleep(INDEXING_POLL_S)
            store = answered(await client.get(f"/v1/vector_stores/{store_id}"))
            left = store["file_counts"]["in_progress"]
            advance(todo - left)
            todo = left
    return store


async def save_content(client: httpx.AsyncClient, file_id: str, path: Path) -> None:
    """Write a file's content to `path`, where nothing is yet. Raises OfflineAssistantsError."""
    async with client.stream("GET", f"/v1/files/{quote(file_id, safe='')}/content") as response:
        if response.is_error:
            await response.aread()
            answered(response)
        try:
            with path.open("xb") as written, progress(f"saving {path.name}", int(response.headers.get("content-length", 0))) as advance:
                async for piece in response.aiter_bytes():
                    written.write(piece)
                    advance(len(piece))
        except FileExistsError as error:
            raise OfflineAssistantsError(f"{path} is there already. Choose another name, or remove it first.") from error
        except OSError as error:
            raise OfflineAssistantsError(f"{path} cannot be written: {error.strerror}.") from error
