"""The engine's bookkeeping against a naive model: whatever comes in whichever order, everybody is answered as if alone, and nothing is lost or left behind."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from offline_assistants.engine.kv_cache import KVCache
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.stepper import Stepper
from offline_assistants.engine.wire import Reply
from tests.pure.test_stepper import AlphabetModel, finished, sequence, text_of

MAX_STEPS = 400
"""Far more than what is asked for in one run of the machine can take."""


def naive(prompt: str, max_tokens: int) -> str:
    """What the alphabet model says to a prompt when nobody else is there."""
    rest = "".join(chr(code) for code in range(ord(prompt[-1]) + 1, ord("z") + 1))
    return rest[:max_tokens]


class UncutModel(AlphabetModel):
    """Its memory can only forget a sequence as a whole, as that of recurrent models."""

    def cut(self, slot_id: int, keep: int) -> bool:
        if keep == len(self.cells.get(slot_id, [])):
            return True
        self.cells[slot_id] = []
        return keep == 0


class StepperMachine(RuleBasedStateMachine):
    @initialize(num_slots=st.integers(1, 4), num_cells=st.integers(30, 90), can_cut=st.booleans())
    def begin(self, num_slots: int, num_cells: int, can_cut: bool) -> None:
        self.model = AlphabetModel(num_cells) if can_cut else UncutModel(num_cells)
        self.cache = KVCache(num_slots, can_cut=can_cut)
        options = EngineOptions(max_running=num_slots, max_step_tokens=8)
        self.engine = Stepper(self.model, self.cache, options, num_kv_tokens=num_cells, clock=self.model.clock)
        self.asked: dict[int, tuple[str, int]] = {}
        self.replies: list[Reply] = []
        self.next_id = 1

    @rule(beginning=st.sampled_from(["", "ab", "abcabc", "xyxyxyxyxy"]), end=st.text("adgqtw", min_size=1, max_size=8), max_tokens=st.integers(1, 8))
    def ask(self, beginning: str, end: str, max_tokens: int) -> None:
        self.asked[self.next_id] = beginning + end, max_tokens
        self.replies += self.engine.add(sequence(self.next_id, beginning + end, max_tokens=max_tokens))
        self.next_id += 1

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.asked:
            request_id = data.draw(st.sampled_from(sorted(self.asked)))
            self.engine.cancel(request_id)
            del self.asked[request_id]

    @rule(num_aborts=st.integers(1, 2))
    def abort(self, num_aborts: int) -> None:
        self.model.aborts = num_aborts

    @rule(num_steps=st.integers(1, 6))
    def step(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.replies += self.engine.step()

    @invariant()
    def what_the_cache_believes_is_in_the_cells(self) -> None:
        for slot in getattr(self, "cache", KVCache(0)).slots:
            assert self.model.cells.get(slot.slot_id, []) == slot.tokens

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for _ in range(MAX_STEPS):
            self.replies += self.engine.step()
        assert self.engine.is_idle, "somebody starves"
        assert not any(slot.is_busy for slot in self.cache.slots), "a slot leaks"
        for request_id, (prompt, max_tokens) in self.asked.items():
            assert text_of(self.replies, request_id) == naive(prompt, max_tokens)
            assert finished(self.replies, request_id).num_prompt_tokens == len(prompt)


TestStepperMachine = StepperMachine.TestCase
TestStepperMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
