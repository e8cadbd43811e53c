"""GGUF files as far as they can be judged without loading them: the values at their head, and whether their weights are all there."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO, cast

Header = dict[str, str | int | float | bool]
"""The plain values at the head of a GGUF file."""

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_TEXT_BYTES = 1 << 24
_BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 6: (32, 22), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210)}
"""Numbers in a block of a kind of tensor, and its bytes: F32, F16, BF16, Q4_0, Q5_0, Q8_0, Q4_K, Q5_K, Q6_K. Of other kinds the least is assumed."""


def read_header(path: Path) -> Header:
    """The plain values at the head of a GGUF file, up to the vocabulary, which comes last and is long. Raises ValueError saying what is wrong, and OSError."""
    with path.open("rb") as file:
        num_values, _num_tensors = _begin(file)
        return _values(file, num_values)


def check_weights(path: Path) -> None:
    """Reads a file without a vocabulary up to its weights. Raises ValueError when some are missing or the head is garbled, and OSError."""
    with path.open("rb") as file:
        num_values, num_tensors = _begin(file)
        header = _values(file, num_values)
        end = 0
        for _ in range(num_tensors):
            _text(file)
            shape = [int(_number(file, "Q")) for _ in range(int(_number(file, "I")))]
            kind, offset = int(_number(file, "I")), int(_number(file, "Q"))
            block, size = _BLOCKS.get(kind, (256, 1))
            end = max(end, offset + math.prod(shape) // block * size)
        alignment = max(1, int(header.get("general.alignment", 32)))
        start = -(-file.tell() // alignment) * alignment
        if os.fstat(file.fileno()).st_size < start + end:
            raise ValueError("it ends in the middle of its weights")


def _begin(file: BinaryIO) -> tuple[int, int]:
    """How many values and tensors follow."""
    if file.read(4) != b"GGUF":
        raise ValueError("it is not a GGUF file")
    version = _number(file, "I")
    if version not in {2, 3}:
        raise ValueError(f"it is GGUF of version {version}, and versions 2 and 3 are known")
    num_tensors, num_values = _number(file, "Q"), _number(file, "Q")
    return int(num_values), int(num_tensors)


def _values(file: BinaryIO, num_values: int) -> Header:
    header: Header = {}
    for _ in range(num_values):
        key, kind = _text(file), int(_number(file, "I"))
        if key.startswith("tokenizer."):
            break
        if kind == _ARRAY:
            _skip_array(file)
        else:
            header[key] = _text(file) if kind == _STRING else _number(file, _scalar(kind))
    return header


def _skip_array(file: BinaryIO) -> None:
    kind, length = int(_number(file, "I")), int(_number(file, "Q"))
    if kind != _STRING:
        file.seek(length * struct.calcsize(_scalar(kind)), os.SEEK_CUR)
        return
    for _ in range(length):
        _text(file)


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"its header holds a value of the unknown type {kind}")
    return _SCALARS[kind]


def _number(file: BinaryIO, form: str) -> int | float | bool:
    size = struct.calcsize("<" + form)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it ends in the middle of its header")
    return cast("int | float | bool", struct.unpack("<" + form, data)[0])


def _text(file: BinaryIO) -> str:
    length = int(_number(file, "Q"))
    if length > _MAX_TEXT_BYTES:
        raise ValueError("its header is garbled")
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends in the middle of its header")
    return data.decode("utf-8", "replace")
