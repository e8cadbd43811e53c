"""How a score comes about: best first, nothing twice, nothing below the threshold, and a score that means something by itself."""

from __future__ import annotations

import numpy as np
import pytest

from offline_assistants.file_search.ranking import (
    Candidate,
    Place,
    Postings,
    Weights,
    cover,
    keyword_shares,
    num_keyword_chunks,
    num_windows,
    rank,
    score,
    term_weight,
)


def candidate(file_id: str, chunk: int, similarity: float, share: float = 0.0, *, store: str = "vs_one", window: tuple[int, int] = (0, 10)) -> Candidate:
    """A chunk that begins at 400 * `chunk` and has 800 characters."""
    return Candidate(Place(store, file_id, chunk, chunk * 400, chunk * 400 + 800), similarity, share, window)


def test_a_score_is_half_similarity_and_half_keyword_share():
    assert score(candidate("file-a", 0, 0.8, 0.4), Weights()) == pytest.approx(0.6)


def test_a_client_can_weigh_the_two():
    near, shared = candidate("file-a", 0, 0.9, 0.1), candidate("file-b", 0, 0.1, 0.9)

    by_meaning = rank([near, shared], max_num_results=2, weights=Weights(embedding=2.0, text=0.0))
    by_words = rank([near, shared], max_num_results=2, weights=Weights(embedding=1.0, text=3.0))

    assert [chunk.place.file_id for chunk in by_meaning] == ["file-a", "file-b"]
    assert by_meaning[0].score == pytest.approx(0.9)
    assert [chunk.place.file_id for chunk in by_words] == ["file-b", "file-a"]
    assert by_words[0].score == pytest.approx(0.7)


def test_of_several_questions_a_chunk_has_its_best_score():
    ranked = rank([candidate("file-a", 0, 0.4), candidate("file-b", 0, 0.5), candidate("file-a", 0, 0.9, window=(70, 90))], max_num_results=10)

    assert [(chunk.place.file_id, chunk.score) for chunk in ranked] == [("file-a", 0.45), ("file-b", 0.25)]
    assert ranked[0].best_window == (70, 90)


def test_a_chunk_that_mostly_repeats_a_better_one_is_left_out():
    ranked = rank([candidate("file-a", 0, 0.9), candidate("file-a", 1, 0.8), candidate("file-a", 2, 0.7), candidate("file-b", 1, 0.6)], max_num_results=10)

    assert [(chunk.place.file_id, chunk.place.chunk_index) for chunk in ranked] == [("file-a", 0), ("file-a", 2), ("file-b", 1)]


def test_the_same_file_in_two_stores_is_found_once():
    ranked = rank([candidate("file-a", 0, 0.9), candidate("file-a", 0, 0.9, store="vs_two")], max_num_results=10)

    assert [chunk.place.vector_store_id for chunk in ranked] == ["vs_one"]


def test_there_are_no_more_results_than_asked_for():
    assert len(rank([candidate(f"file-{number}", 0, 0.5) for number in range(9)], max_num_results=4)) == 4


def test_results_below_the_threshold_are_left_out():
    ranked = rank([candidate("file-a", 0, 0.7, 0.7), candidate("file-b", 0, 0.7, 0.1)], max_num_results=10, score_threshold=0.5)

    assert [chunk.place.file_id for chunk in ranked] == ["file-a"]


def test_scores_are_never_below_zero_or_above_one():
    ranked = rank([candidate("file-a", 0, 1.0000001, 1.0), candidate("file-b", 0, -0.2)], max_num_results=10)

    assert [chunk.score for chunk in ranked] == [1.0, 0.0]


def test_equal_scores_are_always_in_the_same_order():
    found = [candidate("file-b", 0, 0.5), candidate("file-a", 4, 0.5), candidate("file-a", 0, 0.5)]

    assert [each.place.start for each in rank(found, max_num_results=3)] == [each.place.start for each in rank(found[::-1], max_num_results=3)] == [0, 1600, 0]


def test_nothing_found_is_nothing_ranked():
    assert rank([], max_num_results=10) == []


def test_there_are_more_candidates_than_results():
    assert num_windows(20) >= 180
    assert num_windows(1) == num_windows(10)
    assert num_keyword_chunks(20) > 20


def test_a_rare_word_weighs_more_and_one_that_all_chunks_have_still_something():
    assert term_weight(1000, 1) > term_weight(1000, 100) > term_weight(1000, 1000) > 0


def test_the_example_that_the_file_gives_is_true():
    weights = [term_weight(1000, 9), term_weight(1000, 99)]
    lease, notice = Postings(np.array([7], dtype=np.uint32), cover(np.array([1.0]), np.array([1.0]))), Postings(np.zeros(0, dtype=np.uint32), np.zeros(0))

    shares = keyword_shares([lease, notice], weights, 10)

    assert [round(weight, 1) for weight in weights] == [4.7, 2.3]
    assert round(float(shares[7]), 2) == 0.30
    assert score(candidate("file-a", 0, 0.6, float(shares[7])), Weights()) == pytest.approx(0.45, abs=0.005)


def test_a_word_is_covered_more_clearly_by_more_places_and_by_a_shorter_chunk():
    covers = cover(np.array([1.0, 2.0, 9.0, 2.0, 0.0]), np.array([1.0, 1.0, 1.0, 0.5, 1.0]))

    assert covers[4] == 0 < covers[0] < covers[1] < covers[2] < 1
    assert covers[1] < covers[3]
