"""What a cell prints, kept within its allowance."""

from __future__ import annotations

import codecs


class CellLog:
    """What a cell prints: the first half of the allowance as it comes, the last half at the end, and between them how much is missing."""

    def __init__(self, max_chars: int) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._head_chars = self._tail_chars = max_chars // 2
        self._tail = ""
        self._num_dropped = 0

    def feed(self, data: bytes) -> str:
        """The part of `data` that may be shown at once."""
        text = self._decoder.decode(data)
        head, rest = text[: self._head_chars], text[self._head_chars :]
        self._head_chars -= len(head)
        self._tail += rest
        if (excess := len(self._tail) - self._tail_chars) > 0:
            self._num_dropped += excess
            self._tail = self._tail[excess:]
        return head

    def finish(self) -> str:
        marker = f"\n[... {self._num_dropped} characters left out ...]\n" if self._num_dropped else ""
        return marker + self._tail + self._decoder.decode(b"", final=True)
