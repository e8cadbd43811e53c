"""One step of the engine: admit, schedule, decode, sample. Knows the model only as four functions, and no pipe; tests give it a scripted one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offline_assistants.engine.kv_cache import Aborted, CacheIsFull, KVCache, Slot
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pace import Pace
from offline_assistants.engine.prefix_files import BLOCK_TOKENS, MIN_TOKENS, PrefixFiles
from offline_assistants.engine.scheduler import Batch, schedule
from offline_assistants.engine.sequence import Sequence
from offline_assistants.engine.sight import Sight
from offline_assistants.engine.wire import Deltas, Failed, Reply
from offline_assistants.errors import EngineError, OfflineAssistantsError
from offline_assistants.ports import BatchState, Delta, SlotState


class Runner(Protocol):
    """What a step needs of the model; see ModelRunner."""

    def decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]: ...
    def cut(self, slot_id: int, keep: int) -> bool: ...
    def copy(self, source: int, target: int, num_tokens: int) -> None: ...
    def see(self, sight: Sight, slot_id: int) -> None: ...
    def save(self, slot_id: int) -> bytes: ...
    def restore(self, slot_id: int, state: bytes, keep: int) -> bool: ...


class Stepper:
    """Waiting sequences get a slot, running ones get tokens, until all have ended."""

    def __init__(
        self, runner: Runner, cache: KVCache, options: EngineOptions, *, num_kv_tokens: int, clock: Callable[[], float], files: PrefixFiles | None = None
    ) -> None:
        """`clock`: seconds from any beginning; steps are timed with it. `files`: where prefixes are kept, for a memory that can be cut."""
        self._runner = runner
        self._cache = cache
        self._options = options
        self._num_kv_tokens = num_kv_tokens
        self._clock = clock
        self._files = files
        self._pace = Pace(max_step_s=options.max_step_s)
        self._in_flight: Batch = ()
        """What is being computed right now."""
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._done = BatchState((), 0, 0, 0, 0, 0, 0.0, 0.0)

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._running

    def add(self, sequence: Sequence) -> list[Reply]:
        """Puts the sequence in line; the replies are what its grammar forces at the beginning."""
        deltas = sequence.begin()
        if sequence.finish_reason is None:
            self._waiting.append(sequence)
        return _replies(sequence, deltas)

    def cancel(self, request_id: int) -> None:
        """Drops the sequence, if it is still there. What it computed stays in the cache."""
        self._waiting = deque(sequence for sequence in self._waiting if sequence.request_id != request_id)
        for sequence in [sequence for sequence in self._running if sequence.request_id == request_id]:
            self._leave(sequence)

    def step(self) -> list[Reply]:
        """Computes a tile of a picture, if one is due, and one batch; returns what they brought."""
        self._admit()
        failures = self._see()
        batch = schedule(
            self._running,
            max_step_tokens=self._options.max_step_tokens,
            max_step_tokens_beside_decode=min(self._options.max_step_tokens, self._pace.num_prompt_tokens),
        )
        if not batch:
            return failures
        try:
            logits = self._decode(batch)
        except CacheIsFull:
            return failures + self._make_room()
        except Aborted:
            self._cut_all_back(batch)
            return failures
        return failures + self._take(batch, logits)

    def state(self) -> BatchState:
        """Where everything stands; how long steps take as a whole is for the caller to say. Any thread may ask."""
        waiting, by_slot = tuple(self._waiting), {sequence.slot_id: sequence for sequence in tuple(self._running)}
        return replace(
            self._done,
            slots=tuple(_slot_state(slot, by_slot.get(slot.slot_id)) for slot in self._cache.slots),
            num_waiting=len(waiting),
            num_preempted=sum(sequence.num_cached_tokens is not None for sequence in waiting),
        )

    def is_mostly_for(self, request_id: int) -> bool:
        """Whether most of what is being computed right now is for this request, so that without it the step is worth nothing. Any thread may ask."""
        batch, slots = self._in_flight, {sequence.slot_id for sequence in tuple(self._running) if sequence.request_id == request_id}
        return sum(len(item.tokens) for item in batch if item.slot_id in slots) * 2 > sum(len(item.tokens) for item in batch)

    def _decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]:
        self._in_flight, began = batch, self._clock()
        try:
            logits = self._runner.decode(batch)
        finally:
            self._in_flight = ()
        duration_s = self._clock() - began
        # A piece of a prompt may be of one token, too; but the last of them is decoded like any token that was sampled.
        num_decoding = sum(len(item.tokens) == 1 and item.wants_logits for item in batch)
        num_prompt_tokens = sum(len(item.tokens) for item in batch) - num_decoding
        self._pace.observe(num_decoding=num_decoding, num_prompt_tokens=num_prompt_tokens, duration_s=duration_s)
        self._count(num_prompt_tokens, sum(item.wants_logits for item in batch), duration_s)
        return logits

    def _count(self, num_prompt_tokens: int, num_sampled_tokens: int, duration_s: float) -> None:
        done = self._done
        self._done = replace(
            done,
            num_steps=done.num_steps + 1,
            num_prompt_tokens=done.num_prompt_tokens + num_prompt_tokens,
            num_sampled_tokens=done.num_sampled_tokens + num_sampled_tokens,
            compute_s=done.compute_s + duration_s,
        )

    def _cut_all_back(self, batch: Batch) -> None:
        """What an aborted batch left in the cells of its slots goes, and nobody else's."""
        slots = {item.slot_id for item in batch}
        for sequence in self._running:
            if sequence.slot_id is not None and sequence.slot_id in slots:
                self._cut_back(sequence, sequence.slot_id)

    def _see(self) -> list[Reply]:
        """One tile for the sequence that has waited longest for one. All others wait meanwhile, so there is a batch for them between any two tiles."""
        sequence, sight = next(((sequence, sight) for sequence in self._running if (sight := sequence.next_sight) is not None), (None, None))
        if sequence is None or sight is None or sequence.slot_id is None:
            return []
        try:
            self._runner.see(sight, sequence.slot_id)
        except CacheIsFull:
            self._cut_back(sequence, sequence.slot_id)
            return self._make_room()
        except OfflineAssistantsError as error:
            self._cut_back(sequence, sequence.slot_id)
            self._leave(sequence)
            return [Failed(sequence.request_id, error)]
        self._cache.extend(sequence.slot_id, sequence.tokens[sight.start : sight.end])
        sequence.num_computed_tokens = sight.end
        return []

    def _cut_back(self, sequence: Sequence, slot_id: int) -> None:
        """What stands in the slot beyond what is known to stand there goes."""
        if not self._runner.cut(slot_id, sequence.num_computed_tokens):
            self._cache.forget(slot_id)
            sequence.num_computed_tokens = 0

    def _admit(self) -> None:
        """First come, first served, while the cache has room for all that is running."""
        while self._waiting and (not self._running or self._has_room_for(self._waiting[0])):
            sequence = self._waiting[0]
            placement = self._cache.acquire(sequence.tokens)
            if placement is None:
                return
            self._waiting.popleft()
            slot_id, num_cached_tokens = placement.slot_id, placement.num_cached_tokens
            if not self._runner.cut(slot_id, placement.keep):
                self._cache.forget(slot_id)
                num_cached_tokens = 0
            elif placement.copy_from is not None:
                self._runner.copy(placement.copy_from, slot_id, num_cached_tokens)
            if (restored := self._restore(sequence, slot_id, num_cached_tokens)) is not None:
                num_cached_tokens = restored
            sequence.slot_id, sequence.num_computed_tokens = slot_id, num_cached_tokens
            if sequence.num_cached_tokens is None:
                sequence.num_cached_tokens = num_cached_tokens
            self._running.append(sequence)

    # ── Prefixes on the disk ─────────────────────────────────────────────────────────────────────────────────────────

    def save_one(self) -> bool:
        """Writes a prefix that is not on the disk yet, if there is one: the newest, which the server's end would cost most.

        Takes a moment, so it is for when nothing else is to do. Raises OSError.
        """
        if self._files is None:
            return False
        self._notice_deletions(self._files)
        for slot in sorted(self._cache.slots, key=lambda slot: slot.last_used, reverse=True):
            is_new = len(slot.tokens) >= self._files.find(slot.tokens) + MIN_TOKENS
            if slot.may_be_kept and not slot.is_busy and is_new and min(slot.tokens) >= 0:  # pictures stay in memory
                self._files.write(slot.tokens, self._runner.save(slot.slot_id))
                return True
        return False

    def _restore(self, sequence: Sequence, slot_id: int, num_cached_tokens: int) -> int | None:
        """How many tokens came from the disk into the sequence's slot; None when what is there is as good."""
        usable = sequence.tokens[: len(sequence.tokens) - 1]
        if self._files is None or self._files.find(usable) < num_cached_tokens + BLOCK_TOKENS:
            return None
        found = self._files.read(usable)
        if found is None:
            return None
        state, num_tokens = found
        self._runner.cut(slot_id, 0)
        self._cache.forget(slot_id)
        if not self._runner.restore(slot_id, state, num_tokens):
            self._runner.cut(slot_id, 0)
            return 0
        self._cache.put(slot_id, sequence.tokens[:num_tokens])
        return num_tokens

    def _notice_deletions(self, files: PrefixFiles) -> None:
        if files.is_dropped:
            self._cache.keep_nothing()
            files.reopen()

    def _has_room_for(self, sequence: Sequence) -> bool:
        # Prefixes that are shared count twice here: rather a short wait than a sequence that has to leave again.
        return sum(other.num_cells for other in self._running) + sequence.num_cells < self._num_kv_tokens

    def _make_room(self) -> list[Reply]:
        """Frees the cells of an idle slot, or else takes the youngest sequence's slot: it waits, and is computed again later."""
        evicted = self._cache.evict()
        if evicted is not None:
            self._runner.cut(evicted, 0)
            return []
        sequence = self._running[-1]
        slot_id = self._leave(sequence)
        self._cache.forget(slot_id)
        self._runner.cut(slot_id, 0)
        if not self._running:
            return [Failed(sequence.request_id, EngineError("The KV cache has no room for this one sequence. Serve the model with a larger cache."))]
        self._waiting.appendleft(sequence)
        return []

    def _take(self, batch: Batch, logits: dict[int, NDArray[np.float32]]) -> list[Reply]:
        by_slot = {sequence.slot_id: sequence for sequence in self._running}
        replies: list[Reply] = []
        for item in batch:
            sequence = by_slot[item.slot_id]
            sequence.num_computed_tokens += len(item.tokens)
            self._cache.extend(item.slot_id, item.tokens)
            if item.wants_logits:
                replies += self._sample(sequence, logits[item.slot_id])
        return replies

    def _sample(self, sequence: Sequence, logits: NDArray[np.float32]) -> list[Reply]:
        try:
            deltas = sequence.take_logits(logits)
        except OfflineAssistantsError as error:
            self._leave(sequence)
            return [Failed(sequence.request_id, error)]
        if sequence.finish_reason is not None:
            self._leave(sequence)
        return _replies(sequence, deltas)

    def _leave(self, sequence: Sequence) -> int:
        if sequence.slot_id is None:
            raise ValueError("a sequence that is running has a slot")
        slot_id, sequence.slot_id = sequence.slot_id, None
        sequence.num_computed_tokens = 0
        self._running.remove(sequence)
        self._cache.release(slot_id)
        return slot_id


def _slot_state(slot: Slot, sequence: Sequence | None) -> SlotState:
    if sequence is None:
        return SlotState(len(slot.tokens), is_busy=False)
    num_pending_tokens = len(sequence.tokens) - sequence.num_computed_tokens
    return SlotState(len(slot.tokens), is_busy=True, num_pending_tokens=num_pending_tokens, num_answer_tokens=sequence.num_completion_tokens)


def _replies(sequence: Sequence, deltas: list[Delta]) -> list[Reply]:
    return [Deltas(sequence.request_id, deltas)] if deltas else []
