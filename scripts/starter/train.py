"""Trains the adapter on what make_data made: `scripts/starter/train --data DIR --out DIR`. Goes on where it was stopped, batch for batch.

Low-rank adapters on every matrix, all in float32, which processors multiply twice as fast as bfloat16 unless they have AMX; batches of conversations
of like length; the loss on what the assistant writes alone. Conversations of one family, which are held with the same tools, are read as one text that
branches, so that what they begin with is read once. Where the base model speaks for itself, its whole distribution is learned, not its words alone.
Checkpoints are whole or not there. The log, log.jsonl, has a line for every step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from scripts.starter import export
from scripts.starter.base_model import base_model_path
from scripts.starter.llama import Llama
from scripts.starter.tokens import Tokens

BATCH_TOKENS = 1900
MAX_LENGTH = 1900
LEARNING_RATE, WARM_UP_STEPS = 1.2e-3, 12
FALLING_SHARE, LAST_SHARE = 0.25, 0.03
SAVE_EVERY_S = 180


@dataclass(frozen=True, slots=True)
class Example:
    """A text of n tokens; each array has the shape (n,)."""

    ids: NDArray[np.uint16]
    is_learned: NDArray[np.bool_]
    branches: NDArray[np.uint8]
    """See Llama.forward."""
    is_base: bool = False
    """The base model said it."""

    def __len__(self) -> int:
        return len(self.ids)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/starter/train", description="Trains the adapter of the starter model.")
    parser.add_argument("--data", type=Path, default=Path("starter-data"), help="folder with train.jsonl")
    parser.add_argument("--out", type=Path, default=Path("starter-run"), help="folder for checkpoints and the log")
    parser.add_argument("--start", type=Path, help="an adapter of export.py to begin with, where there is no checkpoint; without it, at nothing learned")
    parser.add_argument("--tokens", type=int, default=3_000_000, help="how many tokens are seen; the learning rate falls over the last quarter of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    batches = batches_of(read_examples(arguments.data / "train.jsonl", arguments.out / "tokens.npz"), arguments.tokens, arguments.seed)
    training = Training(arguments.out, device=arguments.device, seed=arguments.seed, num_steps=len(batches), start=arguments.start)
    print(f"{len(batches)} batches, from {training.step}; {training.num_parameters:,} parameters are learned", flush=True)
    for batch in batches[training.step :]:
        training.learn(batch)
    training.save()
    return 0


def read_examples(data: Path, cache: Path) -> list[Example]:
    """Every family of conversations as tokens; kept in `cache`, because a start must not take minutes."""
    if not cache.exists() or cache.stat().st_mtime < data.stat().st_mtime:
        tokens = Tokens(base_model_path())
        lines = map(json.loads, data.read_text(encoding="utf-8").splitlines())
        found = [_example(list(family), tokens) for _, family in itertools.groupby(lines, lambda line: line["family"])]
        unfinished = cache.with_name("unfinished.npz")
        whole = {name: np.concatenate([getattr(each, name) for each in found]) for name in ("ids", "is_learned", "branches")}
        np.savez(unfinished, ends=np.cumsum([len(each) for each in found]), is_base=[each.is_base for each in found], **whole)
        unfinished.replace(cache)
    kept = np.load(cache)
    ids, is_learned, branches, ends = kept["ids"], kept["is_learned"], kept["branches"], kept["ends"]
    return [
        Example(ids[start:end], is_learned[start:end], branches[start:end], bool(is_base))
        for start, end, is_base in zip([0, *ends[:-1]], ends, kept["is_base"], strict=True)
    ]


def _example(family: Sequence[dict[str, Any]], tokens: Tokens) -> Example:
    is_base = all(line["kind"] == "plain" and not line["tools"] for line in family)
    return branched([tokens.of(line) for line in family], is_base=is_base)


def branched(texts: Sequence[tuple[NDArray[np.uint16], NDArray[np.bool_]]], *, is_base: bool = False) -> Example:
    """Texts (tokens, which of them are learned) as one: what they begin with in common, unlearned, and then how each goes on."""
    if len(texts) == 1:
        ids, is_learned = texts[0]
        return Example(ids, is_learned, np.zeros(len(ids), dtype=np.uint8), is_base)
    # The token before the first that is learned belongs to a branch: what follows a token that several go on from is learned by none.
    shared = min(int(np.argmax(is_learned)) - 1 if is_learned.any() else len(ids) for ids, is_learned in texts)
    first = texts[0][0][:shared]
    for ids, _ in texts:
        differs = np.flatnonzero(ids[:shared] != first[:shared])
        shared = min(shared, int(differs[0])) if len(differs) else shared
    parts = [texts[0][0][:shared], *(ids[shared:] for ids, _ in texts)]
    masks = [np.zeros(shared, dtype=np.bool_), *(is_learned[shared:] for _, is_learned in texts)]
    branches = np.repeat(np.arange(len(parts), dtype=np.uint8), [len(part) for part in parts])
    return Example(np.concatenate(parts), np.concatenate(masks), branches, is_base)


def batches_of(examples: Sequence[Example], num_tokens: int, seed: int) -> list[list[Example]]:
    """Batches of like length in an order that the seed makes, as many as have so many tokens; from the beginning again where there are not enough."""
    rng = random.Random(seed)
    fitting = [example for example in examples if len(example) <= MAX_LENGTH]
    batches: list[list[Example]] = []
    num_made = 0
    while num_made < num_tokens:
        order = rng.sample(fitting, len(fitting))
        # Like lengths within a stretch: padding stays small, and every batch is still a mixture.
        for start in range(0, len(order), 64):
            stretch = sorted(order[start : start + 64], key=len)
            made = _packed(stretch)
            rng.shuffle(made)
            batches += made
            num_made += sum(len(example) for batch in made for example in batch)
            if num_made >= num_tokens:
                break
    return batches


def _packed(stretch: Sequence[Example]) -> list[list[Example]]:
    batches: list[list[Example]] = [[]]
    for example in stretch:
        if batches[-1] and len(example) * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(example)
    return batches


class Training:
    """The adapter, its optimizer, and where both stand."""

    def __init__(self, out: Path, *, device: str, seed: int, num_steps: int, start: Path | None = None) -> None:
        """Raises ValueError when `start` is no adapter for the base."""
        self._out, self._device, self._num_steps = out, device, num_steps
        self.model = Llama(base_model_path(), seed=seed)
        if start is not None:
            export.read_into(self.model, start)
        self.model.to(device)
        learned = list(self.model.parameters())
        self.num_parameters = sum(each.numel() for each in learned)
        self._optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
        self.step, self._num_tokens, self._saved_at = 0, 0, time.monotonic()
        if (kept := out / "checkpoint.pt").exists():
            state = torch.load(kept, weights_only=True, map_location=device)
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.step, self._num_tokens = state["step"], state["num_tokens"]

    def learn(self, batch: Sequence[Example]) -> None:
        began = time.monotonic()
        rate = learning_rate(self.step, self._num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        num_tokens = sum(map(len, batch))
        self._num_tokens += num_tokens
        self._note(loss=round(loss.item(), 4), lr=rate, num_tokens=self._num_tokens, tokens_per_s=round(num_tokens / (time.monotonic() - began), 1))
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self.save()

    def _loss(self, batch: Sequence[Example]) -> torch.Tensor:
        """Cross entropy, of what the base said against its whole distribution; less the entropy of that, so that 0 is the least everywhere."""
        tokens, wanted, branches = (each.to(self._device) for each in padded(batch))
        targets = torch.roll(tokens, -1, dims=1)[wanted]
        logits = self.model(tokens, wanted, branches if branches.any() else None).float()
        losses = functional.cross_entropy(logits, targets, reduction="none")
        rows = torch.tensor([example.is_base for example in batch], device=self._device)
        if rows.any():
            with self.model.as_base():
                said = self.model(tokens[rows], wanted[rows]).float().log_softmax(-1)
            is_base = rows[:, None].expand_as(wanted)[wanted]
            losses[is_base] = functional.kl_div(logits[is_base].log_softmax(-1), said, reduction="none", log_target=True).sum(-1)
        return losses.mean()

    def save(self) -> None:
        unfinished = self._out / "checkpoint.unfinished"
        state = {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict(), "step": self.step, "num_tokens": self._num_tokens}
        torch.save(state, unfinished)
        unfinished.replace(self._out / "checkpoint.pt")
        self._saved_at = time.monotonic()

    def _note(self, **figures: Any) -> None:
        with (self._out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": self.step, "at": int(time.time()), **figures}) + "\n")


def learning_rate(step: int, num_steps: int) -> float:
    """Up over the first steps, level for long, and down over the last quarter: a run that is to be longer goes on from before that quarter."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    left = (num_steps - step) / max(1.0, FALLING_SHARE * num_steps)
    return LEARNING_RATE * warm * min(1.0, LAST_SHARE + (1 - LAST_SHARE) * left)


def padded(batch: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, the places whose next token is learned, and branches, each (n, length)."""
    shape = len(batch), max(map(len, batch))
    tokens, wanted, branches = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64)
    for row, example in enumerate(batch):
        length = len(example)
        tokens[row, :length] = example.ids
        wanted[row, : length - 1] = example.is_learned[1:]
        branches[row, :length] = example.branches
        branches[row, length:] = example.branches.max() + 1 if example.branches.any() else 0  # nobody sees what fills a row up
    return torch.from_numpy(tokens), torch.from_numpy(wanted), torch.from_numpy(branches)


if __name__ == "__main__":
    sys.exit(main())
