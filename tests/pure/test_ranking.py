"""From windows to passages: nearest first, nothing twice, nothing below the threshold."""

from __future__ import annotations

from offline_assistants.file_search.ranking import WindowHit, num_windows, rank


def hit(file_id: str, chunk: int, similarity: float, *, store: str = "vs_one", window: tuple[int, int] = (0, 10)) -> WindowHit:
    """A window of the chunk that begins at 400 * `chunk` and has 800 characters."""
    return WindowHit(store, file_id, chunk, chunk * 400, chunk * 400 + 800, window[0], window[1], similarity)


def test_a_chunk_is_as_near_as_its_nearest_window():
    hits = [hit("file-a", 0, 0.4), hit("file-b", 0, 0.5), hit("file-a", 0, 0.9, window=(70, 90))]

    ranked = rank(hits, max_num_results=10)

    assert [(chunk.file_id, chunk.score) for chunk in ranked] == [("file-a", 0.9), ("file-b", 0.5)]
    assert ranked[0].best_window == (70, 90)


def test_a_chunk_that_mostly_repeats_a_better_one_is_left_out():
    hits = [hit("file-a", 0, 0.9), hit("file-a", 1, 0.8), hit("file-a", 2, 0.7), hit("file-b", 1, 0.6)]

    ranked = rank(hits, max_num_results=10)

    assert [(chunk.file_id, chunk.chunk_index) for chunk in ranked] == [("file-a", 0), ("file-a", 2), ("file-b", 1)]


def test_the_same_file_in_two_stores_is_found_once():
    ranked = rank([hit("file-a", 0, 0.9), hit("file-a", 0, 0.9, store="vs_two")], max_num_results=10)

    assert [chunk.vector_store_id for chunk in ranked] == ["vs_one"]


def test_there_are_no_more_results_than_asked_for():
    hits = [hit(f"file-{number}", 0, 0.5) for number in range(9)]

    assert len(rank(hits, max_num_results=4)) == 4


def test_results_below_the_threshold_are_left_out():
    ranked = rank([hit("file-a", 0, 0.7), hit("file-b", 0, 0.3)], max_num_results=10, score_threshold=0.5)

    assert [chunk.file_id for chunk in ranked] == ["file-a"]


def test_scores_are_never_below_zero_or_above_one():
    ranked = rank([hit("file-a", 0, 1.0000001), hit("file-b", 0, -0.2)], max_num_results=10)

    assert [chunk.score for chunk in ranked] == [1.0, 0.0]


def test_equal_scores_are_always_in_the_same_order():
    hits = [hit("file-b", 0, 0.5), hit("file-a", 4, 0.5), hit("file-a", 0, 0.5)]

    assert [chunk.start for chunk in rank(hits, max_num_results=3)] == [chunk.start for chunk in rank(hits[::-1], max_num_results=3)] == [0, 1600, 0]


def test_nothing_found_is_nothing_ranked():
    assert rank([], max_num_results=10) == []


def test_more_windows_are_asked_for_than_results():
    assert num_windows(20) >= 180
