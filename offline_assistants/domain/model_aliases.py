"""Which names stand for a model that is here, so that code written for hosted names runs unchanged. Knows nothing of files or engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

EMBEDDING_NAMES = "text-embedding"
"""Patterns that begin so stand for the embedding model, all others for a chat model."""


@dataclass(frozen=True, slots=True)
class Alias:
    pattern: str
    """A name, or the beginning of one with `*` for the rest."""
    target: str | None
    """The model that is meant; None: the default one."""

    @property
    def is_for_embeddings(self) -> bool:
        return self.pattern.startswith(EMBEDDING_NAMES)


@dataclass(frozen=True, slots=True)
class ModelAliases:
    """Entries `PATTERN` or `PATTERN=MODEL`; the first that fits a name counts."""

    entries: tuple[Alias, ...] = ()

    @classmethod
    def read(cls, entries: Sequence[str]) -> ModelAliases:
        """Entries that are empty are left out, so that a list of one empty entry means none."""
        parted = [entry.partition("=") for entry in entries if entry.strip()]
        return cls(tuple(Alias(pattern.strip(), target.strip() or None) for pattern, _, target in parted))

    def find(self, name: str) -> Alias | None:
        return next((alias for alias in self.entries if fnmatchcase(name, alias.pattern)), None)
