"""Which slot holds which tokens, and which of them a new prompt can use again. Bookkeeping only: knows nothing of llama.cpp.

Theory of operation. A slot is a sequence of llama.cpp's memory and serves one sequence at a time. When a sequence ends, its slot keeps the tokens: the next
turn of the same thread begins with them, and only what is new has to be computed. For a new prompt, the slot with the longest common prefix is the source:

- The source is idle, and at least half of what it holds is that prefix: the sequence continues there, and the rest of the slot is cut off.
- Otherwise (the source is busy, or belongs to another thread that only shares the instructions): the slot that was idle for the longest time is emptied,
  and the prefix is copied into it. In a unified cache the copy costs nothing, since both slots then point to the same cells.

What is used again was computed in other batches than those of a cold prompt: of other lengths, beside other sequences. With a cache of bf16 or of a q type
llama.cpp computes a token in the same way in whatever batch it comes, so that answers are token by token those of an empty cache. With f16 and f32 its
attention has kernels of its own for batches of 64 tokens and more, and for one token alone, which are faster and round otherwise: there the logits differ by
some tenths, and a greedy answer may go on differently where two tokens are about as likely.

One token of the prompt is always computed anew, because its logits are needed. A memory that cannot be cut (recurrent models) is used again only as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class CacheIsFull(Exception):
    """No room for this batch; nothing of it was computed."""


class Aborted(Exception):
    """The batch was given up while it was computed, because nobody waits for it any more; nothing of it counts as computed."""


@dataclass(slots=True)
class Slot:
    slot_id: int
    tokens: list[int] = field(default_factory=list[int])
    """What the slot's part of the cache was computed from."""
    is_busy: bool = False
    may_be_kept: bool = True
    """On the disk; not what was in it when something was deleted."""
    last_used: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sequence goes. The caller cuts `slot_id` at `keep`, then copies the first `num_cached_tokens` from `copy_from` if it is set."""

    slot_id: int
    num_cached_tokens: int
    keep: int
    copy_from: int | None = None


class KVCache:
    def __init__(self, num_slots: int, *, can_cut: bool = True) -> None:
        """`can_cut`: whether the model's memory can forget the end of a sequence and copy its beginning."""
        self.slots = [Slot(slot_id) for slot_id in range(num_slots)]
        self._can_cut = can_cut
        self._uses = 0

    def acquire(self, tokens: Sequence[int]) -> Placement | None:
        """A slot for a sequence that begins with `tokens`; None when all are busy."""
        idle = [slot for slot in self.slots if not slot.is_busy]
        if not idle:
            return None
        usable = len(tokens) - 1
        source = max(self.slots, key=lambda slot: (self._reusable(slot, tokens, usable), not slot.is_busy))
        length = self._reusable(source, tokens, usable)
        if length and not source.is_busy and 2 * length >= len(source.tokens):
            placement = Placement(source.slot_id, length, keep=length)
        else:
            target = min(idle, key=lambda slot: (bool(slot.tokens), slot.last_used))
            placement = self._place_beside(source, target, length)
        slot = self.slots[placement.slot_id]
        slot.may_be_kept = (not placement.keep or slot.may_be_kept) and (placement.copy_from is None or self.slots[placement.copy_from].may_be_kept)
        slot.tokens = list(tokens[: placement.num_cached_tokens])
        slot.is_busy = True
        return placement

    def extend(self, slot_id: int, tokens: Sequence[int]) -> None:
        """`tokens` were computed in the slot."""
        self.slots[slot_id].tokens.extend(tokens)

    def release(self, slot_id: int) -> None:
        """The sequence has ended; its tokens stay for the next one."""
        slot = self.slots[slot_id]
        self._uses += 1
        slot.is_busy, slot.last_used = False, self._uses

    def evict(self) -> int | None:
        """Forgets the idle slot that was not used for the longest time and returns it, for the caller to free its cells; None when no idle slot holds any."""
        idle = [slot for slot in self.slots if not slot.is_busy and slot.tokens]
        if not idle:
            return None
        slot = min(idle, key=lambda slot: slot.last_used)
        slot.tokens = []
        return slot.slot_id

    def keep_nothing(self) -> None:
        """What is in the slots now, and what is copied from them, is not for the disk."""
        for slot in self.slots:
            slot.may_be_kept = not (slot.tokens or slot.is_busy)

    def put(self, slot_id: int, tokens: Sequence[int]) -> None:
        """The slot of a sequence was filled from the disk."""
        self.slots[slot_id].tokens, self.slots[slot_id].may_be_kept = list(tokens), True

    def forget(self, slot_id: int) -> None:
        """The slot's cells are gone."""
        self.slots[slot_id].tokens = []

    def _reusable(self, slot: Slot, tokens: Sequence[int], usable: int) -> int:
        length = min(common_prefix(slot.tokens, tokens), usable)
        if self._can_cut:
            return length
        return length if length == len(slot.tokens) and not slot.is_busy else 0

    def _place_beside(self, source: Slot, target: Slot, length: int) -> Placement:
        if source is target:
            return Placement(target.slot_id, length, keep=length)
        if not length or not self._can_cut:
            return Placement(target.slot_id, 0, keep=0)
        return Placement(target.slot_id, length, keep=0, copy_from=source.slot_id)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    limit = min(len(a), len(b))
    return next((i for i in range(limit) if a[i] != b[i]), limit)
