"""The child process that holds the embedding model: texts in, vectors or token offsets out. The one import of sentence_transformers.

Lives as long as the server's end of its pipe. Reads nothing but the folder of its model.

Several threads do not work on one text, they wait for each other too often: each has texts of its own. That is two thirds more texts a second on two cores,
and the vectors are the same. Passages, which come by the thousand, are embedded with weights of eight bits where that is as good (int8_layers.py).
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import traceback
from array import array
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    def encode_query(self, sentences: Sequence[str], **options: Any) -> Any: ...
    def encode_document(self, sentences: Sequence[str], **options: Any) -> Any: ...
    def parameters(self) -> Iterable[Any]: ...
    def buffers(self) -> Iterable[Any]: ...


def main() -> None:
    arguments = _arguments()
    die_with_parent(arguments.parent)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break a frame
    embedder = _Embedder(_load(arguments.model_dir), num_threads=arguments.num_threads)
    write_frame(replies, {"max_tokens": embedder.model.max_seq_length})
    while (request := read_frame(sys.stdin.buffer)) is not None:
        try:
            header, payload = _answer(embedder, *request)
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


def _answer(embedder: _Embedder, header: Header, payload: bytes) -> tuple[Header, memoryview]:
    match header:
        case {"op": "embed", "texts": list()}:
            return embedder.embed(header["texts"], header["purpose"])
        case {"op": "tokenize"}:
            return _tokenize(embedder.model, payload.decode("utf-8"))
        case _:
            raise ValueError(f"no such request: {header.get('op')!r}")


class _Embedder:
    """A model and its threads. Each has a copy of the model, because a tokenizer serves one thread at a time; the weights are the same ones."""

    def __init__(self, model: _Model, *, num_threads: int) -> None:
        import torch

        from offline_assistants.documents.int8_layers import int8_copies  # imports torch, too

        self.model = model
        weights: dict[int, Any] = {id(each): each for each in [*model.parameters(), *model.buffers()]}
        self._copies = [model, *(copy.deepcopy(model, dict(weights)) for _ in range(num_threads - 1))]
        self._for_passages = int8_copies(model, _vectors, num_threads) or self._copies
        self._threads = ThreadPoolExecutor(num_threads, initializer=lambda: torch.set_num_threads(1))

    def embed(self, texts: list[str], purpose: str) -> tuple[Header, memoryview]:
        """Rows of float32, each of length 1. Texts of like length should stand beside each other."""
        import numpy as np  # as all that takes long to import: after the child is bound to its parent

        models = self._for_passages if purpose == "passage" else self._copies
        num_parts = min(len(models), len(texts))
        parts = [texts[number::num_parts] for number in range(num_parts)]
        # A question is one text: it is embedded here, handing it to a thread and back would take a millisecond.
        embedded = [_vectors(models[0], texts, purpose)] if num_parts == 1 else list(self._threads.map(_vectors, models, parts, [purpose] * num_parts))
        vectors = np.empty((len(texts), embedded[0].shape[1]), dtype="<f4")
        for number, of_part in enumerate(embedded):
            vectors[number::num_parts] = of_part
        return {"dimensions": vectors.shape[1]}, memoryview(vectors.tobytes())


def _vectors(model: _Model, texts: list[str], purpose: str = "text") -> Any:
    # The model's own words before a question or a passage, where it was trained with some.
    encode = {"query": model.encode_query, "passage": model.encode_document}.get(purpose, model.encode)
    return encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)


def _tokenize(model: _Model, text: str) -> tuple[Header, memoryview]:
    """Start and end of each token in characters, alternating, as 32-bit numbers."""
    found = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, truncation=False, verbose=False)
    offsets = array("I", [border for span in cast("list[tuple[int, int]]", found["offset_mapping"]) for border in span])
    if sys.byteorder == "big":
        offsets.byteswap()
    return {"num_tokens": len(offsets) // 2}, memoryview(offsets.tobytes())


if __name__ == "__main__":
    main()
