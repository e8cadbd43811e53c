"""Asks the base model what it says to plain questions, greedily, so that training can keep it saying so: `scripts/starter/base_answers --count 340`.

The answers are kept in base_answers.jsonl beside this file, one a line. What is there already is not asked again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp

from scripts.starter.base_model import base_model_path
from scripts.starter.plain import plain_questions

ANSWERS = Path(__file__).with_name("base_answers.jsonl")
MAX_TOKENS = 288
SYSTEMS = ("", "You are a helpful assistant.", "You answer in one short sentence.", "You are a friendly assistant.", "Answer briefly.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/starter/base_answers", description="What the base model says to plain questions.")
    parser.add_argument("--count", type=int, default=340, help="how many questions")
    parser.add_argument("--threads", type=int, default=1)
    count, num_threads = (arguments := parser.parse_args()).count, arguments.threads
    known = read_answers()
    model: Any = llama_cpp.Llama(str(base_model_path()), n_ctx=640, n_threads=num_threads, n_threads_batch=num_threads, verbose=False)
    with ANSWERS.open("a", encoding="utf-8") as file:
        for i, question in enumerate(plain_questions("train")[:count]):
            system = SYSTEMS[i % len(SYSTEMS)]
            if (system, question) in known:
                continue
            messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": question}]
            answer = model.create_chat_completion(messages, temperature=0.0, max_tokens=MAX_TOKENS)["choices"][0]
            line = {"system": system, "question": question, "answer": answer["message"]["content"], "is_whole": answer["finish_reason"] == "stop"}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
    return 0


def read_answers() -> dict[tuple[str, str], dict[str, Any]]:
    """The answers that are kept, by system text and question."""
    if not ANSWERS.exists():
        return {}
    lines = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    return {(line["system"], line["question"]): line for line in lines}


if __name__ == "__main__":
    sys.exit(main())
