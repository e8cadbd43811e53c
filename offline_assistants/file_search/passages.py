"""A passage: a stretch of a file as a model is shown it, and as an answer may cite it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from offline_assistants.ports import Section


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

    @property
    def marker(self) -> str:
        return f"【{self.search_index}:{self.result_index}†source】"


def page_at(sections: Sequence[Section], offset: int) -> int | None:
    """The page that holds the character at `offset`; None in a file without pages."""
    index = bisect_right(sections, offset, key=lambda section: section.start) - 1
    return sections[index].page if index >= 0 else None
