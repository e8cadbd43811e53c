"""Files that arrive in parts, with the official SDK: whole, in order, durable, and gone when they were not wanted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from offline_assistants.domain.ids import Ids
from offline_assistants.domain.objects import File, Upload
from offline_assistants.errors import NotFound, RequestError
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.changes import Put
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.uploads import Uploads
from tests.api.conftest import LiveServer
from tests.api.test_ingestion import blobs_in, wait_until

MIB = 2**20
HOUR_S = 3600


def create(client: openai.OpenAI, num_bytes: int, **options: Any) -> str:
    return client.uploads.create(bytes=num_bytes, filename="book.txt", mime_type="text/plain", purpose="assistants", **options).id


def add(client: openai.OpenAI, upload_id: str, *contents: bytes) -> list[str]:
    return [client.uploads.parts.create(upload_id, data=content).id for content in contents]


@asynccontextmanager
async def store_of(server: LiveServer) -> AsyncIterator[DuckDBStore]:
    """The database of a server that was stopped."""
    async with DuckDBStore.open(server.data_dir / "database", min_free_bytes=0) as store:
        yield store


@pytest.fixture
def refused(client: openai.OpenAI) -> Iterator[Any]:
    """What the server says against a call."""

    def call(method: Any, *args: Any, **options: Any) -> dict[str, Any]:
        with pytest.raises(openai.BadRequestError) as error:
            method(*args, **options)
        return error.value.body

    yield call


def test_parts_become_a_file_in_the_order_asked_for(client: openai.OpenAI) -> None:
    upload_id = create(client, 11)
    world, hello = add(client, upload_id, b"world", b"hello ")

    upload = client.uploads.complete(upload_id, part_ids=[hello, world], md5=hashlib.md5(b"hello world").hexdigest())

    assert (upload.status, upload.file.filename, upload.file.bytes, upload.file.purpose) == ("completed", "book.txt", 11, "assistants")
    assert client.files.retrieve(upload.file.id) == upload.file
    assert client.files.content(upload.file.id).read() == b"hello world"


def test_a_new_upload_is_pending_for_an_hour(client: openai.OpenAI) -> None:
    upload = client.uploads.create(bytes=5, filename="../a\n.txt", mime_type="text/plain", purpose="vision")
    part = client.uploads.parts.create(upload.id, data=b"12345")

    assert (upload.status, upload.expires_at - upload.created_at, upload.file, upload.bytes) == ("pending", HOUR_S, None, 5)
    assert upload.filename == "a.txt"
    assert (part.object, part.upload_id) == ("upload.part", upload.id)


@pytest.mark.parametrize("from_disk", [True, False])
def test_the_sdk_s_chunked_upload_works(client: openai.OpenAI, tmp_path: Path, from_disk: bool) -> None:
    content = os.urandom(3 * MIB + 17)
    options: dict[str, Any] = {"file": content, "filename": "big.pdf", "bytes": len(content)}
    if from_disk:
        (tmp_path / "big.pdf").write_bytes(content)
        options = {"file": tmp_path / "big.pdf"}

    upload = client.uploads.upload_file_chunked(
        **options, mime_type="application/pdf", purpose="user_data", part_size=MIB, md5=hashlib.md5(content).hexdigest()
    )

    assert (upload.status, upload.file.filename) == ("completed", "big.pdf")
    assert client.files.content(upload.file.id).read() == content


def test_an_empty_file_can_be_uploaded_in_no_part(client: openai.OpenAI) -> None:
    upload = client.uploads.complete(create(client, 0), part_ids=[])

    assert client.files.content(upload.file.id).read() == b""


def test_parts_may_come_at_once(client: openai.OpenAI) -> None:
    contents = [bytes([number]) * 100_000 for number in range(16)]
    upload_id = create(client, 1_600_000)
    with ThreadPoolExecutor(8) as threads:
        part_ids = list(threads.map(lambda content: add(client, upload_id, content)[0], contents))

    upload = client.uploads.complete(upload_id, part_ids=part_ids)

    assert client.files.content(upload.file.id).read() == b"".join(contents)


def test_parts_outlive_a_restart(server: LiveServer) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        upload_id = create(client, 4)
        part_ids = add(client, upload_id, b"ab", b"cd")
    server.stop()
    server.start()
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        upload = client.uploads.complete(upload_id, part_ids=part_ids)

        assert client.files.content(upload.file.id).read() == b"abcd"


def test_to_complete_twice_gives_the_same_file(client: openai.OpenAI, server: LiveServer) -> None:
    upload_id = create(client, 4)
    part_ids = add(client, upload_id, b"ab", b"cd")
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: client.uploads.complete(upload_id, part_ids=part_ids), range(4)))

    assert len({upload.file.id for upload in done}) == 1
    assert len(client.files.list().data) == 1
    assert len(blobs_in(server)) == 1


def test_what_does_not_fit_together_is_refused_and_stays_pending(client: openai.OpenAI, refused: Any) -> None:
    upload_id = create(client, 4)
    ab, cd = add(client, upload_id, b"ab", b"cd")
    [foreign] = add(client, create(client, 2), b"cd")

    assert refused(client.uploads.complete, upload_id, part_ids=[ab])["param"] == "part_ids"
    assert refused(client.uploads.complete, upload_id, part_ids=[ab, ab])["param"] == "part_ids"
    assert "part_x" in refused(client.uploads.complete, upload_id, part_ids=[ab, "part_x"])["message"]
    assert foreign in refused(client.uploads.complete, upload_id, part_ids=[ab, foreign])["message"]
    assert refused(client.uploads.complete, upload_id, part_ids=[ab, cd], md5="0" * 32)["param"] == "md5"
    assert client.uploads.complete(upload_id, part_ids=[ab, cd]).status == "completed"


def test_an_upload_that_has_ended_takes_nothing_more(client: openai.OpenAI, refused: Any, server: LiveServer) -> None:
    cancelled, completed = create(client, 2), create(client, 2)
    [part_id] = add(client, cancelled, b"ab")
    client.uploads.complete(completed, part_ids=add(client, completed, b"cd"))

    assert client.uploads.cancel(cancelled).status == "cancelled"

    for call in (
        lambda: add(client, cancelled, b"ab"),
        lambda: client.uploads.complete(cancelled, part_ids=[part_id]),
        lambda: client.uploads.cancel(cancelled),
        lambda: add(client, completed, b"ab"),
        lambda: client.uploads.complete(completed, part_ids=[]),
        lambda: client.uploads.cancel(completed),
    ):
        assert refused(call)["code"] == "invalid_upload_status"
    assert blobs_in(server) == [hashlib.sha256(b"cd").hexdigest()]


def test_unknown_uploads_are_404(client: openai.OpenAI) -> None:
    for call in (
        lambda: add(client, "upload_x", b"a"),
        lambda: client.uploads.complete("upload_x", part_ids=[]),
        lambda: client.uploads.cancel("upload_x"),
    ):
        with pytest.raises(openai.NotFoundError) as error:
            call()
        assert error.value.body["message"] == "No upload found with id 'upload_x'."


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"bytes": 8 * 2**30 + 1}, "bytes"),
        ({"bytes": -1}, "bytes"),
        ({"bytes": "5"}, "bytes"),
        ({"purpose": "assistants_output"}, "purpose"),
        ({"filename": ""}, "filename"),
        ({"filename": "a" * 256}, "filename"),
        ({"mime_type": None}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 3599}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "last_active_at", "seconds": 3600}}, "expires_after.anchor"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_fields_are_refused_with_their_place(server: LiveServer, changed: dict[str, Any], param: str) -> None:
    body = {"bytes": 5, "filename": "a.txt", "mime_type": "text/plain", "purpose": "assistants"} | changed

    response = httpx.post(f"{server.url}/uploads", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_part_of_more_than_64_megabytes_is_refused_and_leaves_nothing(client: openai.OpenAI, server: LiveServer, says_its_length: bool) -> None:
    upload_id = create(client, 100 * MIB)
    head = b'--x\r\ncontent-disposition: form-data; name="data"; filename="upload"\r\n\r\n'
    body = [head, *([bytes(MIB)] * 65), b"\r\n--x--\r\n"]

    response = httpx.post(
        f"{server.url}/uploads/{upload_id}/parts",
        content=b"".join(body) if says_its_length else iter(body),
        headers={"content-type": "multipart/form-data; boundary=x"},
        timeout=30,
    )

    assert (response.status_code, response.json()["error"]["code"], response.json()["error"]["param"]) == (400, "file_too_large", "data")
    wait_until(lambda: not blobs_in(server))


def test_the_parts_of_an_upload_have_a_limit_together(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", settings={"max_upload_bytes": 10}).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client:
        upload_id = create(client, 10)
        add(client, upload_id, b"123456")
        with pytest.raises(openai.BadRequestError) as error:
            add(client, upload_id, b"123456")
    live.stop()

    assert error.value.body["param"] == "data"
    assert len(blobs_in(live)) == 1


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="data"; filename="a"\r\n\r\nhalf', "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n', "multipart/form-data; boundary=x"),
        (b"--x\r\ncontent-disposition: form-data\r\n\r\n1\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--y\r\n\r\n1\r\n--y--\r\n", "multipart/form-data; boundary=x"),
        (b"\x00\xff" * 100, "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"data", "multipart/form-data"),
        (b"data", "multipart/form-data; boundary=" + "x" * 1000),
        (b"{}", "application/json"),
        (b"data=1", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_form_with_data_is_refused(client: openai.OpenAI, server: LiveServer, content: bytes, content_type: str) -> None:
    for path in (f"uploads/{create(client, 5)}/parts", "files"):
        response = httpx.post(f"{server.url}/{path}", content=content, headers={"content-type": content_type})

        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert blobs_in(server) == []


def test_an_upload_that_has_expired_is_over_and_its_parts_leave_the_disk(server: LiveServer, refused: Any) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        upload_id = create(client, 2)
        add(client, upload_id, b"ab")
    server.stop()

    async def age() -> None:
        async with store_of(server) as store:
            await store.update(Upload, upload_id, lambda upload: upload.model_copy(update={"expires_at": upload.created_at - 1}))

    asyncio.run(age())
    server.start()
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        wait_until(lambda: not blobs_in(server))

        assert "'expired'" in refused(client.uploads.complete, upload_id, part_ids=[])["message"]


async def test_an_upload_of_another_project_is_not_there(tmp_path: Path) -> None:
    async with DuckDBStore.open(None) as store, BlobStore.open(tmp_path, min_free_bytes=0) as blobs:
        uploads = Uploads(store=store, blobs=blobs, ids=Ids(random.Random(1)), now=lambda: 1, max_upload_bytes=10)
        mine, other = ProjectStore(store, "mine"), ProjectStore(store, "other")
        upload = await uploads.create(mine, filename="a", purpose="vision", num_bytes=1, mime_type="a/b", expires_after=None)
        part = await uploads.add_part(mine, upload.id, await blobs.put_bytes(b"a"))

        with pytest.raises(NotFound):
            await uploads.add_part(other, upload.id, await blobs.put_bytes(b"b"))
        with pytest.raises(NotFound):
            await uploads.complete(other, upload.id, [part.id])
        with pytest.raises(NotFound):
            await uploads.cancel(other, upload.id)
        own = await uploads.create(other, filename="a", purpose="vision", num_bytes=1, mime_type="a/b", expires_after=None)
        with pytest.raises(RequestError):
            await uploads.complete(other, own.id, [part.id])
        file = (await uploads.complete(mine, upload.id, [part.id])).file
        assert file is not None
        assert await other.get(File, file.id) is None
        assert (await mine.get(File, file.id)) is not None


# ── Files with an end ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_says_when_it_expires(client: openai.OpenAI) -> None:
    anchor: Any = {"anchor": "created_at", "seconds": HOUR_S}
    file = client.files.create(file=("a.txt", b"a"), purpose="assistants", expires_after=anchor)
    upload_id = create(client, 1, expires_after=anchor)
    part = client.uploads.complete(upload_id, part_ids=add(client, upload_id, b"b")).file
    batch = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")

    assert [each.expires_at - each.created_at for each in (file, part, batch)] == [HOUR_S, HOUR_S, 30 * 24 * HOUR_S]
    assert client.files.create(file=("a.txt", b"a"), purpose="assistants").expires_at is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"expires_after[seconds]": "3600"}, "expires_after.anchor"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "expires_after.seconds"),
        ({"purpose": "nothing"}, "purpose"),
        ({"purpose": "\x00"}, "purpose"),
        ({"colour": "red"}, "colour"),
        ({"purpose": "x" * 100_000}, "purpose"),
    ],
)
def test_bad_fields_of_a_form_are_refused_and_leave_nothing(server: LiveServer, fields: dict[str, str], param: str) -> None:
    response = httpx.post(f"{server.url}/files", data={"purpose": "assistants"} | fields, files={"file": ("a.txt", b"a")})

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert blobs_in(server) == []


def test_an_expired_file_is_gone_everywhere(server: LiveServer) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        file_id = client.files.create(file=("a.txt", b"Llamas hum."), purpose="assistants").id
        thread_id = client.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": [file_id]}}).id
        store_id = client.vector_stores.create(file_ids=[file_id]).id
        wait_until(lambda: client.vector_stores.retrieve(store_id).status == "completed")
    server.stop()

    async def age() -> None:
        async with store_of(server) as store:
            file = await store.get(File, file_id)
            assert file is not None
            await store.commit([Put(file.model_copy(update={"expires_at": file.created_at}))])

    asyncio.run(age())
    server.start()
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        wait_until(lambda: not client.files.list().data)

        for look in (client.files.retrieve, client.files.content):
            with pytest.raises(openai.NotFoundError):
                look(file_id)
        assert client.beta.threads.retrieve(thread_id).tool_resources.code_interpreter.file_ids == []
        assert client.vector_stores.files.list(store_id).data == []
        wait_until(lambda: not blobs_in(server))


# ── Names and sizes ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("naïve 日本語 🦙.txt", "naïve 日本語 🦙.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ('say "hi".txt', 'say "hi".txt'),
        ("..", "file"),
        ("/", "file"),
        ("a.tar.gz", "a.tar.gz"),
        (".hidden", ".hidden"),
    ],
)
def test_a_file_name_is_the_last_part_of_what_was_sent(client: openai.OpenAI, sent: str, kept: str) -> None:
    file = client.files.create(file=(sent, b"a"), purpose="assistants")

    assert file.filename == kept
    assert client.files.content(file.id).response.headers["content-disposition"].startswith("attachment")


def test_a_name_without_ascii_of_older_clients_is_read(server: LiveServer) -> None:
    head = b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename*=utf-8''na%C3%AFve%0A.txt\r\n\r\na\r\n"
    tail = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--x--\r\n'

    response = httpx.post(f"{server.url}/files", content=head + tail, headers={"content-type": "multipart/form-data; boundary=x"})

    assert response.json()["filename"] == "naïve.txt"


def test_a_stretch_of_a_file_can_be_fetched(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.txt", b"0123456789"), purpose="assistants")

    assert client.files.content(file.id, extra_headers={"range": "bytes=2-4"}).read() == b"234"


def test_a_body_in_chunks_is_refused_while_it_is_read(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", settings={"max_file_bytes": MIB}).start()
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    response = httpx.post(
        f"{live.url}/files", content=iter([head, *[bytes(MIB // 4)] * 8]), headers={"content-type": "multipart/form-data; boundary=x"}, timeout=15
    )
    live.stop()

    assert (response.status_code, response.json()["error"]["code"]) == (400, "file_too_large")
    assert blobs_in(live) == []
