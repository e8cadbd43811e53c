"""Citations for an answer while it is being written: each sentence that a passage supports gets the passage's marker and the words that support it.

Models seldom write markers, and those they write are often wrong; so markers are set here, and any that the model wrote are taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from offline_assistants.domain.file_types import KINDS, Kind, ending
from offline_assistants.domain.objects import FileCitation, FileCitationAnnotation
from offline_assistants.file_search.attribution import Evidence, Support
from offline_assistants.file_search.passages import Passage, page_at
from offline_assistants.file_search.sentence_reader import SentenceEnd, SentenceReader

_MARKER = r"【[^【】\n]{0,80}†[^【】\n]{0,80}】"
_BLANKS = r"[ \u00a0]{0,4}"
_MARKERS = re.compile(rf"{_BLANKS}(?:{_MARKER}{_BLANKS})+")
_UNFINISHED = re.compile(rf"{_BLANKS}(?:{_MARKER}{_BLANKS})*(?:【[^【】\n]{{0,161}})?\Z")
_NO_BLANK_BEFORE = frozenset(".,;:!?…)]}\"'”’。！？、，；：\n")
_HALVES = re.compile(r";\s+|,?\s+(?:and|but|while|whereas|und|aber|während|et|mais|y|pero)\s+")


@dataclass(frozen=True, slots=True)
class TextPiece:
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Stands in the text as `marker`."""

    passage: Passage
    quote: str
    """Verbatim from the passage."""
    quote_start: int
    """Where the quote begins in the file's canonical text, in characters."""

    @property
    def marker(self) -> str:
        return self.passage.marker

    @property
    def quote_end(self) -> int:
        return self.quote_start + len(self.quote)

    @property
    def page(self) -> int | None:
        """The page, slide or sheet that the quote begins on."""
        return page_at(self.passage.sections, self.quote_start)

    def annotation(self, start_index: int) -> FileCitationAnnotation:
        """For a marker that stands at `start_index` of the message's text."""
        is_slide = KINDS.get(ending(self.passage.file_name)) is Kind.SLIDES
        citation = FileCitation(
            file_id=self.passage.file_id,
            quote=self.quote,
            file_name=self.passage.file_name,
            page=None if is_slide else self.page,
            slide=self.page if is_slide else None,
            start_char=self.quote_start,
            end_char=self.quote_end,
        )
        return FileCitationAnnotation(text=self.marker, start_index=start_index, end_index=start_index + len(self.marker), file_citation=citation)


Piece = TextPiece | Citation


class CitationWriter:
    """Feed it an answer's text as it comes; it gives the text back with citations. Without passages, the text as it is.

    A marker stands right after its sentence's final stop, before the blank. Text is held back only where a blank or a "【" was last.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._has_passages = bool(passages)
        self._evidence = Evidence(passages)
        self._reader = SentenceReader()
        self._unfinished = ""

    def feed(self, text: str) -> list[Piece]:
        """What can be shown by now."""
        self._unfinished += text
        found = _UNFINISHED.search(self._unfinished)
        held_from = found.start() if found else len(self._unfinished)
        ready, held = self._unfinished[:held_from], self._unfinished[held_from:]
        self._unfinished = _MARKERS.sub(_as_one, held)
        if not self._has_passages:
            # Most answers: where nothing can be cited, nobody has to know where sentences end.
            return [TextPiece(text)] if (text := _without_markers(ready)) else []
        return self._pieces(self._reader.feed(_without_markers(ready)))

    def finish(self) -> list[Piece]:
        """The rest, when no more text comes."""
        rest, self._unfinished = self._unfinished, ""
        return self._pieces([*self._reader.feed(_without_markers(rest)), *self._reader.finish()])

    def _pieces(self, events: Sequence[str | SentenceEnd]) -> list[Piece]:
        pieces: list[Piece] = []
        for event in events:
            if isinstance(event, SentenceEnd):
                pieces += self._citations(event.sentence)
            elif pieces and isinstance(pieces[-1], TextPiece):
                pieces[-1] = TextPiece(pieces[-1].text + event)
            else:
                pieces.append(TextPiece(event))
        return pieces

    def _citations(self, sentence: str) -> Iterator[Citation]:
        support = self._evidence.best(sentence)
        if support is not None:
            yield _cite(support)
            return
        halves = [self._evidence.best(half) for half in _HALVES.split(sentence, maxsplit=1)]
        if len(halves) == 2 and halves[0] is not None and halves[1] is not None:
            yield _cite(halves[0])
            if halves[1].passage != halves[0].passage:
                yield _cite(halves[1])


def _cite(support: Support) -> Citation:
    passage = support.passage
    return Citation(passage, passage.text[support.start : support.end], passage.start_index + support.start)


def _without_markers(text: str) -> str:
    return _MARKERS.sub(_what_stays, text)


def _as_one(found: re.Match[str]) -> str:
    """Of several markers and the blanks around them, one marker with its blanks."""
    run = found.group()
    return f"{run[: len(run) - len(run.lstrip())]}【†】{run[len(run.rstrip()) :]}"


def _what_stays(found: re.Match[str]) -> str:
    """Of markers and the blanks around them: one blank where words would run together, else nothing."""
    following = found.string[found.end() : found.end() + 1]
    is_blank = found.group()[0] != "【" or found.group()[-1] != "】"
    return " " if is_blank and following and following not in _NO_BLANK_BEFORE else ""
