"""A prompt as the engine computes it: tokens, and between them pictures. Bookkeeping only: knows neither llama.cpp nor pixels.

A picture becomes one tile or several, and the model's memory takes each as a row of positions. In `tokens` each of these positions has a number below zero
that is made from the picture's content. So the rules of the KV cache hold for pictures as they do for words: the same picture in the same place is found again,
another one is not, and as a tile is computed whole, a common prefix never ends within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """What is computed of a picture in one go."""

    chunk: object
    """Only the projector that made it can read it."""
    mark: int
    """Below zero, and the same for the same content."""
    num_tokens: int
    """Cells of the cache."""
    num_positions: int
    """Of the context; some models put a whole tile on fewer positions than it has tokens."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A tile in its place."""

    start: int
    """Its first position."""
    tile: Tile

    @property
    def end(self) -> int:
        return self.start + self.tile.num_positions


@dataclass(frozen=True, slots=True)
class PromptTokens:
    tokens: list[int]
    sights: tuple[Sight, ...] = ()
    """In order of `start`."""

    @property
    def num_tokens(self) -> int:
        """What the prompt takes of the context."""
        return len(self.tokens) + num_hidden(self.sights)


def join(pieces: Sequence[list[int] | Tile]) -> PromptTokens:
    """Stretches of words and tiles, one after the other."""
    tokens, sights = list[int](), list[Sight]()
    for piece in pieces:
        if isinstance(piece, Tile):
            sights.append(Sight(len(tokens), piece))
            tokens += [piece.mark] * piece.num_positions
        else:
            tokens += piece
    return PromptTokens(tokens, tuple(sights))


def num_hidden(sights: Sequence[Sight], *, up_to: int | None = None) -> int:
    """How many tokens of the sights that end by `up_to` have no position of their own."""
    return sum(sight.tile.num_tokens - sight.tile.num_positions for sight in sights if up_to is None or sight.end <= up_to)
