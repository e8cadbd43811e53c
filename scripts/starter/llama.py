"""The base model in PyTorch with low-rank adapters: weights as they lie in the GGUF, nothing permuted, so an adapter fits llama.cpp as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import Tensor, nn
from torch.nn import functional

ADAPTED = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
RANK, ALPHA = 16, 32.0


class _AdaptedProduct(torch.autograd.Function):
    """x (W + (alpha / rank) B A)': one product with the sum instead of three, which costs a processor a tenth less."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
        whole = torch.addmm(weight, b, a, alpha=ALPHA / RANK)
        ctx.save_for_backward(x, whole, a, b)
        return functional.linear(x, whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        x, whole, a, b = ctx.saved_tensors
        rows, gradient = x.flatten(0, -2), gradients[0].flatten(0, -2)
        scale = ALPHA / RANK
        by_a = (gradient @ b).T @ rows * scale
        by_b = gradient.T @ (rows @ a.T) * scale
        return (gradient @ whole).view_as(x), None, by_a, by_b


class Adapted(nn.Module):
    """A frozen matrix and what is learned beside it."""

    def __init__(self, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.a = nn.Parameter(torch.randn(RANK, weight.shape[1], generator=generator) / math.sqrt(weight.shape[1]))
        self.b = nn.Parameter(torch.zeros(weight.shape[0], RANK))
        self.is_on = True

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, in) -> (tokens, out)"""
        if not self.is_on:
            return functional.linear(x, self.weight)
        product: Tensor = _AdaptedProduct.apply(x, self.weight, self.a, self.b)
        return product


@dataclass(frozen=True, slots=True)
class _Row:
    """How a row of a batch branches."""

    beginning: int
    """How many tokens all branches begin with."""
    branches: tuple[tuple[slice, Tensor], ...]
    """Where each lies, and what its tokens see of the beginning and of itself: (its length, beginning + its length) of bool."""

    @classmethod
    def of(cls, branches: Tensor) -> _Row:
        """branches: (length,), see Llama.forward."""
        beginning, *lengths = torch.bincount(branches).tolist()
        ends = list(accumulate(lengths, initial=beginning))
        seen = (torch.ones(length, beginning + length, dtype=torch.bool, device=branches.device).tril(beginning) for length in lengths)
        return cls(beginning, tuple(zip(map(slice, ends, ends[1:]), seen, strict=True)))


class Block(nn.Module):
    def __init__(self, weights: dict[str, Tensor], index: int, num_heads: int, num_kv_heads: int, eps: float, generator: torch.Generator) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.eps = num_heads, num_kv_heads, eps
        for name in ADAPTED:
            setattr(self, name, Adapted(weights[f"blk.{index}.{name}.weight"], generator))
        for name in ("attn_norm", "ffn_norm"):
            self.register_buffer(name, weights[f"blk.{index}.{name}.weight"], persistent=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], rows: Sequence[_Row] | None) -> Tensor:
        """x: (batch, length, width); rows: how each branches, or None where none does."""
        batch, length, width = x.shape
        normed = functional.rms_norm(x, (width,), self.attn_norm, self.eps)
        q, k, v = (each(normed).view(batch, length, heads, -1).transpose(1, 2) for each, heads in self._projections())
        q, k = _rotated(q, rotation), _rotated(k, rotation)
        heard = _attended(q, k, v) if rows is None else _attended_in_branches(q, k, v, rows)
        x = x + self.attn_output(heard.transpose(1, 2).reshape(batch, length, -1))
        normed = functional.rms_norm(x, (width,), self.ffn_norm, self.eps)
        return x + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))

    def _projections(self) -> tuple[tuple[Any, int], ...]:
        return (self.attn_q, self.num_heads), (self.attn_k, self.num_kv_heads), (self.attn_v, self.num_kv_heads)


def _attended(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None, enable_gqa=True)


def _attended_in_branches(q: Tensor, k: Tensor, v: Tensor, rows: Sequence[_Row]) -> Tensor:
    """Branch by branch: one mask for a whole row would hide two thirds of what is computed under it."""
    heard = []
    for i, row in enumerate(rows):
        parts = [_attended(*(each[i : i + 1, :, : row.beginning] for each in (q, k, v)))]
        for branch, seen in row.branches:
            keys, values = (torch.cat((each[i : i + 1, :, : row.beginning], each[i : i + 1, :, branch]), dim=2) for each in (k, v))
            parts.append(_attended(q[i : i + 1, :, branch], keys, values, seen))
        joined = torch.cat(parts, dim=2)
        heard.append(functional.pad(joined, (0, 0, 0, q.shape[2] - joined.shape[2])))
    return torch.cat(heard)


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions on neighbouring pairs, as GGUF files of this architecture have them."""
    cos, sin = rotation
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Llama(nn.Module):
    def __init__(self, path: Path, *, seed: int = 0) -> None:
        """Reads a GGUF of the architecture "llama" with tied embeddings."""
        super().__init__()
        reader = GGUFReader(path)
        weights = {each.name: torch.tensor(dequantize(each.data, each.tensor_type)) for each in reader.tensors}

        def number(key: str) -> Any:
            return reader.fields[f"llama.{key}"].contents()

        generator = torch.Generator().manual_seed(seed)
        heads = number("attention.head_count"), number("attention.head_count_kv")
        self.eps = number("attention.layer_norm_rms_epsilon")
        self.blocks = nn.ModuleList(Block(weights, i, *heads, self.eps, generator) for i in range(number("block_count")))
        self.register_buffer("embedding", weights["token_embd.weight"], persistent=False)
        self.register_buffer("norm", weights["output_norm.weight"], persistent=False)
        half = number("embedding_length") // heads[0] // 2
        base = reader.fields["llama.rope.freq_base"].contents() if "llama.rope.freq_base" in reader.fields else 10_000.0
        self.register_buffer("frequencies", base ** (-torch.arange(half, dtype=torch.float32) / half), persistent=False)

    def forward(self, tokens: Tensor, wanted: Tensor, branches: Tensor | None = None) -> Tensor:
        """tokens: (batch, length); wanted: (batch, length) of bool. The logits at the wanted places, (number of them, vocabulary).

        branches: (batch, length), 0 for what several conversations begin with, 1, 2, … for how each goes on: none sees another, and each follows the beginning.
        """
        x = self.embedding[tokens]
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None] if branches is None else _positions(branches)
        rows = None if branches is None else [_Row.of(row) for row in branches]
        angles = (positions[..., None] * self.frequencies)[:, None]
        rotation = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for block in self.blocks:
            x = block(x, rotation, rows)
        x = functional.rms_norm(x[wanted], (x.shape[-1],), self.norm, self.eps)
        return functional.linear(x, self.embedding)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Meanwhile nothing of what was learned is used, and nothing is learned."""
        adapted = [each for each in self.modules() if isinstance(each, Adapted)]
        for each in adapted:
            each.is_on = False
        try:
            with torch.no_grad():
                yield
        finally:
            for each in adapted:
                each.is_on = True


def _positions(branches: Tensor) -> Tensor:
    """The position of each token in its own conversation, (batch, length)."""
    order = torch.arange(branches.shape[1], device=branches.device)
    beginning = (branches == 0).sum(dim=1, keepdim=True)
    is_first = functional.pad(branches[:, 1:] != branches[:, :-1], (1, 0), value=True)
    own = order - torch.where(is_first, order, 0).cummax(dim=1).values
    return torch.where(branches == 0, own, own + beginning)
