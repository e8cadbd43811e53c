"""Vector stores, their files and batches, with every parameter that the official SDK has for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from tests.api.conftest import LiveServer
from tests.api.test_ingestion import wait_until

SMALL: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}


def upload(client: openai.OpenAI, text: str, name: str = "a.txt") -> str:
    return client.files.create(file=(name, text.encode()), purpose="assistants").id


@pytest.fixture
def library(client: openai.OpenAI) -> tuple[str, dict[str, str]]:
    """A store of four files about llamas, indexed, and their ids by name."""
    store_id = client.vector_stores.create(name="Library").id
    attributes: dict[str, dict[str, Any]] = {
        "old": {"year": 1999, "language": "en"},
        "new": {"year": 2024, "language": "en", "is_new": True},
        "german": {"year": 2020, "language": "de"},
        "bare": {},
    }
    ids = {name: upload(client, f"The {name} book says that llamas hum.", f"{name}.txt") for name in attributes}
    files: Any = [{"file_id": ids[name], "attributes": given} for name, given in attributes.items()]
    client.vector_stores.file_batches.create_and_poll(store_id, files=files, poll_interval_ms=20)
    return store_id, ids


# ── Stores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_keeps_what_it_was_given_and_changes_where_it_is_told(client: openai.OpenAI) -> None:
    made = client.vector_stores.create(name="A", description="About llamas", metadata={"k": "v"}, expires_after={"anchor": "last_active_at", "days": 2})
    renamed = client.vector_stores.update(made.id, name="B")
    kept = client.vector_stores.update(made.id, name=None, expires_after=None, metadata=None)

    assert (made.name, made.description, made.metadata, made.status) == ("A", "About llamas", {"k": "v"}, "completed")
    assert made.expires_at == made.last_active_at + 2 * 86_400
    assert (renamed.name, renamed.metadata, renamed.expires_at) == ("B", {"k": "v"}, made.expires_at)
    assert (kept.name, kept.expires_after, kept.expires_at, kept.metadata) == ("", None, None, {})


def test_stores_are_listed_in_pages_both_ways(client: openai.OpenAI) -> None:
    made = [client.vector_stores.create(name=str(number)).id for number in range(5)]

    assert [each.id for each in client.vector_stores.list(order="asc", limit=2)] == made
    assert [each.id for each in client.vector_stores.list(before=made[1], limit=2).data] == [made[3], made[2]]


def test_a_store_is_made_with_files_and_their_chunking(client: openai.OpenAI) -> None:
    file_id = upload(client, "Llamas hum.")
    store = client.vector_stores.create(file_ids=[file_id, file_id], chunking_strategy=SMALL)

    assert (store.status, store.file_counts.in_progress, store.file_counts.total) == ("in_progress", 1, 1)
    done = client.vector_stores.files.poll(file_id, vector_store_id=store.id, poll_interval_ms=20)
    assert (done.status, done.chunking_strategy.to_dict()) == ("completed", SMALL)


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_keeps_its_attributes_as_they_are(client: openai.OpenAI) -> None:
    store_id, given = client.vector_stores.create().id, {"text": "a", "whole": 3, "part": 2.5, "is_new": True}

    raw = client.vector_stores.with_raw_response.files.create(store_id, file_id=upload(client, "x y"), attributes=given, chunking_strategy={"type": "auto"})

    file = json.loads(raw.text)
    assert list(map(repr, file["attributes"].values())) == list(map(repr, given.values()))
    assert file["chunking_strategy"]["static"] == {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}


def test_a_file_that_is_added_again_stays_as_it_is(client: openai.OpenAI) -> None:
    store_id, file_id = client.vector_stores.create().id, upload(client, "Llamas hum.")
    first = client.vector_stores.files.create_and_poll(file_id, vector_store_id=store_id, attributes={"n": 1}, poll_interval_ms=20)

    again = client.vector_stores.files.create(store_id, file_id=file_id, attributes={"n": 2})

    assert again == first
    assert client.vector_stores.retrieve(store_id).file_counts.total == 1


def test_files_are_listed_by_status(client: openai.OpenAI) -> None:
    store_id = client.vector_stores.create().id
    good, bad = upload(client, "Llamas hum."), upload(client, "x", "a.zip")
    client.vector_stores.file_batches.create_and_poll(store_id, file_ids=[good, bad], poll_interval_ms=20)

    def listed(status: Any) -> list[str]:
        return [each.id for each in client.vector_stores.files.list(store_id, filter=status)]

    assert (listed("completed"), listed("failed"), listed("cancelled"), listed("in_progress")) == ([good], [bad], [], [])
    assert client.vector_stores.files.retrieve(bad, vector_store_id=store_id).last_error.code == "unsupported_file"


def test_the_text_of_a_file_can_be_read(client: openai.OpenAI, library: tuple[str, dict[str, str]]) -> None:
    store_id, ids = library

    [part] = client.vector_stores.files.content(ids["old"], vector_store_id=store_id).data

    assert (part.type, part.text) == ("text", "The old book says that llamas hum.")


def test_a_detached_file_is_gone_from_the_store_only(client: openai.OpenAI, library: tuple[str, dict[str, str]]) -> None:
    store_id, ids = library

    deleted = client.vector_stores.files.delete(ids["old"], vector_store_id=store_id)

    assert (deleted.object, deleted.deleted) == ("vector_store.file.deleted", True)
    assert client.files.retrieve(ids["old"]).filename == "old.txt"
    assert client.vector_stores.retrieve(store_id).file_counts.total == 3
    assert ids["old"] not in [each.file_id for each in client.vector_stores.search(store_id, query="llamas hum")]


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_of_ids_shares_attributes_and_chunking(client: openai.OpenAI) -> None:
    store_id, file_ids = client.vector_stores.create().id, [upload(client, f"Llama {number}.") for number in range(3)]
    batch = client.vector_stores.file_batches.create(store_id, file_ids=file_ids, attributes={"team": "a"}, chunking_strategy=SMALL)

    assert (batch.object, batch.file_counts.in_progress, batch.file_counts.total) == ("vector_store.files_batch", 3, 3)
    done = client.vector_stores.file_batches.poll(batch.id, vector_store_id=store_id, poll_interval_ms=20)
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store_id, order="asc", filter="completed").data
    assert (done.status, [each.id for each in listed]) == ("completed", file_ids)
    assert {(str(each.attributes), each.chunking_strategy.static.max_chunk_size_tokens) for each in listed} == {("{'team': 'a'}", 200)}


def test_a_batch_of_files_has_attributes_and_chunking_of_each(client: openai.OpenAI) -> None:
    store_id, one, other = client.vector_stores.create().id, upload(client, "One."), upload(client, "Other.")

    batch = client.vector_stores.file_batches.create(
        store_id, files=[{"file_id": one, "attributes": {"n": 1}, "chunking_strategy": SMALL}, {"file_id": other}], attributes={"n": 0}
    )
    rows = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store_id, order="asc").data

    assert [(row.attributes, row.chunking_strategy.static.max_chunk_size_tokens) for row in rows] == [({"n": 1}, 200), ({"n": 0}, 800)]


def test_a_batch_that_is_done_stays_so_when_cancelled(client: openai.OpenAI) -> None:
    store_id = client.vector_stores.create().id
    batch = client.vector_stores.file_batches.create_and_poll(store_id, file_ids=[upload(client, "x y")], poll_interval_ms=20)

    assert client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store_id) == batch


def test_what_is_polled_says_how_soon_to_look_again(client: openai.OpenAI, library: tuple[str, dict[str, str]]) -> None:
    store_id, ids = library
    batch = client.vector_stores.file_batches.create(store_id, file_ids=[ids["old"]])
    stores = client.vector_stores.with_raw_response
    looks: list[Callable[[], Any]] = [
        lambda: stores.files.retrieve(ids["old"], vector_store_id=store_id),
        lambda: stores.file_batches.retrieve(batch.id, vector_store_id=store_id),
    ]

    assert all(100 <= int(look().headers["openai-poll-after-ms"]) <= 500 for look in looks)


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"type": "eq", "key": "language", "value": "en"}, {"old", "new"}),
        ({"type": "ne", "key": "language", "value": "en"}, {"german", "bare"}),
        ({"type": "gte", "key": "year", "value": 2020}, {"new", "german"}),
        ({"type": "in", "key": "year", "value": [1999, 2020]}, {"old", "german"}),
        ({"type": "nin", "key": "year", "value": [1999, 2020]}, {"new", "bare"}),
        ({"type": "eq", "key": "is_new", "value": True}, {"new"}),
        ({"type": "eq", "key": "language", "value": "fr"}, set()),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "lt", "key": "year", "value": 2000},
                    {"type": "and", "filters": [{"type": "eq", "key": "language", "value": "de"}, {"type": "gt", "key": "year", "value": 2010}]},
                ],
            },
            {"old", "german"},
        ),
    ],
)
def test_a_search_finds_in_files_that_its_filter_accepts(client: openai.OpenAI, library: tuple[str, dict[str, str]], filters: Any, names: set[str]) -> None:
    store_id, ids = library

    found = client.vector_stores.search(store_id, query="llamas hum", filters=filters, max_num_results=50).data

    assert {each.file_id for each in found} == {ids[name] for name in names}


def test_a_search_takes_several_queries_and_a_limit(client: openai.OpenAI, library: tuple[str, dict[str, str]]) -> None:
    store_id, _ = library

    page = client.vector_stores.search(store_id, query=["the german book", "the old book"], max_num_results=2)

    assert len(page.data) == 2
    assert page.model_extra["search_query"] == ["the german book", "the old book"]
    assert all(0 <= each.score <= 1 and each.filename.endswith(".txt") and each.content[0].type == "text" for each in page.data)


def test_a_search_says_what_had_no_effect(client: openai.OpenAI, library: tuple[str, dict[str, str]]) -> None:
    raw = client.vector_stores.with_raw_response.search(library[0], query="llamas", rewrite_query=True)

    assert raw.headers["x-ignored-parameters"] == "rewrite_query"


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"query": None}, "query"),
        ({"max_num_results": 0}, "max_num_results"),
        ({"max_num_results": 51}, "max_num_results"),
        ({"rewrite_query": "yes"}, "rewrite_query"),
        ({"ranking_options": {"ranker": "best"}}, "ranking_options.ranker"),
        ({"ranking_options": {"score_threshold": 1.1}}, "ranking_options.score_threshold"),
        ({"filters": {"type": "like", "key": "a", "value": "b"}}, "filters.type"),
        ({"filters": {"type": "and", "filters": [{"type": "eq", "key": "a"}]}}, "filters.filters[0].value"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_search_that_asks_wrongly_is_refused_with_the_place(client: openai.OpenAI, server: LiveServer, changed: dict[str, Any], param: str) -> None:
    store_id = client.vector_stores.create().id

    response = httpx.post(f"{server.url}/vector_stores/{store_id}/search", json={"query": "x"} | changed)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_filter_of_any_depth_is_answered(client: openai.OpenAI, server: LiveServer) -> None:
    store_id = client.vector_stores.create().id
    for depth in (50, 400):
        filters: dict[str, Any] = {"type": "eq", "key": "a", "value": 1}
        for _ in range(depth):
            filters = {"type": "and", "filters": [filters]}

        assert httpx.post(f"{server.url}/vector_stores/{store_id}/search", json={"query": "x", "filters": filters}).status_code == (200 if depth == 50 else 400)


@pytest.mark.parametrize(
    ("tail", "body", "param"),
    [
        ("/files", {}, "file_id"),
        ("/files", {"file_id": "file-1", "attributes": {"a": None}}, "attributes.a"),
        ("/files", {"file_id": "file-1", "attributes": {"a": "b" * 513}}, "attributes.a"),
        ("/files", {"file_id": "file-1", "attributes": {str(number): 1 for number in range(17)}}, "attributes"),
        ("/files", {"file_id": "file-1", "chunking_strategy": {"type": "other"}}, "chunking_strategy.type"),
        ("/file_batches", {"file_ids": ["file-1"] * 2001}, "file_ids"),
        ("/file_batches", {"files": [{"file_id": 1}]}, "files[0].file_id"),
        ("", {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ("", {"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days"),
    ],
)
def test_what_is_asked_wrongly_of_a_store_is_refused_with_the_place(
    client: openai.OpenAI, server: LiveServer, tail: str, body: dict[str, Any], param: str
) -> None:
    store_id = client.vector_stores.create().id

    response = httpx.post(f"{server.url}/vector_stores/{store_id}{tail}", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_deleted_file_leaves_every_store(client: openai.OpenAI, library: tuple[str, dict[str, str]]) -> None:
    store_id, ids = library
    other_id = client.vector_stores.create(file_ids=[ids["new"]]).id
    wait_until(lambda: client.vector_stores.retrieve(other_id).status == "completed")

    client.files.delete(ids["new"])

    assert [client.vector_stores.retrieve(each).file_counts.total for each in (store_id, other_id)] == [3, 0]
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.retrieve(ids["new"], vector_store_id=other_id)
