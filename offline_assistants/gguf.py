"""GGUF files as far as they can be judged without loading them: the values at their head, and whether their weights are all there."""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

Header = dict[str, str | int | float | bool]
"""The plain values at the head of a GGUF file."""

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_TEXT_BYTES = 1 << 24
_MAX_KEPT_LIST = 1024
_BUFFER_BYTES = 1 << 20
_KINDS = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    30: ("BF16", 1, 2),
    28: ("F64", 1, 8),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
"""Kinds of tensors: name, numbers in a block, and its bytes. Of others the least is assumed."""


@dataclass(frozen=True, slots=True)
class Gguf:
    """What a whole file says of itself."""

    header: Header
    lists: dict[str, list[int | float | bool]] = field(default_factory=dict[str, "list[int | float | bool]"])
    """Short lists of numbers, such as one for each layer."""
    lengths: dict[str, int] = field(default_factory=dict[str, int])
    """How long each list is, the long ones too."""
    weights_bytes: int = 0
    quantization: str = ""
    """The kind that most of the weights are in: "Q4_K", "F16", ..."""


def read_gguf(path: Path) -> Gguf:
    """Reads a file up to its weights. Raises ValueError saying what is wrong when it is not whole, and OSError."""
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        num_values, num_tensors = _begin(file)
        found = Gguf({})
        for _ in range(num_values):
            _read_value(file, found)
        end, kinds = 0, Counter[str]()
        for _ in range(num_tensors):
            name, size, offset = _tensor(file)
            kinds[name] += size
            end = max(end, offset + size)
        alignment = max(1, int(found.header.get("general.alignment", 32)))
        start = -(-file.tell() // alignment) * alignment
        if end and os.fstat(file.fileno()).st_size < start + end:
            # llama.cpp would refuse a model; what is missing of a projector it would take for zeros.
            raise ValueError("it ends in the middle of its weights")
        return Gguf(found.header, found.lists, found.lengths, kinds.total(), kinds.most_common(1)[0][0] if kinds else "")


def _tensor(file: BinaryIO) -> tuple[str, int, int]:
    """Kind, bytes and offset of a tensor."""
    _text(file)
    shape = [int(_number(file, "Q")) for _ in range(int(_number(file, "I")))]
    kind, offset = int(_number(file, "I")), int(_number(file, "Q"))
    name, block, size = _KINDS.get(kind, (f"kind {kind}", 256, 1))
    return name, math.prod(shape) // block * size, offset


def _begin(file: BinaryIO) -> tuple[int, int]:
    """How many values and tensors follow."""
    if file.read(4) != b"GGUF":
        raise ValueError("it is not a GGUF file")
    version = _number(file, "I")
    if version not in {2, 3}:
        raise ValueError(f"it is GGUF of version {version}, and versions 2 and 3 are known")
    num_tensors, num_values = _number(file, "Q"), _number(file, "Q")
    return int(num_values), int(num_tensors)


def _read_value(file: BinaryIO, into: Gguf) -> None:
    key, kind = _text(file), int(_number(file, "I"))
    if kind == _STRING:
        into.header[key] = _text(file)
    elif kind != _ARRAY:
        into.header[key] = _number(file, _scalar(kind))
    else:
        _read_list(file, key, into)


def _read_list(file: BinaryIO, key: str, into: Gguf) -> None:
    kind, length = int(_number(file, "I")), int(_number(file, "Q"))
    into.lengths[key] = length
    if kind == _STRING:
        _skip_texts(file, length)
    elif length <= _MAX_KEPT_LIST:
        form = _scalar(kind)
        into.lists[key] = [_number(file, form) for _ in range(length)]
    else:
        file.seek(length * struct.calcsize(_scalar(kind)), os.SEEK_CUR)


def _skip_texts(file: BinaryIO, length: int) -> None:
    """Vocabularies have hundreds of thousands: this loop is what reading a file takes."""
    read, seek, unpack = file.read, file.seek, struct.Struct("<Q").unpack
    for _ in range(length):
        data = read(8)
        if len(data) < 8:
            raise ValueError("it ends in the middle of its header")
        (size,) = unpack(data)
        if size > _MAX_TEXT_BYTES:
            raise ValueError("its header is garbled")
        seek(size, os.SEEK_CUR)


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
