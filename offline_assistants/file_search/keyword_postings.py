"""What a store's full-text table knows of words: in which chunks each stands, and how clearly they speak of it. Kept in memory until something is written.

A word that many chunks have is slow to read, and it is such words that questions share: what was read for one is kept for the next.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict

import numpy as np

from offline_assistants.file_search.ranking import Floats, Postings, cover

PLACES_TABLE = "CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, terms, instance)"
"""What a connection needs that words are read through: a row for each place of each term."""
_KEPT_STORES = 32
_KEPT_PLACES = 1_000_000
"""Of words and chunks, in a store; twelve bytes each."""


class StoreWords:
    """The words of a store as it was at one moment."""

    def __init__(self, connection: sqlite3.Connection, version: int) -> None:
        """Inside a snapshot of version `version`."""
        self.connection = connection
        self.version = version
        self.num_chunks, self._lengths = _relative_lengths(connection)
        self._postings: OrderedDict[str, Postings] = OrderedDict()
        self.num_places = 0
        """Kept."""

    @property
    def num_numbers(self) -> int:
        """One more than the largest number of a chunk."""
        return len(self._lengths)

    def postings(self, term: str) -> Postings:
        """From memory if they were asked for lately, else inside the snapshot."""
        found = self._postings.pop(term, None)
        if found is None:
            found = self._read(term)
            self.num_places += len(found.numbers)
        self._postings[term] = found
        while self.num_places > _KEPT_PLACES:
            self.num_places -= len(self._postings.popitem(last=False)[1].numbers)
        return found

    def _read(self, term: str) -> Postings:
        # All places come as one row: a common word has tens of thousands, and for each row SQLite would take and leave the interpreter's lock.
        [places] = self.connection.execute("SELECT group_concat(doc, ' ') FROM places WHERE term = ?", (term,)).fetchone()
        counts = np.bincount(np.fromstring(places or "", dtype=np.int64, sep=" "), minlength=1)
        [numbers] = np.nonzero(counts)
        return Postings(numbers.astype(np.uint32), cover(counts[numbers].astype(np.float64), self._lengths[numbers]))


class WordsInMemory:
    """Of the stores that were asked last. Belongs to the one thread that asks."""

    def __init__(self) -> None:
        self._stores: OrderedDict[str, StoreWords] = OrderedDict()

    def of(self, vector_store_id: str, connection: sqlite3.Connection) -> StoreWords:
        """Inside a snapshot. They are read again only when something was written."""
        connection.execute("SELECT 1 FROM file LIMIT 1").fetchone()  # from here on the snapshot stands, and the version is its own
        [version] = connection.execute("PRAGMA data_version").fetchone()
        kept = self._stores.pop(vector_store_id, None)
        # A version means something to the connection that told it, and to no other.
        words = kept if kept and kept.connection is connection and kept.version == version else StoreWords(connection, version)
        self._stores[vector_store_id] = words
        while len(self._stores) > _KEPT_STORES or (len(self._stores) > 1 and sum(each.num_places for each in self._stores.values()) > _KEPT_PLACES):
            self._stores.popitem(last=False)
        return words

    def forget(self, vector_store_id: str) -> None:
        self._stores.pop(vector_store_id, None)


def _relative_lengths(connection: sqlite3.Connection) -> tuple[int, Floats]:
    """How many chunks there are, and how many terms each has in relation to the average, by its number; 0 where there is no chunk.

    FTS5 keeps a chunk's number of terms as a variable-length integer: big-endian, seven bits in a byte.
    """
    numbers, sizes = connection.execute("SELECT group_concat(id, ' '), group_concat(hex(sz), ' ') FROM terms_docsize").fetchone()
    if numbers is None:
        return 0, np.zeros(1)
    ids = np.array(numbers.split(), dtype=np.int64)
    packed = np.array([int(size, 16) for size in sizes.split()], dtype=np.int64)
    lengths = np.zeros(ids.max() + 1)
    lengths[ids] = (packed >> 16 & 0x7F) << 14 | (packed >> 8 & 0x7F) << 7 | packed & 0x7F
    return len(ids), lengths / (lengths[ids].mean() or 1.0)
