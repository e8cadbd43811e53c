"""ChromaIndex on a real directory: what is added is found, what is deleted is not, and half a file is never seen."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from offline_assistants.errors import EmbeddingModelChanged, SearchError
from offline_assistants.file_search.chroma_index import ChromaIndex, IndexedWindow

DIMENSIONS = 16


def unit_vector(seed: int) -> list[float]:
    numbers = random.Random(seed)
    vector = [numbers.gauss(0, 1) for _ in range(DIMENSIONS)]
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def windows(*seeds: int) -> list[IndexedWindow]:
    """One chunk of 1,000 characters for each seed, with one window of 100."""
    return [IndexedWindow(index, index * 1000, index * 1000 + 1000, index * 1000, index * 1000 + 100, unit_vector(seed)) for index, seed in enumerate(seeds)]


@pytest.fixture(params=[100_000, 0], ids=["exact", "hnsw"])
async def index(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ChromaIndex]:
    async with ChromaIndex(tmp_path / "index", max_exact_windows=request.param) as opened:
        yield opened


async def test_the_nearest_window_comes_first_with_its_place(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1, 2, 3))

    hits = await index.query(["vs_one"], unit_vector(2), 2)

    assert len(hits) == 2
    assert (hits[0].place.file_id, hits[0].place.chunk_index, hits[0].window) == ("file-a", 1, (1000, 1100))
    assert hits[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert hits[0].similarity > hits[1].similarity


async def test_two_stores_are_searched_as_one_and_each_alone(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1))
    await index.add("vs_two", "file-b", windows(2))

    both = await index.query(["vs_one", "vs_two"], unit_vector(2), 10)
    one = await index.query(["vs_one"], unit_vector(2), 10)

    assert [(hit.place.vector_store_id, hit.place.file_id) for hit in both] == [("vs_two", "file-b"), ("vs_one", "file-a")]
    assert [hit.place.file_id for hit in one] == ["file-a"]


async def test_a_store_that_nobody_filled_holds_nothing(index: ChromaIndex):
    assert await index.query(["vs_unknown"], unit_vector(1), 5) == []
    assert await index.query([], unit_vector(1), 5) == []


async def test_a_window_of_two_chunks_is_found_in_both(index: ChromaIndex):
    vector = unit_vector(1)
    await index.add("vs_one", "file-a", [IndexedWindow(0, 0, 800, 500, 600, vector), IndexedWindow(1, 400, 1200, 500, 600, vector)])

    hits = await index.query(["vs_one"], vector, 1)

    assert [(hit.place.chunk_index, hit.place.start, hit.place.end) for hit in hits] == [(0, 0, 800), (1, 400, 1200)]


async def test_adding_a_file_again_replaces_it(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1, 2, 3))
    await index.add("vs_one", "file-a", windows(4))

    hits = await index.query(["vs_one"], unit_vector(1), 10)

    assert [hit.place.chunk_index for hit in hits] == [0]


async def test_a_deleted_file_is_gone_from_its_store_only(index: ChromaIndex):
    for store in ("vs_one", "vs_two"):
        await index.add(store, "file-a", windows(1))

    await index.delete_file("vs_one", "file-a")
    await index.delete_file("vs_one", "file-never-added")

    assert await index.query(["vs_one"], unit_vector(1), 10) == []
    assert len(await index.query(["vs_two"], unit_vector(1), 10)) == 1


async def test_a_deleted_store_is_gone_and_can_be_made_anew(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1, 2))
    await index.delete_store("vs_one")
    await index.delete_store("vs_never_made")
    await index.add("vs_one", "file-b", windows(3))

    hits = await index.query(["vs_one"], unit_vector(1), 10)

    assert [hit.place.file_id for hit in hits] == ["file-b"]


async def test_a_deleted_store_leaves_no_graph_on_the_disk_and_others_stay(tmp_path: Path):
    many = windows(*range(1100))  # from a thousand on Chroma writes its graph to the disk
    async with ChromaIndex(tmp_path / "index", max_exact_windows=0) as index:
        await index.add("vs_one", "file-a", many)
        await index.add("vs_two", "file-b", many)

        await index.delete_store("vs_one")

        assert len([path for path in (tmp_path / "index" / "chroma").iterdir() if path.is_dir()]) == 1
    async with ChromaIndex(tmp_path / "index", max_exact_windows=0) as index:
        [hit] = await index.query(["vs_one", "vs_two"], unit_vector(2), 1)
        assert hit.place.vector_store_id == "vs_two"


async def test_a_file_without_windows_is_no_error(index: ChromaIndex):
    await index.add("vs_one", "file-a", [])

    assert await index.query(["vs_one"], unit_vector(1), 10) == []


async def test_what_was_added_is_there_after_reopening(tmp_path: Path):
    async with ChromaIndex(tmp_path) as index:
        await index.add("vs_one", "file-a", windows(1, 2))

    async with ChromaIndex(tmp_path) as index:
        hits = await index.query(["vs_one"], unit_vector(1), 10)

    assert len(hits) == 2


async def test_a_file_is_hidden_until_all_of_it_is_there(index: ChromaIndex):
    await index.add("vs_one", "file-small", windows(1))
    adding = asyncio.create_task(index.add("vs_one", "file-large", windows(*range(2, 2000))))
    await asyncio.sleep(0.05)

    during = await index.query(["vs_one"], unit_vector(2), 10)
    was_still_adding = not adding.done()
    await adding
    after = await index.query(["vs_one"], unit_vector(2), 10)

    assert was_still_adding
    assert {hit.place.file_id for hit in during} == {"file-small"}
    assert after[0].place.file_id == "file-large"


async def test_a_file_whose_adding_was_cancelled_is_not_found_and_can_be_added_again(index: ChromaIndex):
    adding = asyncio.create_task(index.add("vs_one", "file-a", windows(*range(2000))))
    await asyncio.sleep(0.1)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)

    cancelled = await index.query(["vs_one"], unit_vector(1), 10)
    await index.add("vs_one", "file-a", windows(1))
    added = await index.query(["vs_one"], unit_vector(1), 10)

    assert adding.cancelled()
    assert cancelled == []
    assert len(added) == 1


CRASHING = """
import asyncio, os, sys
from pathlib import Path
from offline_assistants.file_search.chroma_index import ChromaIndex, IndexedWindow

async def main():
    index = ChromaIndex(Path(sys.argv[1]))
    window = [IndexedWindow(0, 0, 10, 0, 10, [1.0] * 16)]
    await index.add("vs_one", "file-whole", window)
    many = [IndexedWindow(i, i, i + 10, i, i + 10, [1.0] * 15 + [float(i)]) for i in range(3000)]
    adding = asyncio.create_task(index.add("vs_one", "file-half", many))
    while len(await index.query(["vs_one"], [1.0] * 16, 1)) == 0 or not list((Path(sys.argv[1]) / "incoming").iterdir()):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert not adding.done()
    os._exit(9)

asyncio.run(main())
"""


async def test_half_a_file_is_gone_after_a_crash(tmp_path: Path):
    crashed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CRASHING, str(tmp_path)], check=False, capture_output=True)
    assert crashed.returncode == 9, crashed.stderr.decode()

    async with ChromaIndex(tmp_path) as index:
        hits = await index.query(["vs_one"], [1.0] * DIMENSIONS, 5000)

    assert [hit.place.file_id for hit in hits] == ["file-whole"]


async def test_a_directory_belongs_to_one_index_at_a_time(index: ChromaIndex, tmp_path: Path):
    await index.open()

    async with ChromaIndex(tmp_path / "index") as second:
        with pytest.raises(SearchError, match="another process"):
            await second.open()


async def test_a_vector_of_another_model_is_a_search_error(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1))

    with pytest.raises(SearchError, match="dimension"):
        await index.query(["vs_one"], [1.0, 0.0], 10)


async def test_an_id_that_is_a_path_is_refused(index: ChromaIndex):
    with pytest.raises(SearchError, match="no id"):
        await index.add("vs_one", "../../etc", windows(1))


async def test_only_windows_of_the_files_asked_for_are_found(index: ChromaIndex):
    for number in range(4):
        await index.add("vs_one", f"file-{number}", windows(*range(number * 10, number * 10 + 10)))

    hits = await index.query(["vs_one"], unit_vector(5), 30, file_ids={"file-1", "file-3", "file-unknown"})
    nothing = await index.query(["vs_one"], unit_vector(5), 30, file_ids=set())

    assert {hit.place.file_id for hit in hits} == {"file-1", "file-3"}
    assert len(hits) == 20
    assert nothing == []


async def test_what_is_in_memory_follows_what_is_added_and_deleted(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1, 2))
    await index.query(["vs_one"], unit_vector(1), 1)

    await index.add("vs_one", "file-b", windows(3))
    await index.add("vs_one", "file-c", windows(4, 5))
    await index.delete_file("vs_one", "file-a")
    hits = await index.query(["vs_one"], unit_vector(3), 10)

    assert [(hit.place.file_id, hit.place.chunk_index) for hit in hits if hit.similarity > 0.99] == [("file-b", 0)]
    assert {hit.place.file_id for hit in hits} == {"file-b", "file-c"}


async def test_exact_and_approximate_search_find_the_same(tmp_path: Path):
    async with ChromaIndex(tmp_path, max_exact_windows=0) as index:
        for number in range(10):
            await index.add("vs_one", f"file-{number}", windows(*range(number * 100, number * 100 + 100)))
        approximate = [await index.query(["vs_one"], unit_vector(seed), 20) for seed in range(5000, 5010)]

    async with ChromaIndex(tmp_path) as index:
        exact = [await index.query(["vs_one"], unit_vector(seed), 20) for seed in range(5000, 5010)]

    assert [[hit.place for hit in hits] for hits in approximate] == [[hit.place for hit in hits] for hits in exact]
    assert [hit.similarity for hit in approximate[0]] == pytest.approx([hit.similarity for hit in exact[0]], abs=1e-4)


async def test_the_nearest_of_some_windows_of_a_chunk_can_be_asked_for(index: ChromaIndex):
    vectors = [unit_vector(seed) for seed in (1, 2, 3)]
    await index.add("vs_one", "file-a", [IndexedWindow(0, 0, 800, at * 100, at * 100 + 100, vector) for at, vector in enumerate(vectors)])
    place = (await index.query(["vs_one"], unit_vector(1), 1))[0].place

    near = await index.similarities(unit_vector(2), {place: [(0, 100), (100, 200)], replace(place, file_id="file-gone"): [(0, 100)]})

    assert near == {place: (pytest.approx(1.0, abs=1e-5), (100, 200))}


async def test_a_store_remembers_its_model_and_refuses_another(tmp_path: Path):
    async with ChromaIndex(tmp_path) as index:
        await index.add("vs_one", "file-a", windows(1), model="small")

    async with ChromaIndex(tmp_path) as index:
        with pytest.raises(EmbeddingModelChanged, match=r"vs_one .*small.*large.*reindex vs_one"):
            await index.query(["vs_one"], unit_vector(1), 1, model="large")
        with pytest.raises(EmbeddingModelChanged):
            await index.add("vs_one", "file-b", windows(2), model="large")
        hits = await index.query(["vs_one"], unit_vector(1), 10, model="small")

    assert [hit.place.file_id for hit in hits] == ["file-a"]


async def test_a_store_that_was_deleted_can_be_made_anew_with_another_model(index: ChromaIndex):
    await index.add("vs_one", "file-a", windows(1), model="small")
    await index.delete_store("vs_one")

    await index.add("vs_one", "file-a", windows(1), model="large")

    assert len(await index.query(["vs_one"], unit_vector(1), 10, model="large")) == 1


async def test_memory_is_bounded(tmp_path: Path):
    async with ChromaIndex(tmp_path, max_memory_bytes=15_000) as index:
        for store in ("vs_one", "vs_two", "vs_three"):
            await index.add(store, "file-a", windows(*range(60)))

        found = [await index.query([store], unit_vector(7), 1) for store in ("vs_one", "vs_two", "vs_three", "vs_one")]

        assert [hits[0].place.chunk_index for hits in found] == [7, 7, 7, 7]
        assert len(index._in_memory) < 3


async def test_files_added_while_a_store_is_read_are_found(tmp_path: Path):
    async with ChromaIndex(tmp_path) as index:
        await index.add("vs_one", "file-a", windows(*range(1000)))

        asking = asyncio.create_task(index.query(["vs_one"], unit_vector(5), 1))
        await index.add("vs_one", "file-b", windows(5000))
        await asking
        hits = await index.query(["vs_one"], unit_vector(5000), 1)

    assert [hit.place.file_id for hit in hits] == ["file-b"]
