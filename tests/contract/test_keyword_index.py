"""KeywordIndex on a real directory: shares are BM25's, what is added is found, and what is deleted is neither found nor on the disk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from offline_assistants.errors import SearchError
from offline_assistants.file_search.keyword_index import IndexedChunk, KeywordIndex
from offline_assistants.file_search.terms import index_terms, query_terms


def chunks(*texts: str) -> list[IndexedChunk]:
    return [
        IndexedChunk(index, index * 1000, index * 1000 + 1000, [(index * 1000, index * 1000 + 500)], " ".join(index_terms(text)))
        for index, text in enumerate(texts)
    ]


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[KeywordIndex]:
    async with KeywordIndex(tmp_path, tidy_after_s=0.05) as opened:
        yield opened


async def found(index: KeywordIndex, question: str, stores: tuple[str, ...] = ("vs_one",), limit: int = 10) -> list[tuple[str, int]]:
    return [(hit.place.file_id, hit.place.chunk_index) for hit in (await index.match(stores, query_terms(question), limit)).best]


async def test_the_chunk_that_has_more_of_the_words_comes_first(index: KeywordIndex):
    await index.add("vs_one", "file-a", chunks("the llama sleeps", "the llama eats straw", "the goat eats paper"))

    assert await found(index, "Which llama eats straw?") == [("file-a", 1), ("file-a", 0), ("file-a", 2)]
    assert await found(index, "camel") == []


async def test_a_share_is_the_covered_part_of_the_question_s_weight(index: KeywordIndex):
    texts = ["llama llama straw", "llama goat paper and more", "goat"]
    await index.add("vs_one", "file-a", chunks(*texts))

    [best, *_] = (await index.match(["vs_one"], ["llama", "straw"], 10)).best

    weight = {"llama": math.log(1 + 1.5 / 2.5), "straw": math.log(1 + 2.5 / 1.5)}
    length = 3 / ((3 + 5 + 1) / 3)
    cover = {term: count / (count + 1.2 * (0.25 + 0.75 * length)) for term, count in (("llama", 2), ("straw", 1))}
    assert best.place.chunk_index == 0
    assert best.windows == ((0, 500),)
    assert best.share == pytest.approx(sum(weight[term] * cover[term] for term in weight) / sum(weight.values()), rel=1e-6)


async def test_a_word_that_no_chunk_has_makes_every_share_smaller(index: KeywordIndex):
    await index.add("vs_one", "file-a", chunks("llama"))

    known = (await index.match(["vs_one"], ["llama"], 1)).best[0].share
    with_unknown = (await index.match(["vs_one"], ["llama", "camel"], 1)).best[0].share

    assert 0 < with_unknown < known < 1


async def test_two_stores_are_one_list_and_an_unknown_one_is_empty(index: KeywordIndex, tmp_path: Path):
    await index.add("vs_one", "file-a", chunks("llama and much else beside"))
    await index.add("vs_two", "file-b", chunks("llama straw"))

    assert await found(index, "llama straw", ("vs_one", "vs_two", "vs_never")) == [("file-b", 0), ("file-a", 0)]
    assert not (tmp_path / "vs_never.sqlite").exists()


async def test_only_chunks_of_the_files_asked_for_are_found(index: KeywordIndex):
    for number in range(20):
        await index.add("vs_one", f"file-{number}", chunks("llama " * (20 - number)))

    best = (await index.match(["vs_one"], ["llama"], 3, file_ids={"file-17", "file-18", "file-19", "file-unknown"})).best

    assert [hit.place.file_id for hit in best] == ["file-17", "file-18", "file-19"]


async def test_the_share_of_any_chunk_can_be_asked_for(index: KeywordIndex):
    await index.add("vs_one", "file-a", chunks("llama", "llama straw", "goat"))
    matches = await index.match(["vs_one"], ["llama"], 10)
    places = [hit.place for hit in matches.best]

    cut = await index.match(["vs_one"], ["llama"], 1)
    shares = await index.shares(cut, places)

    assert len(cut.best) == 1
    assert shares == {hit.place: pytest.approx(hit.share) for hit in matches.best}


async def test_adding_a_file_again_replaces_it(index: KeywordIndex):
    await index.add("vs_one", "file-a", chunks("llama", "straw"))
    await index.add("vs_one", "file-a", chunks("goat"))

    assert await found(index, "llama straw") == []
    assert await found(index, "goat") == [("file-a", 0)]


async def test_a_file_that_fails_half_way_leaves_what_was_there(index: KeywordIndex):
    def broken() -> Iterator[IndexedChunk]:
        yield from chunks("straw")
        raise ValueError("no more")

    await index.add("vs_one", "file-a", chunks("llama"))
    with pytest.raises(ValueError, match="no more"):
        await index.add("vs_one", "file-a", broken())

    assert await found(index, "llama straw") == [("file-a", 0)]


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def untidy(path: Path) -> list[Path]:
    return list(path.glob("*.untidy"))


async def tidied(path: Path) -> None:
    async with asyncio.timeout(10):
        while untidy(path):  # noqa: ASYNC110 it happens on a thread
            await asyncio.sleep(0.02)


async def test_what_was_deleted_leaves_the_disk(index: KeywordIndex, tmp_path: Path):
    await index.add("vs_one", "file-kept", chunks(*(f"kept {number} llama" for number in range(50))))
    await index.add("vs_one", "file-gone", chunks(*(f"quetzalcoatlus{number} llama" for number in range(50))))
    assert b"quetzalcoatlus" in bytes_on_disk(tmp_path)

    await index.delete_file("vs_one", "file-gone")
    await index.tidy()

    assert b"quetzalcoatlus" not in bytes_on_disk(tmp_path)
    assert len(await found(index, "llama", limit=200)) == 50


async def test_tidying_comes_by_itself(index: KeywordIndex, tmp_path: Path):
    await index.add("vs_one", "file-a", chunks("quetzalcoatlus"))
    await index.delete_file("vs_one", "file-a")

    await tidied(tmp_path)

    assert b"quetzalcoatlus" not in bytes_on_disk(tmp_path)


async def test_what_an_earlier_server_left_untidy_is_tidied(tmp_path: Path):
    async with KeywordIndex(tmp_path, tidy_after_s=60) as index:
        await index.add("vs_one", "file-a", chunks("quetzalcoatlus"))
        await index.delete_file("vs_one", "file-a")
    assert untidy(tmp_path)

    async with KeywordIndex(tmp_path, tidy_after_s=0) as index:
        index.open()
        await tidied(tmp_path)

    assert b"quetzalcoatlus" not in bytes_on_disk(tmp_path)


async def test_a_deleted_store_leaves_no_file(index: KeywordIndex, tmp_path: Path):
    await index.add("vs_one", "file-a", chunks("llama"))
    await found(index, "llama")

    await index.delete_store("vs_one")
    await index.delete_store("vs_never")

    assert bytes_on_disk(tmp_path) == b""
    assert await found(index, "llama") == []


async def test_more_stores_than_connections(tmp_path: Path):
    async with KeywordIndex(tmp_path) as index:
        for number in range(40):
            await index.add(f"vs_{number}x", "file-a", chunks(f"llama{number}"))

        each = [await found(index, f"llama{number}", (f"vs_{number}x",)) for number in range(40)]

    assert each == [[("file-a", 0)]] * 40


async def test_a_question_does_not_wait_for_a_book(index: KeywordIndex):
    await index.add("vs_one", "file-a", chunks("llama"))
    book = [IndexedChunk(number, 0, 1, [], " ".join(f"word{word}" for word in range(number, number + 500))) for number in range(2000)]

    adding = asyncio.create_task(index.add("vs_one", "file-book", book))
    await asyncio.sleep(0.05)
    during = await found(index, "llama word1")
    was_still_adding = not adding.done()
    await adding

    assert was_still_adding
    assert during == [("file-a", 0)]
    assert ("file-book", 0) in await found(index, "word0")


@pytest.mark.parametrize("question", ['"', "NEAR(a b)", "a OR b", "col:x", "^a", "a*", "(", "'; DROP TABLE terms; --", "\x00", "\ud800"])
async def test_a_question_is_never_syntax(index: KeywordIndex, question: str):
    await index.add("vs_one", "file-a", chunks("llama"))

    await found(index, question)

    assert await found(index, "llama") == [("file-a", 0)]


async def test_an_id_that_is_a_path_is_refused(index: KeywordIndex):
    with pytest.raises(SearchError, match="no id"):
        await index.add("../../etc", "file-a", chunks("llama"))


async def test_questions_and_deletions_do_not_disturb_each_other(index: KeywordIndex):
    for number in range(10):
        await index.add("vs_one", f"file-{number}", chunks(*(f"llama {word}" for word in range(50))))

    async def ask() -> list[int]:
        return [len(await found(index, "llama 7 13 21", limit=50)) for _ in range(30)]

    async def change() -> None:
        for number in range(10):
            await index.delete_file("vs_one", f"file-{number}")
            await index.add("vs_one", f"file-{number + 10}", chunks("llama"))

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask()) for _ in range(3)]
        group.create_task(change())

    # Between the last deletion and the last addition there are nine files of one chunk each; never fewer.
    assert min(number for task in asking for number in task.result()) >= 9
    assert len(await found(index, "llama", limit=100)) == 10


async def test_a_broken_file_is_a_search_error_that_says_what_helps(tmp_path: Path):
    (tmp_path / "vs_one.sqlite").write_bytes(b"no database" * 1000)

    async with KeywordIndex(tmp_path) as index:
        with pytest.raises(SearchError, match="reindex"):
            await found(index, "llama")
        await index.delete_store("vs_one")
        await index.add("vs_one", "file-a", chunks("llama"))

        assert await found(index, "llama") == [("file-a", 0)]
