"""A projector with random weights, small enough to be made by a test: it sees nothing that makes sense, and goes the whole way through mtmd."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STARTER_WIDTH = 576
"""n_embd of the starter model."""
SIDE, PATCH, WIDTH, DEEP = 64, 16, 32, 64
PICTURE_TOKENS = (SIDE // PATCH) ** 2
"""What every picture takes: this kind of projector (LLaVA's) makes all pictures the same size."""
_U32, _F32, _BOOL, _STRING, _ARRAY = 4, 6, 7, 8, 9


def write_projector(path: Path, *, width: int = STARTER_WIDTH, seed: int = 1) -> Path:
    """`width`: n_embd of the model that it is for."""
    path.write_bytes(gguf_of(_values(width), _tensors(width, np.random.default_rng(seed))))
    return path


def _values(width: int) -> dict[str, Any]:
    vision = {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": DEEP,
        "block_count": 2,
        "attention.head_count": 2,
        "projection_dim": width,
        "attention.layer_norm_epsilon": 1e-5,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    head = {"general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True, "clip.projector_type": "mlp", "clip.use_gelu": True}
    return head | {f"clip.vision.{key}": value for key, value in vision.items()}


def _tensors(width: int, random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Shapes as numpy has them: the reverse of GGUF's."""
    shapes: dict[str, tuple[int, ...]] = {
        "v.class_embd": (WIDTH,),
        "v.patch_embd.weight": (WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": (PICTURE_TOKENS + 1, WIDTH),
        "v.pre_ln.weight": (WIDTH,),
        "v.pre_ln.bias": (WIDTH,),
        "mm.0.weight": (width, WIDTH),
        "mm.0.bias": (width,),
        "mm.2.weight": (width, width),
        "mm.2.bias": (width,),
    }
    for block in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            shapes |= {f"v.blk.{block}.{name}.weight": (WIDTH, WIDTH), f"v.blk.{block}.{name}.bias": (WIDTH,)}
        for name in ("ln1", "ln2"):
            shapes |= {f"v.blk.{block}.{name}.weight": (WIDTH,), f"v.blk.{block}.{name}.bias": (WIDTH,)}
        shapes |= {f"v.blk.{block}.ffn_up.weight": (DEEP, WIDTH), f"v.blk.{block}.ffn_up.bias": (DEEP,)}
        shapes |= {f"v.blk.{block}.ffn_down.weight": (WIDTH, DEEP), f"v.blk.{block}.ffn_down.bias": (WIDTH,)}
    return {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def gguf_of(values: dict[str, Any], tensors: dict[str, NDArray[np.float32]]) -> bytes:
    """https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""
    infos, data = b"", b""
    for name, tensor in tensors.items():
        data += b"\0" * (-len(data) % 32)
        infos += _text(name) + struct.pack(f"<I{tensor.ndim}QIQ", tensor.ndim, *reversed(tensor.shape), 0, len(data))
        data += tensor.tobytes()
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values)) + b"".join(_text(key) + _value(value) for key, value in values.items()) + infos
    return head + b"\0" * (-len(head) % 32) + data


def _value(value: Any) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case int():
            return struct.pack("<II", _U32, value)
        case float():
            return struct.pack("<If", _F32, value)
        case str():
            return struct.pack("<I", _STRING) + _text(value)
        case _:
            return struct.pack(f"<IIQ{len(value)}f", _ARRAY, _F32, len(value), *value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
