"""Which files can be searched, by the endings of their names. Knows nothing of how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

SEARCHABLE = frozenset("c cpp cs css html java js json md pdf php py rb sh tex ts txt".split())  # noqa: SIM905


def ending(filename: str) -> str:
    """In lower case and without the dot; empty where there is none."""
    return PurePosixPath(filename).suffix.lower().removeprefix(".")


def unsearchable(filenames: Iterable[str]) -> list[str]:
    """The endings of those that cannot be searched, each once, with the dot; `none` for a name without an ending, as the API said."""
    found = dict.fromkeys(ending(name) for name in filenames)
    return [f".{each}" if each else "none" for each in found if each not in SEARCHABLE]
