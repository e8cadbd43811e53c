"""Token bytes to text: never splits a character, never lets a piece of a stop string out. Knows nothing of models or tools."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Detokenizer:
    """Bytes in, whole characters out. A character may be spread over several tokens; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, piece: bytes) -> str:
        """The characters that `piece` completes. What a character still lacks is kept, and dropped if nothing follows."""
        return self._decoder.decode(piece)


class StopStrings:
    """Cuts a stream of text before the first stop string, however the stream is divided."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops: tuple[str, ...] = tuple(stop for stop in stops if stop)
        self._held: str = ""
        self.is_stopped = False

    def feed(self, text: str) -> str:
        """The text that may be shown. After a stop string was met, nothing more comes."""
        if self.is_stopped:
            return ""
        text = self._held + text
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((num_held_back(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back because it could have begun a stop string, and did not."""
        held, self._held = self._held, ""
        return held


def num_held_back(text: str, marker: str) -> int:
    """Characters at the end of `text` that may be the beginning of `marker`."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0
