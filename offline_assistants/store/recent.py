"""The documents that were written or looked up last, so that what is in use is not read from the database again. Knows nothing of SQL.

Filled by the write thread alone, after a commit, so nobody can put an older document over a newer one; read by any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from offline_assistants.store.tables import Name

_ROW_BYTES = 200
"""What an entry takes beside its document."""


class Recent:
    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._docs: OrderedDict[Name, str | None] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def find(self, names: Iterable[Name]) -> dict[Name, str | None]:
        """What is known of these: a document, or None for an object that there is not."""
        found: dict[Name, str | None] = {}
        with self._lock:
            for name in names:
                if name in self._docs:
                    self._docs.move_to_end(name)
                    found[name] = self._docs[name]
        return found

    def put(self, docs: Iterable[tuple[Name, str | None]]) -> None:
        """This is how they are now."""
        with self._lock:
            for name, doc in docs:
                if name in self._docs:
                    self._num_bytes -= _size(self._docs.pop(name))
                self._docs[name] = doc
                self._num_bytes += _size(doc)
            while self._num_bytes > self._max_bytes:
                _, doc = self._docs.popitem(last=False)
                self._num_bytes -= _size(doc)


def _size(doc: str | None) -> int:
    return _ROW_BYTES + len(doc or "")
