"""How many tokens a text has, remembered, so that a thread is not counted anew in every round. Knows nothing of runs.

What is kept of a text is its hash: a deleted message is not remembered here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from offline_assistants.ports import Chat, Engines, ModelInfo

MAX_KEPT = 100_000
"""Counts that stay in memory, about 150 bytes each."""

Key = tuple[ModelInfo, bytes]


class TokenCounts:
    """Counts per model; another file under the same name is another model."""

    def __init__(self, engines: Engines, *, max_kept: int = MAX_KEPT) -> None:
        self._engines = engines
        self._max_kept = max_kept
        self._counts: OrderedDict[Key, int] = OrderedDict()

    async def of_texts(self, model: ModelInfo, texts: Sequence[str]) -> list[int]:
        """Tokens of each text alone. Raises like Engines.count_tokens."""
        keys = [(model, _digest("text", text)) for text in texts]
        known = {key: self._counts[key] for key in keys if key in self._counts}
        unknown = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if unknown:
            known |= zip(unknown, await self._engines.count_tokens(model.model_id, list(unknown.values())), strict=True)
        for key, count in known.items():
            self._keep(key, count)
        return [known[key] for key in keys]

    async def of_chat(self, model: ModelInfo, chat: Chat) -> int:
        """Tokens of a whole rendered prompt. Raises like Engines.measure."""
        key = (model, _digest("chat", repr(chat)))
        count = self._counts.get(key)
        if count is None:
            count = await self._engines.measure(model.model_id, chat)
        self._keep(key, count)
        return count

    def _keep(self, key: Key, count: int) -> None:
        self._counts[key] = count
        self._counts.move_to_end(key)
        if len(self._counts) > self._max_kept:
            self._counts.popitem(last=False)


def _digest(kind: str, text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=kind.encode()).digest()
