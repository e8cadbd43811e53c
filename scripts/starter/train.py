"""Trains the adapter on what make_data made: `scripts/starter/train --data DIR --out DIR`. Goes on where it was stopped, batch for batch.

Low-rank adapters on every matrix, all in float32, which processors multiply twice as fast as bfloat16 unless they have AMX; batches of conversations
of like length; the loss on what the assistant writes alone.
Checkpoints are whole or not there. The log, log.jsonl, has a line for every step.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from scripts.starter.base_model import base_model_path
from scripts.starter.llama import Llama
from scripts.starter.tokens import Tokens

BATCH_TOKENS = 1900
MAX_LENGTH = 1900
LEARNING_RATE, WARM_UP_STEPS = 1.2e-3, 12
FALLING_SHARE, LAST_SHARE = 0.25, 0.03
SAVE_EVERY_S = 180
Example = tuple[NDArray[np.uint16], NDArray[np.bool_]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/starter/train", description="Trains the adapter of the starter model.")
    parser.add_argument("--data", type=Path, default=Path("starter-data"), help="folder with train.jsonl")
    parser.add_argument("--out", type=Path, default=Path("starter-run"), help="folder for checkpoints and the log")
    parser.add_argument("--tokens", type=int, default=3_000_000, help="how many tokens are seen; the learning rate falls over the last quarter of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    batches = batches_of(read_examples(arguments.data / "train.jsonl", arguments.out / "tokens.npz"), arguments.tokens, arguments.seed)
    training = Training(arguments.out, device=arguments.device, seed=arguments.seed, num_steps=len(batches))
    print(f"{len(batches)} batches, from {training.step}; {training.num_parameters:,} parameters are learned", flush=True)
    for batch in batches[training.step :]:
        training.learn(batch)
    training.save()
    return 0


def read_examples(data: Path, cache: Path) -> list[Example]:
    """Every conversation as tokens; kept in `cache`, because a start must not take minutes."""
    if not cache.exists() or cache.stat().st_mtime < data.stat().st_mtime:
        tokens = Tokens(base_model_path())
        found = [tokens.of(json.loads(line)) for line in data.read_text(encoding="utf-8").splitlines()]
        ends = np.cumsum([len(ids) for ids, _ in found])
        unfinished = cache.with_name("unfinished.npz")
        np.savez(unfinished, ids=np.concatenate([ids for ids, _ in found]), masks=np.concatenate([mask for _, mask in found]), ends=ends)
        unfinished.replace(cache)
    kept = np.load(cache)
    ids, masks, ends = kept["ids"], kept["masks"], kept["ends"]
    return [(ids[start:end], masks[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def batches_of(examples: Sequence[Example], num_tokens: int, seed: int) -> list[list[Example]]:
    """Batches of like length in an order that the seed makes, as many as have so many tokens; from the beginning again where there are not enough."""
    rng = random.Random(seed)
    fitting = [example for example in examples if len(example[0]) <= MAX_LENGTH]
    batches: list[list[Example]] = []
    num_made = 0
    while num_made < num_tokens:
        order = rng.sample(fitting, len(fitting))
        # Like lengths within a stretch: padding stays small, and every batch is still a mixture.
        for start in range(0, len(order), 64):
            stretch = sorted(order[start : start + 64], key=lambda example: len(example[0]))
            made = _packed(stretch)
            rng.shuffle(made)
            batches += made
            num_made += sum(len(ids) for batch in made for ids, _ in batch)
            if num_made >= num_tokens:
                break
    return batches


def _packed(stretch: Sequence[Example]) -> list[list[Example]]:
    batches: list[list[Example]] = [[]]
    for example in stretch:
        if batches[-1] and len(example[0]) * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(example)
    return batches


class Training:
    """The adapter, its optimizer, and where both stand."""

    def __init__(self, out: Path, *, device: str, seed: int, num_steps: int) -> None:
        self._out, self._device, self._num_steps = out, device, num_steps
        self.model = Llama(base_model_path(), seed=seed).to(device)
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
        tokens, wanted, targets = (each.to(self._device) for each in padded(batch))
        rate = learning_rate(self.step, self._num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = functional.cross_entropy(self.model(tokens, wanted).float(), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        num_tokens = sum(len(ids) for ids, _ in batch)
        self._num_tokens += num_tokens
        self._note(loss=round(loss.item(), 4), lr=rate, num_tokens=self._num_tokens, tokens_per_s=round(num_tokens / (time.monotonic() - began), 1))
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self.save()

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
    """Tokens (n, length), the places whose next token is learned (n, length), and those tokens."""
    length = max(len(ids) for ids, _ in batch)
    tokens = np.zeros((len(batch), length), dtype=np.int64)
    wanted = np.zeros((len(batch), length), dtype=np.bool_)
    for row, (ids, mask) in enumerate(batch):
        tokens[row, : len(ids)] = ids
        wanted[row, : len(ids) - 1] = mask[1:]
    targets = np.roll(tokens, -1, axis=1)[wanted]
    return torch.from_numpy(tokens), torch.from_numpy(wanted), torch.from_numpy(targets)


if __name__ == "__main__":
    sys.exit(main())
