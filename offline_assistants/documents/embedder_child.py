"""The child process that holds the embedding model: texts in, vectors or token offsets out. The one import of sentence_transformers.

Lives as long as the server's end of its pipe. Reads nothing but the folder of its model.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from offline_assistants.documents.frames import Header, read_frame, write_frame
from offline_assistants.documents.lifeline import die_with_parent


class _Tokenizer(Protocol):
    def __call__(self, text: str, **options: Any) -> dict[str, Any]: ...


class _Model(Protocol):
    """What is used of sentence_transformers.SentenceTransformer."""

    tokenizer: _Tokenizer
    max_seq_length: int

    def encode(self, sentences: Sequence[str], **options: Any) -> Any: ...


def main() -> None:
    arguments = _arguments()
    die_with_parent(arguments.parent)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break a frame
    model = _load(arguments.model_dir)
    write_frame(replies, {"max_tokens": model.max_seq_length})
    while (request := read_frame(sys.stdin.buffer)) is not None:
        try:
            header, payload = _answer(model, *request, num_threads=arguments.num_threads)
        except Exception as error:  # noqa: BLE001  whatever a text does to the model, the next one is answered
            traceback.print_exc()
            header, payload = {"error": f"{type(error).__name__}: {error}"}, memoryview(b"")
        write_frame(replies, header, payload)
    os._exit(0)  # there is nothing to save, and taking torch down in order takes seconds


def _arguments() -> argparse.Namespace:
    reader = argparse.ArgumentParser()
    reader.add_argument("parent", type=int)
    reader.add_argument("--model-dir", type=Path, required=True)
    reader.add_argument("--num-threads", type=int, required=True)
    return reader.parse_args()


def _load(model_dir: Path) -> _Model:
    if not (model_dir / "modules.json").is_file():
        sys.exit(f"{model_dir} holds no sentence-transformers model: it has no modules.json")
    from sentence_transformers import SentenceTransformer  # takes seconds: after the child is bound to its parent

    return cast("_Model", SentenceTransformer(str(model_dir), device="cpu", local_files_only=True))


def _answer(model: _Model, header: Header, payload: bytes, *, num_threads: int) -> tuple[Header, memoryview]:
    match header:
        case {"op": "embed", "texts": list()}:
            return _embed(model, header["texts"], num_threads=num_threads)
        case {"op": "tokenize"}:
            return _tokenize(model, payload.decode("utf-8"))
        case _:
            raise ValueError(f"no such request: {header.get('op')!r}")


def _embed(model: _Model, texts: list[str], *, num_threads: int) -> tuple[Header, memoryview]:
    """Rows of float32, each of length 1. One text is embedded by one thread: more of them spend three times as long waiting for each other."""
    import torch

    torch.set_num_threads(1 if len(texts) == 1 else num_threads)
    vectors = model.encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
    return {"dimensions": int(vectors.shape[1])}, memoryview(vectors.astype("<f4").tobytes())


def _tokenize(model: _Model, text: str) -> tuple[Header, memoryview]:
    """Start and end of each token in characters, alternating, as 32-bit numbers."""
    found = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, truncation=False, verbose=False)
    offsets = array("I", [border for span in cast("list[tuple[int, int]]", found["offset_mapping"]) for border in span])
    if sys.byteorder == "big":
        offsets.byteswap()
    return {"num_tokens": len(offsets) // 2}, memoryview(offsets.tobytes())


if __name__ == "__main__":
    main()
