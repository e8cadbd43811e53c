"""Vector stores under races and bad luck: counts stay true, nothing hangs, and what was deleted is gone from the disk."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from offline_assistants.documents.parser_process import ParserProcess
from offline_assistants.domain.ids import Ids
from offline_assistants.domain.objects import DEFAULT_PROJECT, ExpiresAfter, File, VectorStore, VectorStoreFile
from offline_assistants.file_search.search_index import SearchIndex
from offline_assistants.ingestion import FileToAdd, Ingestion
from offline_assistants.ports import ParsedDocument
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.changes import Put
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.testing.hash_documents import HashDocuments
from tests.api.conftest import LiveServer
from tests.command_line import begin, command

GIB = 2**30
TEXT = b"The llama paddock is closed in winter."


class SlowDocuments(HashDocuments):
    """Parses when the test lets it, and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.may_parse = threading.Event()
        self.may_parse.set()
        self.num_begun = 0

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        self.num_begun += 1
        while not self.may_parse.is_set():  # noqa: ASYNC110 set from the test's thread
            await asyncio.sleep(0.01)
        return await super().parse(filename, content)


@pytest.fixture
def documents() -> SlowDocuments:
    return SlowDocuments()


@pytest.fixture
def server(tmp_path: Path, documents: SlowDocuments) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "data", documents=documents).start()
    yield live
    documents.may_parse.set()
    live.stop()


def wait_until(is_so: Callable[[], bool], *, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def upload(client: openai.OpenAI, content: bytes = TEXT, name: str = "paddock.txt") -> str:
    return client.files.create(file=(name, content), purpose="assistants").id


def upload_while_parsing_waits(client: openai.OpenAI, documents: SlowDocuments) -> tuple[str, str]:
    """A vector store, and a file for it."""
    documents.may_parse.clear()
    return client.vector_stores.create().id, upload(client)


def counts_of(counted: Any) -> dict[str, int]:
    """Those that are not zero."""
    return {name: number for name, number in counted.file_counts.to_dict().items() if number}


def blobs_in(server: LiveServer) -> list[str]:
    return [path.name for path in (server.data_dir / "blobs").rglob("*") if path.is_file()]


# ── Files that are taken out while a worker is at them ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("takes_out", ["detach", "delete"])
def test_a_batch_ends_although_its_file_is_taken_out(client: openai.OpenAI, documents: SlowDocuments, takes_out: str) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    batch = client.vector_stores.file_batches.create(store_id, file_ids=[file_id])
    wait_until(lambda: documents.num_begun == 1)

    if takes_out == "detach":
        client.vector_stores.files.delete(file_id, vector_store_id=store_id)
    else:
        client.files.delete(file_id)
    documents.may_parse.set()

    done = client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store_id)
    assert (done.status, counts_of(done)) == ("completed", {"cancelled": 1, "total": 1})
    assert counts_of(client.vector_stores.retrieve(store_id)) == {}


def test_files_that_are_detached_and_attached_again_end_no_worker(client: openai.OpenAI, documents: SlowDocuments) -> None:
    for number in range(4):
        num_begun = documents.num_begun
        store_id, file_id = upload_while_parsing_waits(client, documents)
        client.vector_stores.files.create(store_id, file_id=file_id)
        wait_until(lambda num_begun=num_begun: documents.num_begun > num_begun)
        client.vector_stores.files.delete(file_id, vector_store_id=store_id)
        client.vector_stores.files.create(store_id, file_id=file_id)
        documents.may_parse.set()

        done = client.vector_stores.files.poll(file_id, vector_store_id=store_id, poll_interval_ms=20)

        store = client.vector_stores.retrieve(store_id)
        assert (number, done.status, store.status, counts_of(store)) == (number, "completed", "completed", {"completed": 1, "total": 1})
        assert len(client.vector_stores.search(store_id, query="llama").data) == 1


def test_a_file_attached_again_never_gets_the_chunks_of_the_first_time(client: openai.OpenAI, documents: SlowDocuments) -> None:
    documents.may_parse.clear()
    store_id, file_id = client.vector_stores.create().id, upload(client, b"llama " * 300)
    client.vector_stores.files.create(store_id, file_id=file_id)
    wait_until(lambda: documents.num_begun == 1)

    client.vector_stores.files.delete(file_id, vector_store_id=store_id)
    small = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    client.vector_stores.files.create(store_id, file_id=file_id, chunking_strategy=small)
    documents.may_parse.set()
    client.vector_stores.files.poll(file_id, vector_store_id=store_id, poll_interval_ms=20)

    assert len(client.vector_stores.search(store_id, query="llama").data) == 3


def test_a_store_deleted_while_a_worker_is_at_it_leaves_nothing(client: openai.OpenAI, server: LiveServer, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    client.vector_stores.files.create(store_id, file_id=file_id)
    wait_until(lambda: documents.num_begun == 1)

    client.vector_stores.delete(store_id)
    documents.may_parse.set()

    other = client.vector_stores.create(file_ids=[file_id])
    wait_until(lambda: client.vector_stores.retrieve(other.id).status == "completed")
    client.files.delete(file_id)
    wait_until(lambda: blobs_in(server) == [])


# ── Counts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_added_many_times_at_once_is_added_once(client: openai.OpenAI, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)

    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: client.vector_stores.files.create(store_id, file_id=file_id), range(8)))
    documents.may_parse.set()
    client.vector_stores.files.poll(file_id, vector_store_id=store_id, poll_interval_ms=20)

    assert {row.id for row in rows} == {file_id}
    assert counts_of(client.vector_stores.retrieve(store_id)) == {"completed": 1, "total": 1}
    assert documents.num_begun == 1


def test_a_batch_counts_what_is_there_already_as_what_it_is(client: openai.OpenAI) -> None:
    store_id = client.vector_stores.create().id
    good, bad = upload(client), upload(client, name="paddock.xyz")
    client.vector_stores.file_batches.create_and_poll(store_id, file_ids=[good, bad], poll_interval_ms=20)

    again = client.vector_stores.file_batches.create(store_id, file_ids=[good, bad, good])

    assert (again.status, counts_of(again)) == ("completed", {"completed": 1, "failed": 1, "total": 2})
    assert counts_of(client.vector_stores.retrieve(store_id)) == {"completed": 1, "failed": 1, "total": 2}


def test_a_file_in_progress_goes_over_to_the_newer_batch(client: openai.OpenAI, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    older = client.vector_stores.file_batches.create(store_id, file_ids=[file_id])

    newer = client.vector_stores.file_batches.create(store_id, file_ids=[file_id])
    documents.may_parse.set()

    done = [client.vector_stores.file_batches.poll(batch.id, vector_store_id=store_id, poll_interval_ms=20) for batch in (older, newer)]
    assert counts_of(newer) == {"in_progress": 1, "total": 1}
    assert [counts_of(batch) for batch in done] == [{"cancelled": 1, "total": 1}, {"completed": 1, "total": 1}]
    assert [file.id for file in client.vector_stores.file_batches.list_files(newer.id, vector_store_id=store_id)] == [file_id]
    assert counts_of(client.vector_stores.retrieve(store_id)) == {"completed": 1, "total": 1}


def test_a_cancelled_batch_leaves_its_files_unread(client: openai.OpenAI, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    batch = client.vector_stores.file_batches.create(store_id, file_ids=[file_id, upload(client, b"llama llama")])
    wait_until(lambda: documents.num_begun == 2)

    cancelled = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store_id)
    documents.may_parse.set()

    control = client.vector_stores.files.create_and_poll(upload(client, b"Dogs only."), vector_store_id=store_id, poll_interval_ms=20)
    assert (cancelled.status, counts_of(cancelled)) == ("cancelled", {"cancelled": 2, "total": 2})
    assert client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store_id) == cancelled
    assert client.vector_stores.files.retrieve(file_id, vector_store_id=store_id).status == "cancelled"
    assert counts_of(client.vector_stores.retrieve(store_id)) == {"cancelled": 2, "completed": 1, "total": 3}
    assert {result.file_id for result in client.vector_stores.search(store_id, query="llama").data} <= {control.id}


def test_progress_is_told_as_events_until_all_is_done(client: openai.OpenAI, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    client.vector_stores.file_batches.create(store_id, file_ids=[file_id, upload(client, b"Second.", "second.txt")])
    wait_until(lambda: documents.num_begun == 2)

    with httpx.stream("GET", f"{client.base_url}vector_stores/{store_id}/progress", params={"stream": True}) as response:
        lines = response.iter_lines()
        first = [next(lines) for _ in range(3)]
        documents.may_parse.set()
        rest = list(lines)

    told = json.loads(first[1].removeprefix("data: "))
    last = json.loads([line for line in rest if line.startswith("data: {")][-1].removeprefix("data: "))
    assert (first[0], rest[-3:]) == ("event: vector_store.progress", ["event: done", "data: [DONE]", ""])
    assert told["status"] == "in_progress"
    assert told["file_counts"]["in_progress"] == 2
    assert {"id": file_id, "share_done": 0.0} in told["files_at_work"]
    assert last["status"] == "completed"
    assert (last["file_counts"]["completed"], last["files_at_work"]) == (2, [])


def test_progress_ends_when_what_is_left_is_cancelled(client: openai.OpenAI, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    batch = client.vector_stores.file_batches.create(store_id, file_ids=[file_id])

    with httpx.stream("GET", f"{client.base_url}vector_stores/{store_id}/progress", params={"stream": True}) as response:
        client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store_id)
        said = [line for line in response.iter_lines() if line.startswith("data: ")]

    assert json.loads(said[-2].removeprefix("data: "))["file_counts"]["cancelled"] == 1
    assert said[-1] == "data: [DONE]"


@pytest.mark.timeout(120)
def test_whoever_leaves_the_command_cancels_what_is_not_indexed(client: openai.OpenAI, server: LiveServer, documents: SlowDocuments, tmp_path: Path) -> None:
    store_id, _ = upload_while_parsing_waits(client, documents)
    (tmp_path / "slow.txt").write_bytes(TEXT)

    with begin("vector-stores", "add", store_id, tmp_path / "slow.txt", "--data-dir", server.data_dir) as adding:
        wait_until(lambda: documents.num_begun == 1, timeout_s=60)
        adding.send_signal(signal.SIGINT)
        adding.communicate(timeout=30)

    assert adding.returncode not in (None, 0)
    assert counts_of(client.vector_stores.retrieve(store_id)) == {"cancelled": 1, "total": 1}


@pytest.mark.timeout(90)
def test_documents_are_added_to_a_store_by_command(client: openai.OpenAI, server: LiveServer, tmp_path: Path) -> None:
    store_id = client.vector_stores.create().id
    (tmp_path / "paddock.txt").write_bytes(TEXT)

    added = command("vector-stores", "add", store_id, tmp_path / "paddock.txt", "--data-dir", server.data_dir)
    unknown = command("vector-stores", "add", "vs_nobody", tmp_path / "paddock.txt", "--data-dir", server.data_dir)

    assert (added.returncode, counts_of(client.vector_stores.retrieve(store_id))) == (0, {"completed": 1, "total": 1})
    assert (unknown.returncode, "vs_nobody" in unknown.stderr) == (1, True)


def test_progress_of_a_store_is_told_once_and_of_an_unknown_one_not_at_all(client: openai.OpenAI) -> None:
    store_id = client.vector_stores.create().id

    now = httpx.get(f"{client.base_url}vector_stores/{store_id}/progress").raise_for_status().json()
    unknown = httpx.get(f"{client.base_url}vector_stores/vs_nobody/progress", params={"stream": True})

    assert (now["object"], now["status"], now["file_counts"]["total"]) == ("vector_store.progress", "completed", 0)
    assert unknown.status_code == 404


def test_a_completed_batch_cannot_be_cancelled(client: openai.OpenAI) -> None:
    store_id = client.vector_stores.create().id
    batch = client.vector_stores.file_batches.create_and_poll(store_id, file_ids=[upload(client)], poll_interval_ms=20)

    assert client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store_id) == batch
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.file_batches.cancel("vsfb_none", vector_store_id=store_id)


def test_a_restart_goes_on_with_what_was_in_progress(client: openai.OpenAI, server: LiveServer, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    batch = client.vector_stores.file_batches.create(store_id, file_ids=[file_id])
    wait_until(lambda: documents.num_begun == 1)

    server.stop()
    documents.may_parse.set()
    server.start()

    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as again:
        assert counts_of(again.vector_stores.file_batches.poll(batch.id, vector_store_id=store_id, poll_interval_ms=20)) == {"completed": 1, "total": 1}


# ── Deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_restarted", [False, True])
def test_equal_contents_leave_the_disk_with_the_last_of_their_files(server: LiveServer, is_restarted: bool) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        file_ids = [upload(client), upload(client)]
    if is_restarted:
        server.stop()
        server.start()

    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        client.files.delete(file_ids[0])
        assert client.files.content(file_ids[1]).read() == TEXT
        client.files.delete(file_ids[1])

    assert blobs_in(server) == []


def test_equal_texts_leave_the_disk_with_the_last_of_their_stores(client: openai.OpenAI, server: LiveServer) -> None:
    file_id = upload(client)
    stores = [client.vector_stores.create(file_ids=[file_id]).id for _ in range(3)]
    wait_until(lambda: all(client.vector_stores.retrieve(store_id).file_counts.completed for store_id in stores))
    assert len(blobs_in(server)) == 2

    client.vector_stores.delete(stores[0])
    client.vector_stores.files.delete(file_id, vector_store_id=stores[1])
    assert len(blobs_in(server)) == 2
    assert client.vector_stores.search(stores[2], query="llama").data[0].content[0].text == TEXT.decode()
    client.files.delete(file_id)

    assert blobs_in(server) == []


def test_a_file_deleted_twice_at_once_is_deleted_once(client: openai.OpenAI, server: LiveServer) -> None:
    kept = upload(client)
    file_id = upload(client)
    answers: list[str] = []

    def delete() -> None:
        try:
            answers.append(str(client.files.delete(file_id).deleted))
        except openai.NotFoundError:
            answers.append("not found")

    deleting = [threading.Thread(target=delete) for _ in range(4)]
    for each in deleting:
        each.start()
    for each in deleting:
        each.join()

    assert sorted(answers) == ["True"] + ["not found"] * 3
    assert client.files.content(kept).read() == TEXT


def test_threads_that_vanish_meanwhile_do_not_disturb_the_deletion_of_a_file(client: openai.OpenAI) -> None:
    file_id = upload(client)
    holding = {"code_interpreter": {"file_ids": [file_id]}}
    threads = [client.beta.threads.create(tool_resources=holding).id for _ in range(20)]
    assistant = client.beta.assistants.create(model="scripted", tools=[{"type": "code_interpreter"}], tool_resources=holding)

    with ThreadPoolExecutor(4) as pool:
        gone = [pool.submit(client.beta.threads.delete, thread_id) for thread_id in threads[1:]]
        assert client.files.delete(file_id).deleted
        assert all(each.result().deleted for each in gone)

    assert client.beta.threads.retrieve(threads[0]).tool_resources.code_interpreter.file_ids == []
    assert client.beta.assistants.retrieve(assistant.id).tool_resources.code_interpreter.file_ids == []


# ── Expiry ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def make_expired_store(data_dir: Path) -> str:
    last_used = int(time.time()) - 3 * 86_400
    store = VectorStore(id="vs_old", created_at=last_used, expires_after=ExpiresAfter(days=2)).used(last_used)
    async with DuckDBStore.open(data_dir / "database") as database:
        await database.commit([Put(store)])
    return store.id


def test_a_store_that_has_expired_says_so_and_is_not_searched(tmp_path: Path) -> None:
    store_id = asyncio.run(make_expired_store(tmp_path / "data"))
    live = LiveServer(tmp_path / "data").start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client:
        assert client.vector_stores.retrieve(store_id).status == "expired"
        assert [store.status for store in client.vector_stores.list()] == ["expired"]
        assert client.vector_stores.update(store_id, name="old").status == "expired"
        for use in (lambda: client.vector_stores.search(store_id, query="x"), lambda: client.vector_stores.files.create(store_id, file_id=upload(client))):
            with pytest.raises(openai.BadRequestError, match="expired"):
                use()
        assert client.vector_stores.delete(store_id).deleted
    live.stop()


def test_a_run_on_an_expired_store_fails_and_an_attachment_makes_a_new_one(tmp_path: Path) -> None:
    store_id = asyncio.run(make_expired_store(tmp_path / "data"))
    live = LiveServer(tmp_path / "data").start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client:
        assistant = client.beta.assistants.create(model="scripted", tools=[{"type": "file_search"}])
        messages = [{"role": "user", "content": "Hi"}]
        thread = client.beta.threads.create(messages=messages, tool_resources={"file_search": {"vector_store_ids": [store_id]}})

        failed = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
        attachment = {"file_id": upload(client), "tools": [{"type": "file_search"}]}
        client.beta.threads.messages.create(thread.id, role="user", content="Look.", attachments=[attachment])
        done = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)

        assert (failed.status, failed.last_error.code) == ("failed", "server_error")
        assert "expired" in failed.last_error.message
        assert done.status == "completed"
        assert client.beta.threads.retrieve(thread.id).tool_resources.file_search.vector_store_ids != [store_id]
    live.stop()


# ── Options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_attributes_of_a_file_can_be_replaced(client: openai.OpenAI) -> None:
    store_id, file_id = client.vector_stores.create().id, upload(client)
    client.vector_stores.files.create_and_poll(file_id, vector_store_id=store_id, attributes={"year": 2024, "draft": True}, poll_interval_ms=20)

    changed = client.vector_stores.files.update(file_id, vector_store_id=store_id, attributes={"year": 2025})

    assert (changed.attributes, changed.status) == ({"year": 2025}, "completed")
    assert client.vector_stores.search(store_id, query="llama").data[0].attributes == {"year": 2025}
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.update("file-none", vector_store_id=store_id, attributes={})
    with pytest.raises(openai.BadRequestError, match="at most 16 properties"):
        client.vector_stores.files.update(file_id, vector_store_id=store_id, attributes={str(number): number for number in range(17)})


def test_attributes_changed_while_a_worker_is_at_the_file_stay(client: openai.OpenAI, documents: SlowDocuments) -> None:
    store_id, file_id = upload_while_parsing_waits(client, documents)
    client.vector_stores.files.create(store_id, file_id=file_id)

    client.vector_stores.files.update(file_id, vector_store_id=store_id, attributes={"year": 2025})
    documents.may_parse.set()

    assert client.vector_stores.files.poll(file_id, vector_store_id=store_id, poll_interval_ms=20).attributes == {"year": 2025}


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", settings={"max_file_bytes": 1000}).start()
    connection = HTTPConnection(urlsplit(live.url).netloc, timeout=5)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10 * GIB))
    connection.endheaders()
    with closing(connection), connection.getresponse() as response:
        status, answer = response.status, json.load(response)
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client, pytest.raises(openai.BadRequestError, match="at most 1000"):
        client.files.create(file=("a.bin", bytes(5_000_000)), purpose="assistants")
    live.stop()

    assert (status, answer["error"]["param"]) == (400, "file")


# ── A store that cannot take more ────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def ingesting(directory: Path, min_free_bytes: int) -> AsyncIterator[tuple[Ingestion, DuckDBStore, BlobStore]]:
    async with (
        DuckDBStore.open(directory / "database", min_free_bytes=min_free_bytes) as store,
        BlobStore.open(directory / "blobs", min_free_bytes=min_free_bytes) as blobs,
        SearchIndex(directory / "vectors") as index,
    ):
        ingestion = Ingestion(
            store=store, blobs=blobs, documents=HashDocuments(), index=index, ids=Ids(random.Random(1)), now=lambda: 1_700_000_000, retry_after_s=0.1
        )
        try:
            yield ingestion, store, blobs
        finally:
            await ingestion.close()


@pytest.mark.timeout(40)
async def test_files_wait_until_there_is_room_on_the_disk(tmp_path: Path) -> None:
    filler = tmp_path / "filler"
    async with ingesting(tmp_path / "data", shutil.disk_usage(tmp_path).free - GIB) as (ingestion, store, blobs):
        for number in range(4):
            blob = await blobs.put_bytes(TEXT)
            name = f"{number}.txt" if number else "unsupported.xyz"
            await store.commit([Put(File(id=f"file-{number}", bytes=blob.size, created_at=1, filename=name, purpose="assistants", digest=blob.digest))])
        project = ProjectStore(store, DEFAULT_PROJECT)
        added = await ingestion.carry_out(project, await ingestion.plan_store(project, []))
        await ingestion.carry_out(project, await ingestion.plan_files(project, added.store, [FileToAdd(f"file-{number}") for number in range(4)]))
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 3 * GIB)

        await ingestion.open()
        await asyncio.sleep(1)
        while_full = await statuses(store)
        filler.unlink()

        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while "in_progress" in await statuses(store):  # noqa: ASYNC110 the store tells nobody
                    await asyncio.sleep(0.05)
        assert while_full == ["failed", "in_progress", "in_progress", "in_progress"]
        assert await statuses(store) == ["failed", "completed", "completed", "completed"]
        done = await store.get(VectorStore, added.store.id)
        assert done is not None
        assert (done.status, done.file_counts.completed, done.file_counts.failed, done.file_counts.total) == ("completed", 3, 1, 4)


async def statuses(store: DuckDBStore) -> list[str]:
    return [row.status async for row in store.list_all(VectorStoreFile)]


# ── Files that no parser can read, and stores that are busy ──────────────────────────────────────────────────────────


class ReallyParsed(HashDocuments):
    """Parses in the real child processes."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = ParserProcess(memory_bytes=512 << 20, timeout_s=60, max_text_chars=1_000_000, max_processes=2)

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        return await self._parser.parse(filename, content)


HOSTILE = {
    "cut.pdf": (b"%PDF-1.7\n1 0 obj\n<<", "invalid_file", "damaged"),
    "laughs.odt": (b"PK\x03\x04" + b"\0" * 200, "invalid_file", "damaged"),
    "no\nending": (b"\x7fELF" + b"\0" * 64, "unsupported_file", "without an ending"),
    "long.txt": (b"word " * 300_000, "invalid_file", "1,000,000"),
    "empty.md": (b" \n ", "invalid_file", "no text"),
}


@pytest.mark.timeout(120)
def test_hostile_files_fail_with_a_code_and_a_sentence_and_the_next_one_is_read(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", documents=ReallyParsed()).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=30) as client:
        names = {upload(client, content, name): name for name, (content, _, _) in HOSTILE.items()}
        good = upload(client)
        store = client.vector_stores.create()
        batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=[*names, good], poll_interval_ms=50)
        rows = {row.id: row for row in client.vector_stores.files.list(store.id)}
        found = client.vector_stores.search(store.id, query="llama paddock").data
    live.stop()

    assert counts_of(batch) == {"failed": len(HOSTILE), "completed": 1, "total": len(HOSTILE) + 1}
    assert [result.file_id for result in found] == [good]
    errors = {names[file_id]: rows[file_id].last_error for file_id in names}
    for name, (_, code, words) in HOSTILE.items():
        error = errors[name]
        assert error is not None
        assert (error.code, words in error.message, error.message[-1]) == (code, True, "."), (name, error)


@pytest.mark.timeout(90)
def test_a_store_that_is_busy_does_not_keep_others_from_being_indexed_anew(client: openai.OpenAI, server: LiveServer, documents: SlowDocuments) -> None:
    idle = client.vector_stores.create()
    client.vector_stores.files.create_and_poll(upload(client), vector_store_id=idle.id, poll_interval_ms=20)
    busy, file_id = upload_while_parsing_waits(client, documents)
    client.vector_stores.files.create(busy, file_id=file_id)

    environment = {**os.environ, "OFFLINE_ASSISTANTS_DATA_DIR": str(server.data_dir), "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "offline_assistants", "vector-stores", "reindex", busy, idle.id]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, f"{idle.id}: 1 files indexed" in done.stdout, f"{busy}: " in done.stdout) == (1, True, False), done
    assert done.stderr.startswith(f"error: {busy}: ")
    assert "are in progress. Wait until they are done." in done.stderr
