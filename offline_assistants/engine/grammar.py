"""Which tokens a grammar leaves at each step: the door to llguidance. Knows nothing of templates, tools or HTTP."""

from __future__ import annotations

import re

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from offline_assistants.errors import EngineError, RequestError


class TokenGrammar:
    """The grammar of one sequence, as far as it has got."""

    def __init__(self, lark: str, tokenizer: LLTokenizer) -> None:
        """Raises RequestError when the grammar cannot be honoured, saying which part of a schema is in the way."""
        self._matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0)
        self._num_vocab = tokenizer.vocab_size
        if self._matcher.is_error():
            raise RequestError(f"The JSON schema cannot be enforced: {_first_line(self._matcher.get_error())}")

    @property
    def is_complete(self) -> bool:
        """Nothing can follow."""
        return self._matcher.is_stopped()

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (n_vocab,). Raises EngineError when the grammar has become too complex."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(mask, bitorder="little")[: self._num_vocab].astype(np.bool_)

    def accept(self, token: int) -> None:
        """`token` was chosen."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """The tokens that must follow here, as far as the grammar leaves no choice; they are accepted already."""
        if self._matcher.is_stopped():
            return []
        tokens = self._matcher.compute_ff_tokens()
        for token in tokens:
            self.accept(token)
        return tokens

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineError(f"The answer could not be held to its schema: {_first_line(self._matcher.get_error())}")


def problem_of(lark: str) -> str | None:
    """Why a grammar cannot be honoured, whichever model writes; None when it can. Takes milliseconds, seconds for thousands of keys."""
    is_wrong, messages = LLMatcher.validate_grammar_with_warnings(LLMatcher.grammar_from_lark(lark))
    return _first_line(messages[0]) if is_wrong else None


def _first_line(text: str) -> str:
    """What llguidance complains of, in a schema's own words."""
    first, _, rest = text.strip().partition("\n")
    if "regex parse error" in first:
        cause = next((line.strip() for line in rest.splitlines() if line.strip().startswith("error:")), "")
        return f"'pattern' cannot be used in a grammar: {cause.removeprefix('error: ') or first}"
    if "recursion limit" in first:
        return "it is nested too deeply"
    cause = first.partition("failed to compile JSON schema: ")[2] or first
    if found := re.match(r"Unimplemented keys: \[(.*)\]$", cause):
        return f"the keyword {found[1].replace(chr(34), chr(39))} is not supported"
    if cause.startswith("oneOf"):
        return "the keyword 'oneOf' is only supported where a required key with its own const or enum in each branch tells them apart; use 'anyOf'"
    if found := re.match(r"Unknown format: (.*)$", cause):
        return f"the 'format' {found[1]!r} is not supported"
    return cause[:300]
