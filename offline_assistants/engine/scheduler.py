"""Which sequence gets how many tokens in this step. A pure function of sequences and limits: knows no model, no text, no time.

Theory of operation. There is no prefill phase and no decode phase. A sequence has `tokens`, and of these `num_computed_tokens` are in the KV cache; the
difference is what it still has to be given, and each step makes it smaller (the idea, and the sentence, are vLLM's). A difference of one is a sequence that
decodes; more is a prompt, the rest of one, tokens that a grammar forced, or all tokens of a sequence that had to leave the cache.

Sequences that decode come first, since somebody is reading. Prompts share what is left of the step, which is small while anyone decodes: a long prompt then
delays every stream by the time of one small chunk, not by its own. Shares are equal, and what a short prompt leaves over goes to the longer ones, so
that a short question never waits behind a long document.

A picture is no part of a batch: it is computed by itself (stepper), and a sequence that waits for one has no difference, so it gets nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Schedulable(Protocol):
    """What the scheduler sees of a sequence."""

    @property
    def slot_id(self) -> int | None: ...
    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def num_computed_tokens(self) -> int: ...
    @property
    def words_end(self) -> int:
        """Up to where there are only words: the place of the next picture, or the end."""
        ...


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A stretch of one sequence to compute."""

    slot_id: int
    tokens: tuple[int, ...]
    position: int
    """Of the first token, from 0."""
    wants_logits: bool
    """The stretch reaches the end of the sequence, so the next token can be sampled."""


Batch = tuple[BatchItem, ...]


def schedule(running: Sequence[Schedulable], *, max_step_tokens: int, max_step_tokens_beside_decode: int) -> Batch:
    """The next step. `running` is in order of arrival; every sequence in it has a slot."""
    decoding = [sequence for sequence in running if _num_pending(sequence) == 1]
    prefilling = sorted((sequence for sequence in running if _num_pending(sequence) > 1), key=_num_pending)
    budget = max_step_tokens_beside_decode if decoding else max_step_tokens
    batch = [_item(sequence, 1) for sequence in decoding]
    for i, sequence in enumerate(prefilling):
        share = max(1, budget // (len(prefilling) - i))
        num_scheduled_tokens = min(share, _num_pending(sequence))
        budget -= num_scheduled_tokens
        batch.append(_item(sequence, num_scheduled_tokens))
    return tuple(batch)


def _num_pending(sequence: Schedulable) -> int:
    return sequence.words_end - sequence.num_computed_tokens


def _item(sequence: Schedulable, num_scheduled_tokens: int) -> BatchItem:
    if sequence.slot_id is None:
        raise ValueError("a sequence without a slot cannot be scheduled")
    start = sequence.num_computed_tokens
    end = start + num_scheduled_tokens
    return BatchItem(sequence.slot_id, tuple(sequence.tokens[start:end]), start, wants_logits=end == len(sequence.tokens))
