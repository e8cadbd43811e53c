"""A passage: a stretch of a file as a model is shown it, and as an answer may cite it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from offline_assistants.file_search.ranking import RankedChunk
from offline_assistants.ports import ParsedDocument, Section


@dataclass(frozen=True, slots=True)
class Passage:
    """Result `result_index` of search `search_index` of a run: what the marker `【i:j†source】` names."""

    search_index: int
    result_index: int
    file_id: str
    file_name: str
    text: str
    start_index: int
    """Where `text` begins in the file's canonical text, in characters."""
    sections: tuple[Section, ...] = ()
    """Those of the file that the passage touches; offsets are the file's."""
    score: float = 1.0

    @property
    def marker(self) -> str:
        return f"【{self.search_index}:{self.result_index}†source】"

    @property
    def page(self) -> int | None:
        """The page that the passage begins on."""
        return page_at(self.sections, self.start_index)


def cut_passage(chunk: RankedChunk, document: ParsedDocument, *, file_name: str, search_index: int, result_index: int) -> Passage:
    """The passage that a ranked chunk of `document` is."""
    return Passage(
        search_index=search_index,
        result_index=result_index,
        file_id=chunk.file_id,
        file_name=file_name,
        text=document.text[chunk.start : chunk.end],
        start_index=chunk.start,
        sections=tuple(section for section in document.sections if section.start < chunk.end and chunk.start < section.end),
        score=chunk.score,
    )


def page_at(sections: Sequence[Section], offset: int) -> int | None:
    """The page that holds the character at `offset`; None in a file without pages."""
    index = bisect_right(sections, offset, key=lambda section: section.start) - 1
    return sections[index].page if index >= 0 else None
