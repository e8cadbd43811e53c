"""A completion of plain prompts while it is being made: deltas in, chunks out, and the best of it at the end. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from offline_assistants.completions.generations import Said
from offline_assistants.completions.usage import usage_of
from offline_assistants.domain.chat_completions import CompletionUsage, TextChoice, TextLogprobs
from offline_assistants.ports import Finished, TextDelta, TokenLogprob


@dataclass(frozen=True, slots=True)
class TextForm:
    head: dict[str, Any]
    """id, created, model and so on, of every chunk."""
    num_prompts: int
    num_shown: int
    """Choices for each prompt that a client sees ("n")."""
    num_made: int
    """Choices for each prompt, of which these are the best ("best_of")."""
    top_logprobs: int | None
    with_usage: bool


@dataclass(slots=True)
class _Choice:
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finished: Finished | None = None
    num_echoed: int = 0
    """Characters of the prompt, which stand in front and are not scored."""
    num_chars: int = 0
    """Of the tokens so far: where the next one begins."""

    @property
    def mean_logprob(self) -> float:
        return sum(each.logprob for each in self.logprobs) / max(1, len(self.logprobs))


class TextAnswer:
    """Choices are numbered prompt by prompt."""

    def __init__(self, form: TextForm) -> None:
        self._form = form
        self._choices = [_Choice() for _ in range(form.num_prompts * form.num_made)]

    def take(self, batch: Sequence[Said]) -> list[dict[str, Any]]:
        """The chunks that tell what has come. Only meaningful when all choices that are made are shown."""
        chunks: list[dict[str, Any]] = []
        for number, delta in batch:
            choice = self._choices[number]
            if isinstance(delta, TextDelta):
                if not choice.text and not delta.logprobs:
                    choice.num_echoed = choice.num_chars = len(delta.text)
                choice.text += delta.text
                choice.logprobs += delta.logprobs
                chunks.append(self._chunk(number, delta.text, self._logprobs(choice, delta.logprobs), None))
            elif isinstance(delta, Finished):
                choice.finished = delta
                chunks.append(self._chunk(number, "", None, _reason(delta)))
        return chunks

    def last_chunk(self) -> dict[str, Any] | None:
        """The usage, if it was asked for; behind all others."""
        return {**self._form.head, "choices": [], "usage": self.usage.model_dump()} if self._form.with_usage else None

    @property
    def usage(self) -> CompletionUsage:
        return usage_of([[choice.finished for choice in group if choice.finished] for group in self._groups()])

    def choices(self) -> list[TextChoice]:
        """Of an answer that has come to its end: for each prompt the likeliest choices, per token."""
        shown: list[TextChoice] = []
        for group in self._groups():
            best = sorted(group, key=lambda choice: choice.mean_logprob, reverse=True) if self._form.num_made > self._form.num_shown else group
            for choice in best[: self._form.num_shown]:
                choice.num_chars = choice.num_echoed
                reason = _reason(choice.finished) if choice.finished else "length"
                shown.append(TextChoice(index=len(shown), text=choice.text, logprobs=self._logprobs(choice, choice.logprobs), finish_reason=reason))
        return shown

    def _groups(self) -> list[list[_Choice]]:
        made = self._form.num_made
        return [self._choices[start : start + made] for start in range(0, len(self._choices), made)]

    def _chunk(self, index: int, text: str, logprobs: TextLogprobs | None, reason: str | None) -> dict[str, Any]:
        shown = logprobs.model_dump() if logprobs else None
        usage = {"usage": None} if self._form.with_usage else {}
        return {**self._form.head, "choices": [{"index": index, "text": text, "logprobs": shown, "finish_reason": reason}], **usage}

    def _logprobs(self, choice: _Choice, tokens: Sequence[TokenLogprob]) -> TextLogprobs | None:
        if self._form.top_logprobs is None:
            return None
        names = [_shown(each.token) for each in tokens]
        offsets: list[int] = []
        for name in names:
            offsets.append(choice.num_chars)
            choice.num_chars += len(name)
        # The token that was chosen is always among them, as the hosted API has it.
        top = [{**{_shown(name): value for name, value in each.top}, _shown(each.token): each.logprob} for each in tokens]
        return TextLogprobs(tokens=names, token_logprobs=[each.logprob for each in tokens], top_logprobs=top, text_offset=offsets)


def _reason(finished: Finished) -> Any:
    return "length" if finished.finish_reason == "length" else "stop"


def _shown(token: bytes) -> str:
    return token.decode("utf-8", "replace")
