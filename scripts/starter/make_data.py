"""Makes the conversations to learn from: `scripts/starter/make_data --count 16000 --out DIR`. The same count and seed give the same bytes.

DIR/train.jsonl: a conversation a line (see conversations.py); those of a family, which have their tools in common, stand one after the other. One that
holds a held-out word, which some answers of the base model do, is left out.
Needs pandas, because programs are run to know what they print.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.starter.base_answers import read_answers
from scripts.starter.conversations import kinds, make_family
from scripts.starter.leaks import held_out
from scripts.starter.programs import Run, run_here


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/starter/make_data", description="Makes the training data of the starter model.")
    parser.add_argument("--count", type=int, default=16_000, help="how many families of conversations are made; some conversations are left out")
    parser.add_argument("--first", type=int, default=0, help="the number of the first: another range is another set")
    parser.add_argument("--out", type=Path, default=Path("starter-data"), help="folder for train.jsonl")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    digest, counts = hashlib.sha256(), collections.Counter[str]()
    with (arguments.out / "train.jsonl").open("wb") as file:
        for conversation in training_conversations(arguments.first, arguments.count, run_here):
            line = json.dumps(conversation, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            digest.update(line)
            counts[conversation["kind"]] += 1
    print(f"{sum(counts.values())} conversations, sha256 {digest.hexdigest()}: {dict(sorted(counts.items()))}")
    return 0


def training_conversations(first: int, count: int, run: Run) -> Iterator[dict[str, Any]]:
    """The conversations of the families of these numbers that hold no held-out word."""
    mixture, secret = kinds(list(read_answers().values()), run), held_out()
    for seed in range(first, first + count):
        for conversation in make_family(seed, "train", mixture):
            line = {"family": seed, **conversation.to_json()}
            if not secret.in_text(json.dumps(line, ensure_ascii=False)):
                yield line


if __name__ == "__main__":
    sys.exit(main())
