"""The door to mtmd, llama.cpp's library for pictures: loads a model's projector, cuts pictures into tiles, computes a tile."""

from __future__ import annotations

import ctypes
import hashlib
import os
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from offline_assistants.domain.models import ProjectorFile
from offline_assistants.engine.kv_cache import CacheIsFull
from offline_assistants.engine.pixels import Pixels, read_pixels
from offline_assistants.engine.sight import Tile
from offline_assistants.errors import EngineError, ModelNotLoaded

_CACHE_IS_FULL = 1
_TEXT, _IMAGE = 0, 1
# What a picture takes at most shows in large ones: square, wide, tall.
_SHAPES = ((4096, 4096), (4096, 1024), (1024, 4096))


class Projector:
    """The eyes of one loaded model. `pieces_of` may be called beside `compute`; all else belongs to one thread."""

    def __init__(self, file: ProjectorFile, model: Any, *, num_threads: int, max_picture_tokens: int, log: Any, last_error: Callable[[], str]) -> None:
        """`model`, `log`: llama.cpp's pointer and its callback. `max_picture_tokens` binds projectors that would take more for a larger picture.

        Raises ModelNotLoaded with what is wrong and what to do.
        """
        if file.problem:
            raise ModelNotLoaded(f"The projector {file.path.name} is damaged: {file.problem}. Copy or download it again.")
        self._mtmd = _library()
        self._mtmd.mtmd_helper_log_set(log, None)
        params = self._mtmd.mtmd_context_params_default()
        params.print_timings = False
        params.n_threads = num_threads
        params.image_max_tokens = max_picture_tokens
        self._last_error = last_error
        self._context = self._mtmd.mtmd_init_from_file(os.fsencode(file.path), model, params)
        if not self._context:
            raise ModelNotLoaded(f"The projector {file.path.name} does not work with this model: {last_error() or 'llama.cpp gives no reason'}.")
        if not self._mtmd.mtmd_support_vision(self._context):
            raise ModelNotLoaded(f"The projector {file.path.name} is for sound, not for pictures.")
        self._computed: Tile | None = None
        """Whose numbers the library still holds."""
        blanks = [self._pieces(Pixels(width, height, b""), "") for width, height in _SHAPES]
        self.picture_tokens: int = max(sum(len(piece) if isinstance(piece, list) else piece.num_tokens for piece in pieces) for pieces in blanks)
        """What one picture takes of the context, at most."""
        self.min_batch_tokens: int = self._min_batch_tokens([piece for pieces in blanks for piece in pieces if isinstance(piece, Tile)])
        """What a batch of the model has to hold, because the words of a tile may look at each other."""

    def pieces_of(self, content: bytes) -> list[list[int] | Tile]:
        """A picture's tiles, and the tokens that the model wants around them. Raises UnreadablePicture, EngineError."""
        return self._pieces(read_pixels(content), hashlib.sha256(content).hexdigest())

    def compute(self, tile: Tile, context: Any, *, slot_id: int, position: int, max_batch_tokens: int) -> None:
        """Blocks for the time of the whole tile, which then stands in the slot's memory. Raises CacheIsFull and EngineError: some of it may stand there."""
        if self._computed is not tile:
            self._computed = None
            if self._mtmd.mtmd_encode_chunk(self._context, tile.chunk) != 0:
                raise EngineError(f"A picture could not be computed: {self._last_error() or 'llama.cpp gives no reason'}.")
            self._computed = tile
        numbers, end = self._mtmd.mtmd_get_output_embd(self._context), ctypes.c_int32()
        result = self._mtmd.mtmd_helper_decode_image_chunk(
            self._context, context, tile.chunk, numbers, position, slot_id, max_batch_tokens, ctypes.byref(end), self._no_callback(), None
        )
        if result == _CACHE_IS_FULL:
            raise CacheIsFull
        if result != 0:
            raise EngineError(f"A picture could not be computed (code {result}): {self._last_error() or 'llama.cpp gives no reason'}.")

    def _no_callback(self) -> Any:
        return self._mtmd.mtmd_helper_post_decode_callback()

    def _min_batch_tokens(self, tiles: list[Tile]) -> int:
        return max((tile.num_tokens for tile in tiles if self._mtmd.mtmd_decode_use_non_causal(self._context, tile.chunk)), default=0)

    def _pieces(self, pixels: Pixels, name: str) -> list[list[int] | Tile]:
        with self._bitmap(pixels) as bitmap, self._chunks() as chunks:
            part = self._mtmd.mtmd_input_part(bitmap=bitmap)
            parts = cast("Any", (ctypes.POINTER(self._mtmd.mtmd_input_part) * 1)(ctypes.pointer(part)))
            if self._mtmd.mtmd_tokenize_from_parts(self._context, chunks, parts, 1, False) != 0:
                raise EngineError(f"A picture could not be prepared: {self._last_error() or 'llama.cpp gives no reason'}.")
            size = self._mtmd.mtmd_input_chunks_size(chunks)
            return [self._piece(self._mtmd.mtmd_input_chunks_get(chunks, i), f"{name} {i}") for i in range(size)]

    def _piece(self, chunk: Any, name: str) -> list[int] | Tile:
        kind = self._mtmd.mtmd_input_chunk_get_type(chunk)
        if kind == _TEXT:
            length = ctypes.c_size_t()
            tokens = self._mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(length))
            return list(tokens[: length.value])
        if kind != _IMAGE:
            raise EngineError("The projector made something else than a picture of a picture.")
        own = _Chunk(self._mtmd.mtmd_input_chunk_copy(chunk), self._mtmd.mtmd_input_chunk_free)
        mark = -1 - int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
        num_tokens = self._mtmd.mtmd_input_chunk_get_n_tokens(own)
        return Tile(own, mark, num_tokens, self._mtmd.mtmd_input_chunk_get_n_pos(own))

    @contextmanager
    def _bitmap(self, pixels: Pixels) -> Generator[Any]:
        """Without bytes it only stands for a picture of that size."""
        data = (ctypes.c_uint8 * len(pixels.rgb)).from_buffer_copy(pixels.rgb) if pixels.rgb else None
        bitmap = self._mtmd.mtmd_bitmap_init(pixels.width, pixels.height, data)
        try:
            yield bitmap
        finally:
            self._mtmd.mtmd_bitmap_free(bitmap)

    @contextmanager
    def _chunks(self) -> Generator[Any]:
        chunks = self._mtmd.mtmd_input_chunks_init()
        try:
            yield chunks
        finally:
            self._mtmd.mtmd_input_chunks_free(chunks)


class _Chunk(ctypes.c_void_p):
    """A chunk of our own: it goes when nothing refers to it any more."""

    def __init__(self, pointer: int, free: Callable[[int], None]) -> None:
        super().__init__(pointer)
        weakref.finalize(self, free, pointer)


def _library() -> Any:
    """The binding has no usable types. It loads the library when it is imported, and the library is not in every build."""
    try:
        from llama_cpp import mtmd_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelNotLoaded(
            f"llama-cpp-python is installed without mtmd, llama.cpp's library for pictures ({error}). Run scripts/setup again, or install a build that has it."
        ) from error
    library: Any = mtmd_cpp
    return library
