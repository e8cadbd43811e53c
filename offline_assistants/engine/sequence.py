"""One generation: its tokens, what is computed of them, and the rules by which it ends. Knows no model and no pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offline_assistants.engine.chat_formats.answer_parser import AnswerParser
from offline_assistants.engine.detokenizer import Detokenizer, StopStrings
from offline_assistants.engine.grammar import TokenGrammar
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.sight import PromptTokens, Sight, num_hidden
from offline_assistants.ports import Delta, Finished, TextDelta, TokenLogprob

FinishReason = Literal["stop", "length", "tool_calls"]


class Sequence:
    """Tokens come in through `begin` and `take_logits`; deltas come out, the last of them Finished."""

    def __init__(
        self,
        request_id: int,
        *,
        prompt: PromptTokens,
        max_tokens: int,
        piece: Callable[[int], bytes],
        end_tokens: frozenset[int],
        sampler: Sampler,
        parser: AnswerParser | None = None,
        stops: StopStrings | None = None,
        grammar: TokenGrammar | None = None,
        echo: str = "",
        logprob: Callable[[NDArray[np.float32], int], TokenLogprob] | None = None,
    ) -> None:
        """`prompt` is not empty. `piece` gives a token's bytes; a token of `end_tokens` ends the answer. Without a parser all text is text.

        `echo` is said first. `logprob` is asked for each token of the text how likely it was.
        """
        self.request_id = request_id
        self.tokens = list(prompt.tokens)
        self.num_computed_tokens = 0
        """Tokens, from the first on, that are in the KV cache."""
        self.slot_id: int | None = None
        self.num_cached_tokens: int | None = None
        """Prompt tokens that were in the cache when the sequence was first given a slot; None before."""
        self.finish_reason: FinishReason | None = None
        self._num_prompt_tokens = len(prompt.tokens)
        self._sights = prompt.sights
        self._max_tokens = max_tokens
        self._piece = piece
        self._end_tokens = end_tokens
        self._sampler = sampler
        self._parser = parser
        self._stops = stops or StopStrings(())
        self._grammar = grammar
        self._detokenizer = Detokenizer()
        self._echo = echo
        self._logprob = logprob
        self._num_reasoning_tokens = 0
        self._logprobs: list[TokenLogprob] = []
        """Of tokens whose text was not shown yet."""

    def begin(self) -> list[Delta]:
        """What the grammar forces before anything was sampled. To be called once, first."""
        deltas: list[Delta] = [TextDelta(self._echo)] if self._echo else []
        if self._max_tokens <= 0:
            deltas += self._finish("length")
        return self._seal([*deltas, *self._force()])

    def take_logits(self, logits: NDArray[np.float32]) -> list[Delta]:
        """Samples the next token, and takes those that the grammar forces after it. `logits`: shape (n_vocab,)."""
        token = self._sampler.sample(logits, self._grammar.allowed() if self._grammar else None)
        if self._grammar:
            self._grammar.accept(token)
        if self._logprob and token not in self._end_tokens:
            self._logprobs.append(self._logprob(logits, token))
        deltas = self._append(token)
        return self._seal([*deltas, *self._force()])

    @property
    def words_end(self) -> int:
        """Up to where there are only words: the place of the next picture, or the end."""
        return next((sight.start for sight in self._sights if sight.start >= self.num_computed_tokens), len(self.tokens))

    @property
    def next_sight(self) -> Sight | None:
        """The tile of a picture that has to be computed now, if there is one."""
        return next((sight for sight in self._sights if sight.start == self.num_computed_tokens), None)

    @property
    def num_cells(self) -> int:
        """What the sequence takes of the KV cache."""
        return len(self.tokens) + num_hidden(self._sights)

    @property
    def num_completion_tokens(self) -> int:
        return len(self.tokens) - self._num_prompt_tokens

    def _force(self) -> list[Delta]:
        deltas: list[Delta] = []
        if self._grammar and self.finish_reason is None:
            # What is forced is never computed, so nobody knows how likely it was: who wants to know gets it sampled.
            for token in [] if self._logprob else self._grammar.forced():
                deltas += self._append(token)
            if self._grammar.is_complete and self.finish_reason is None:
                deltas += self._finish("stop")
        return deltas

    def _append(self, token: int) -> list[Delta]:
        if self.finish_reason is not None:
            return []
        self.tokens.append(token)
        self._sampler.count(token)
        if token in self._end_tokens:
            return self._finish("stop")
        was_thinking = self._parser is not None and self._parser.is_thinking
        deltas = self._show(self._detokenizer.feed(self._piece(token)))
        self._num_reasoning_tokens += was_thinking or (self._parser is not None and self._parser.is_thinking)
        if self._stops.is_stopped:
            self.finish_reason = "stop"
        elif self.num_completion_tokens >= self._max_tokens:
            # The last token may be the very one that completes the answer.
            is_whole = self._grammar is not None and self._grammar.is_complete
            deltas += self._finish("stop" if is_whole else "length")
        return deltas

    def _show(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._cut(self._parser.feed(text) if self._parser else [TextDelta(text)])

    def _cut(self, deltas: list[Delta]) -> list[Delta]:
        """Stop strings end what is said, not what is called: an argument may well contain one."""
        shown: list[Delta] = []
        for delta in deltas:
            if self._stops.is_stopped:
                break
            if not isinstance(delta, TextDelta):
                held = self._stops.flush()
                shown += [TextDelta(held), delta] if held else [delta]
            elif text := self._stops.feed(delta.text):
                shown.append(TextDelta(text))
        return shown

    def _finish(self, reason: FinishReason) -> list[Delta]:
        self.finish_reason = reason
        deltas = self._cut(self._parser.flush()) if self._parser else []
        if rest := self._stops.flush():
            deltas.append(TextDelta(rest))
        return deltas

    def _seal(self, deltas: list[Delta]) -> list[Delta]:
        """Joins neighbouring text, and adds Finished once the sequence has ended."""
        joined: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta) and joined and isinstance(joined[-1], TextDelta):
                joined[-1] = TextDelta(joined[-1].text + delta.text)
            else:
                joined.append(delta)
        if self._logprobs:
            joined = self._with_logprobs(joined)
        if self.finish_reason is not None:
            joined.append(self._finished(self.finish_reason))
        return joined

    def _with_logprobs(self, deltas: list[Delta]) -> list[Delta]:
        """The deltas, the last text of which takes the probabilities that wait for one. Those of calls and of stop strings are dropped."""
        place = max((i for i, delta in enumerate(deltas) if isinstance(delta, TextDelta)), default=None)
        is_cut = self.finish_reason is not None and not self._stops.is_stopped and not (self._parser and (self._parser.num_calls or self._parser.is_in_call))
        if place is None and is_cut:
            # The answer ends within a character.
            deltas, place = [*deltas, TextDelta("")], len(deltas)
        if place is not None:
            text = deltas[place]
            deltas = [*deltas[:place], TextDelta(text.text, tuple(self._logprobs)) if isinstance(text, TextDelta) else text, *deltas[place + 1 :]]
        if deltas:
            self._logprobs = []
        return deltas

    def _finished(self, reason: FinishReason) -> Finished:
        cached = self.num_cached_tokens or 0
        has_calls = reason == "stop" and self._parser is not None and self._parser.num_calls > 0
        return Finished(
            "tool_calls" if has_calls else reason,
            num_prompt_tokens=self._num_prompt_tokens + num_hidden(self._sights),
            num_completion_tokens=self.num_completion_tokens,
            num_cached_tokens=cached + num_hidden(self._sights, up_to=cached),
            num_reasoning_tokens=self._num_reasoning_tokens,
        )
