"""What is searched for is found: exact titles, names in code, numbers and foreign words, over HTTP and by a run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import VectorStore

from offline_assistants.testing.hash_documents import HashDocuments
from tests.api.conftest import LiveServer

FILLER = "The committee met on a weekday and talked about many ordinary things that nobody wrote down in detail. " * 8
TEXTS = {
    "code.md": "# Limits\n\nSet max_num_results with SearchOptions.with_limit before the call. " + FILLER,
    "titles.md": "# The Remains of the Day\n\nA novel by Kazuo Ishiguro, from 1989. " + FILLER,
    "figures.md": "The total came to 1,234,567.50 euros under contract ABC-4711. " + FILLER,
    "deutsch.md": "Die Donaudampfschifffahrtsgesellschaft fährt über Österreich hinaus. " + FILLER,
    "nihongo.md": "図書館は午後八時に閉まります。" + FILLER,
    "other.md": FILLER * 2,
    "Annual Report 2031.md": "Turnover rose. " + FILLER,
}


@pytest.fixture
def store_id(client: openai.OpenAI) -> str:
    return store_of(client, TEXTS)


def store_of(client: openai.OpenAI, texts: dict[str, str]) -> str:
    store_id = client.vector_stores.create().id
    file_ids = [client.files.create(file=(name, text.encode()), purpose="assistants").id for name, text in texts.items()]
    batch = client.vector_stores.file_batches.create_and_poll(store_id, file_ids=file_ids, poll_interval_ms=20)
    assert batch.file_counts.completed == len(texts)
    return store_id


def search(client: openai.OpenAI, store_id: str, query: str | list[str], **options: Any) -> list[tuple[str, float]]:
    return [(result.filename, result.score) for result in client.vector_stores.search(store_id, query=query, **options).data]


@pytest.mark.parametrize(
    ("query", "filename"),
    [
        ("The Remains of the Day", "titles.md"),
        ("max_num_results", "code.md"),
        ("searchoptions.with_limit", "code.md"),
        ("1234567.5", "figures.md"),
        ("ABC-4711", "figures.md"),
        ("Donaudampfschifffahrtsgesellschaft", "deutsch.md"),
        ("OSTERREICH", "deutsch.md"),
        ("図書館", "nihongo.md"),
        ("annual report 2031", "Annual Report 2031.md"),
    ],
)
def test_what_stands_there_word_for_word_is_found_first(client: openai.OpenAI, store_id: str, query: str, filename: str) -> None:
    assert search(client, store_id, query)[0][0] == filename


def test_scores_fall_and_lie_between_0_and_1(client: openai.OpenAI, store_id: str) -> None:
    scores = [score for _, score in search(client, store_id, "a novel by Ishiguro")]

    assert scores == sorted(scores, reverse=True)
    assert 1 >= scores[0] > scores[-1] >= 0


def test_a_threshold_leaves_out_what_is_below_it(client: openai.OpenAI, store_id: str) -> None:
    everything = search(client, store_id, "a novel by Ishiguro")
    threshold = (everything[0][1] + everything[1][1]) / 2

    assert search(client, store_id, "a novel by Ishiguro", ranking_options={"score_threshold": threshold}) == everything[:1]


def test_several_queries_are_one_list(client: openai.OpenAI, store_id: str) -> None:
    page = client.vector_stores.search(store_id, query=["Kazuo Ishiguro", "max_num_results"], max_num_results=2)

    assert {result.filename for result in page.data} == {"titles.md", "code.md"}
    assert page.model_extra and page.model_extra["search_query"] == ["Kazuo Ishiguro", "max_num_results"]


def test_a_query_that_may_be_rewritten_comes_back_as_it_was(client: openai.OpenAI, store_id: str) -> None:
    page = client.vector_stores.search(store_id, query="Who is Kazuo Ishiguro?", rewrite_query=True)

    assert page.data[0].filename == "titles.md"
    assert page.model_extra and page.model_extra["search_query"] == ["Who is Kazuo Ishiguro?"]


def test_words_and_meaning_can_be_weighed(client: openai.OpenAI, store_id: str) -> None:
    by_words = search(client, store_id, "ABC-4711", ranking_options={"hybrid_search": {"embedding_weight": 0, "text_weight": 1}})
    by_meaning = search(client, store_id, "ABC-4711", ranking_options={"ranker": "none"})
    as_hybrid = search(client, store_id, "ABC-4711", ranking_options={"hybrid_search": {"embedding_weight": 1, "text_weight": 0}})

    assert by_words[0][0] == "figures.md"
    assert [score for _, score in by_words[1:]] == [0.0] * len(by_words[1:])
    assert by_meaning == as_hybrid


@pytest.mark.parametrize(
    "options",
    [{"ranker": "best"}, {"score_threshold": 1.5}, {"score_threshold": -1}, {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}, {"speed": 3}],
)
def test_ranking_options_are_checked(client: openai.OpenAI, options: dict[str, Any]) -> None:
    store_id = client.vector_stores.create().id

    with pytest.raises(openai.BadRequestError) as refused:
        client.vector_stores.search(store_id, query="x", ranking_options=options)

    assert str(refused.value.body["param"]).startswith("ranking_options")  # type: ignore[index]


@pytest.mark.parametrize("query", ["", " ", "?!", "\u200b", "NEAR(", '"'])
def test_a_query_without_words_is_no_error(client: openai.OpenAI, store_id: str, query: str) -> None:
    assert len(search(client, store_id, query)) <= len(TEXTS)


def test_an_empty_store_holds_nothing(client: openai.OpenAI) -> None:
    assert search(client, client.vector_stores.create().id, "anything") == []


def test_a_store_that_is_too_large_for_memory_is_searched_too(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", settings={"exact_search_windows": 0}).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        store_id = store_of(client, TEXTS)

        found = [search(client, store_id, query)[0][0] for query in ("Kazuo Ishiguro", "ABC-4711")]

    live.stop()
    assert found == ["titles.md", "figures.md"]


def test_what_is_deleted_is_in_no_file_of_the_indexes(client: openai.OpenAI, server: LiveServer) -> None:
    store_id = store_of(client, {"a.md": "quetzalcoatlus northropi " + FILLER})
    assert search(client, store_id, "quetzalcoatlus")

    client.vector_stores.delete(store_id)

    assert list((server.data_dir / "vectors" / "keywords").iterdir()) == []


# ── Indexing anew ────────────────────────────────────────────────────────────────────────────────────────────────────


def reindex(client: openai.OpenAI, store_id: str) -> dict[str, Any]:
    return client.post(f"/vector_stores/{store_id}/reindex", cast_to=httpx.Response).json()


def wait_until_indexed(client: openai.OpenAI, store_id: str) -> VectorStore:
    end = time.monotonic() + 15
    while (store := client.vector_stores.retrieve(store_id)).status == "in_progress":
        assert time.monotonic() < end
        time.sleep(0.02)
    return store


def test_a_lost_index_is_rebuilt_from_the_stored_texts(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data").start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        store_id = store_of(client, TEXTS)
        before = client.vector_stores.retrieve(store_id)
        found = search(client, store_id, "Kazuo Ishiguro")
    live.stop()
    shutil.rmtree(live.data_dir / "vectors")

    live.start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        lost = search(client, store_id, "Kazuo Ishiguro")
        begun = reindex(client, store_id)
        after = wait_until_indexed(client, store_id)

        assert (lost, begun["status"], begun["file_counts"]["in_progress"]) == ([], "in_progress", len(TEXTS))
        assert (after.file_counts, after.usage_bytes) == (before.file_counts, before.usage_bytes)
        assert search(client, store_id, "Kazuo Ishiguro") == found
    live.stop()


def test_a_store_of_another_embedding_model_says_so_until_it_is_indexed_anew(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data").start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        store_id = store_of(client, TEXTS)
    live.stop()

    live.documents = HashDocuments(dimensions=128)
    live.start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        with pytest.raises(openai.BadRequestError, match=f"hash-384, but the server has hash-128. Run `offline-assistants vector-stores reindex {store_id}`"):
            search(client, store_id, "Kazuo Ishiguro")
        reindex(client, store_id)
        wait_until_indexed(client, store_id)

        assert search(client, store_id, "Kazuo Ishiguro")[0][0] == "titles.md"
    live.stop()


def test_a_restart_goes_on_with_indexing_anew(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data").start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        store_id = store_of(client, TEXTS)
        reindex(client, store_id)
    live.stop()

    live.start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        assert wait_until_indexed(client, store_id).file_counts.completed == len(TEXTS)
        assert search(client, store_id, "Kazuo Ishiguro")[0][0] == "titles.md"
        for file in client.vector_stores.files.list(store_id):
            client.files.delete(file.id)

    assert [path for path in (live.data_dir / "blobs").rglob("*") if path.is_file()] == []
    live.stop()


def test_what_cannot_be_indexed_anew_is_said(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        reindex(client, "vs_unknown")

    assert reindex(client, client.vector_stores.create().id)["status"] == "completed"
