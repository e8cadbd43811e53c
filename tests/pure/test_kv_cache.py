"""The bookkeeping of slots: the longest prefix is used again, and nobody else's tokens are lost for it."""

from __future__ import annotations

from offline_assistants.engine.kv_cache import KVCache, Placement, common_prefix


def filled(cache: KVCache, tokens: list[int]) -> int:
    """A slot that has computed the tokens and is idle."""
    placement = cache.acquire(tokens)
    assert placement is not None
    cache.extend(placement.slot_id, tokens[placement.num_cached_tokens :])
    cache.release(placement.slot_id)
    return placement.slot_id


def test_the_first_prompt_finds_nothing():
    assert KVCache(2).acquire([1, 2, 3]) == Placement(0, num_cached_tokens=0, keep=0)


def test_the_next_turn_goes_on_in_the_slot_of_the_last():
    cache = KVCache(3)
    filled(cache, [9, 9])
    slot_id = filled(cache, [1, 2, 3, 4])

    assert cache.acquire([1, 2, 3, 4, 5, 6]) == Placement(slot_id, num_cached_tokens=4, keep=4)


def test_the_last_token_of_a_prompt_is_always_computed():
    cache = KVCache(1)
    filled(cache, [1, 2, 3])

    placement = cache.acquire([1, 2, 3])

    assert placement == Placement(0, num_cached_tokens=2, keep=2)


def test_a_shared_beginning_is_copied_and_the_other_thread_keeps_its_own():
    cache = KVCache(3)
    other = filled(cache, [1, 2, *range(100, 120)])

    placement = cache.acquire([1, 2, 7, 8])

    assert placement is not None
    assert placement.copy_from == other
    assert placement.slot_id != other
    assert (placement.num_cached_tokens, placement.keep) == (2, 0)


def test_the_beginning_of_a_busy_slot_can_be_copied():
    cache = KVCache(2)
    cache.acquire([1, 2, 3])
    cache.extend(0, [1, 2, 3])

    assert cache.acquire([1, 2, 4]) == Placement(1, num_cached_tokens=2, keep=0, copy_from=0)


def test_without_a_free_slot_there_is_no_place():
    cache = KVCache(1)
    cache.acquire([1])

    assert cache.acquire([2]) is None


def test_empty_slots_are_taken_before_the_one_that_was_idle_longest():
    cache = KVCache(3)
    first, second = filled(cache, [1, 1, 1]), filled(cache, [2, 2, 2])

    assert filled(cache, [3, 3, 3]) not in {first, second}
    assert filled(cache, [4, 4, 4]) == first


def test_evicting_takes_the_slot_that_was_idle_longest_and_never_a_busy_one():
    cache = KVCache(2)
    filled(cache, [1, 1])
    busy = cache.acquire([2, 2])
    assert busy is not None
    cache.extend(busy.slot_id, [2, 2])

    assert cache.evict() == 0
    assert cache.evict() is None


def test_a_memory_that_cannot_be_cut_is_used_again_only_as_a_whole():
    cache = KVCache(2, can_cut=False)
    slot_id = filled(cache, [1, 2, 3])

    assert cache.acquire([1, 2, 9, 9]) == Placement(1, num_cached_tokens=0, keep=0)
    assert cache.acquire([1, 2, 3, 4]) == Placement(slot_id, num_cached_tokens=3, keep=3)


def test_common_prefix_ends_with_the_shorter():
    assert [common_prefix([], [1]), common_prefix([1, 2], [1, 2, 3]), common_prefix([1, 2, 3], [1, 9])] == [0, 2, 1]
