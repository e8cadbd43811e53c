"""A server that is killed with -9 while it indexes files, again and again, loses none of them and indexes none twice. Documents hashed, indexes real."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from offline_assistants.file_search.search_index import SearchIndex
from offline_assistants.testing.hash_documents import HashDocuments
from tests.acceptance.test_killed_under_load import PATIENCE_S, all_of, post, serving

INDEXED_IN_S = 120


@pytest.mark.parametrize(
    ("num_files", "num_kills"),
    [pytest.param(30, 3, marks=pytest.mark.timeout(240)), pytest.param(200, 20, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_every_file_is_indexed_once_however_often_the_server_dies(tmp_path: Path, num_files: int, num_kills: int) -> None:
    rng = random.Random(num_files)
    with serving(tmp_path) as (_, url), httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        file_ids = [upload(client, number) for number in range(num_files)]
        store_id = post(client, "/vector_stores", {})["id"]
        batch_id = post(client, f"/vector_stores/{store_id}/file_batches", {"file_ids": file_ids})["id"]
        time.sleep(rng.uniform(0.0, 1.0))  # and it dies at the end of the block

    for _ in range(num_kills - 1):
        with serving(tmp_path):
            time.sleep(rng.uniform(0.0, 1.5))

    with serving(tmp_path) as (_, url), httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        store = when_indexed(client, store_id)
        batch = client.get(f"/vector_stores/{store_id}/file_batches/{batch_id}").raise_for_status().json()
        rows = all_of(client, f"/vector_stores/{store_id}/files")
        found = [results(client, store_id, number) for number in range(0, num_files, 10)]
    assert store["file_counts"] == batch["file_counts"] == {"in_progress": 0, "completed": num_files, "failed": 0, "cancelled": 0, "total": num_files}
    assert sorted(row["id"] for row in rows) == sorted(file_ids)
    assert {row["status"] for row in rows} == {"completed"}
    assert found == [[file_ids[number]] for number in range(0, num_files, 10)]
    assert asyncio.run(indexed(tmp_path / "vectors", store_id)) == sorted(file_ids)


def upload(client: httpx.Client, number: int) -> str:
    content = f"The parcel of number{number} stands on the shelf of aisle{number}.".encode()
    response = client.post("/files", files={"file": (f"{number}.txt", content)}, data={"purpose": "assistants"})
    return response.raise_for_status().json()["id"]


def when_indexed(client: httpx.Client, store_id: str) -> dict[str, Any]:
    ends_at = time.monotonic() + INDEXED_IN_S
    while (store := client.get(f"/vector_stores/{store_id}").raise_for_status().json())["status"] == "in_progress" and time.monotonic() < ends_at:
        time.sleep(0.1)
    return store


def results(client: httpx.Client, store_id: str, number: int) -> list[str]:
    """The files that are found by a word that one of them has."""
    body = {"query": f"aisle{number}", "ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 1}, "score_threshold": 0.1}}
    return [result["file_id"] for result in post(client, f"/vector_stores/{store_id}/search", body)["data"]]


async def indexed(path: Path, store_id: str) -> list[str]:
    """The file of every window that the vectors hold, if the keywords hold the same files."""
    documents = HashDocuments()
    [vector] = await documents.embed(["parcel"])
    async with SearchIndex(path) as index:
        hits = await index.vectors.query([store_id], vector, 10_000, model=await documents.model_name())
        assert {hit.place.file_id for hit in hits} == await index.files_of(store_id)
        return sorted(hit.place.file_id for hit in hits)
