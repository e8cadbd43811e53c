"""Says how well the starter model does its job: `scripts/starter/evaluate [--adapter FILE] [--cases 200] [--json FILE]`. Without an adapter, the base.

Held-out cases, greedy, through the product's own HTTP API with its grammars, its search and its sandbox; then the requests by hand. Exit code 1 when a
figure falls short. `--quick` takes few cases of each kind, `--side train` new conversations about topics of the training: the gap says what was memorised.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from rich.console import Console
from rich.table import Table

from scripts.starter.base_model import MODEL_ID
from scripts.starter.cases import Case, Judgement, Outcome, hand_written, held_out_cases, overlap
from scripts.starter.speed import NUM_ROUNDS, decode_ratio

KINDS = ("function", "calls", "none", "code", "search", "not held", "plain")
MORE_KINDS = ("by hand", "speed")
QUICK_CASES = 12
START_TIMEOUT_S = 120
MAX_TOKENS = 300
AGREES = 0.5
"""Words shared with the base's own answer from which on an answer agrees with it."""
SPEED = "decode speed, merged into the base, against the base"
TARGETS = {
    "right tool: code": 0.92,
    "right tool: search": 0.92,
    "right tool: function": 0.92,
    "right tool: none": 0.92,
    "function arguments right": 0.80,
    "two or three calls all right": 0.65,
    "csv question right": 0.75,
    "answer right from passages": 0.80,
    "says so when they do not hold it": 0.85,
    "plain questions agree with the base": 0.90,
    "by hand: right": 0.70,
    "by hand: plain questions without a tool": 0.95,
    SPEED: 0.97,
}


@dataclass(frozen=True, slots=True)
class Answered:
    case: Case
    outcome: Outcome
    judgement: Judgement


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/starter/evaluate", description="How well the starter model does its job.")
    parser.add_argument("--adapter", type=Path, help="a GGUF of export.py; without it, the base")
    parser.add_argument("--cases", type=int, default=200, help="of each kind")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CASES} cases of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, *MORE_KINDS], default=[*KINDS, *MORE_KINDS])
    parser.add_argument("--side", choices=["train", "held_out"], default="held_out", help="whose topics")
    parser.add_argument("--at-once", type=int, default=4, help="how many requests are under way")
    parser.add_argument("--json", type=Path, help="keeps the figures and every answer")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # the SDK says of every call that the hosted API is gone
    if importlib.util.find_spec("pandas") is None:  # what a program prints is known from running it here
        raise SystemExit("pandas is needed:  .venv/bin/python -m pip install --group training")
    count = QUICK_CASES if arguments.quick else arguments.cases
    cases = [case for kind in KINDS if kind in arguments.kinds for case in held_out_cases(kind, count, side=arguments.side)]
    by_hand = list(hand_written()) if "by hand" in arguments.kinds else []
    with server(arguments.adapter) as url:
        answered = ask_all(url, [*cases, *by_hand], at_once=arguments.at_once)
    plain = [each for each in answered[: len(cases)] if each.case.kind == "plain"]
    agreement = agreements(plain, arguments) if plain else []
    found = figures(answered[: len(cases)], answered[len(cases) :], agreement)
    if arguments.adapter is not None and "speed" in arguments.kinds:
        found[SPEED] = (decode_ratio(arguments.adapter), NUM_ROUNDS)
    show(found)
    if broken := [each.outcome.status for each in answered if each.outcome.status.startswith("failed")]:
        Console(highlight=False).print(f"{len(broken)} of {len(answered)} requests failed and count as wrong. The first: {broken[0]}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"figures": found, "cases": [noted(each) for each in answered]}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return int(any(value < TARGETS[name] for name, (value, _) in found.items() if name in TARGETS))


def agreements(plain: Sequence[Answered], arguments: argparse.Namespace) -> list[bool]:
    """Which plain answers agree with those of the base, which is asked the same."""
    if arguments.adapter is None:
        return [True] * len(plain)
    with server(None) as url:
        own = ask_all(url, [each.case for each in plain], at_once=arguments.at_once)
    return [overlap(ours.outcome.answer, theirs.outcome.answer) >= AGREES for ours, theirs in zip(plain, own, strict=True)]


# ── The server ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def server(adapter: Path | None) -> Iterator[str]:
    """The product's own server in a folder of its own; the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="starter-", ignore_cleanup_errors=True) as data_dir:
        options = ["--host", "127.0.0.1", "--port", str(port), "--data-dir", data_dir]
        options += ["--no-packaged-adapters"] if adapter is None else ["--lora", f"{MODEL_ID}={adapter.resolve()}"]
        log = Path(data_dir, "server.log")
        with log.open("wb") as written:
            process = subprocess.Popen([sys.executable, "-m", "offline_assistants", "serve", *options], stdout=written, stderr=written, start_new_session=True)
        try:
            _wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
            return
        time.sleep(0.2)
    raise SystemExit(f"The server did not start:\n{log.read_text(errors='replace')[-2000:]}")


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_all(url: str, cases: Sequence[Case], *, at_once: int) -> list[Answered]:
    with openai.OpenAI(base_url=url, api_key="not-needed", timeout=600, max_retries=0) as client, ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda case: ask(client, case), cases))


def ask(client: openai.OpenAI, case: Case) -> Answered:
    """One case as a client would bring it. What fails is a wrong answer."""
    try:
        outcome = _ask(client, case)
    except openai.OpenAIError as error:
        outcome = Outcome([], [], "", f"failed: {error}")
    return Answered(case, outcome, case.judge(outcome))


def _ask(client: openai.OpenAI, case: Case) -> Outcome:
    tools: list[Any] = list(case.tools)
    assistant = client.beta.assistants.create(model=MODEL_ID, instructions=case.system or None, temperature=0, tools=tools)
    file_ids = [client.files.create(file=(name, content), purpose="assistants").id for name, content in case.code_files]
    resources: Any = {"code_interpreter": {"file_ids": file_ids}} if file_ids else {}
    if case.documents:
        store = client.vector_stores.create()
        client.vector_stores.file_batches.upload_and_poll(store.id, files=[(name, text.encode()) for name, text in case.documents], poll_interval_ms=100)
        resources["file_search"] = {"vector_store_ids": [store.id]}
    thread = client.beta.threads.create(messages=[{"role": "user", "content": case.asked}], tool_resources=resources)
    run: Any = None
    with client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, max_completion_tokens=MAX_TOKENS, stream=True) as events:
        for event in events:
            if event.event.startswith("thread.run.") and not event.event.startswith("thread.run.step"):
                run = event.data
    outcome = _read(client, thread.id, run)
    with contextlib.suppress(openai.OpenAIError):  # a run that waits for its functions keeps its thread
        client.beta.threads.delete(thread.id)  # and the session of its code with it
    return outcome


def _read(client: openai.OpenAI, thread_id: str, run: Any) -> Outcome:
    outcome = Outcome([], [], "", run.status)
    for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread_id, order="asc"):
        for call in step.step_details.tool_calls if step.type == "tool_calls" else ():
            _read_call(client, call, outcome)
    for message in client.beta.threads.messages.list(thread_id, run_id=run.id, order="asc"):
        outcome.answer += "".join(part.text.value for part in message.content if part.type == "text")
        outcome.outputs[-1:] = ["\n".join([*outcome.outputs[-1:], *_saved(client, message)])] if outcome.outputs else []
    return outcome


def _read_call(client: openai.OpenAI, call: Any, outcome: Outcome) -> None:
    match call.type:
        case "code_interpreter":
            outcome.calls.append(("code_interpreter", call.code_interpreter.input))
            shown = [each.logs if each.type == "logs" else "[an image was shown to the user]" for each in call.code_interpreter.outputs]
            outcome.outputs.append("\n".join(shown))
        case "file_search":
            outcome.calls.append(("file_search", ""))
        case _:
            outcome.calls.append((call.function.name, call.function.arguments))


def _saved(client: openai.OpenAI, message: Any) -> list[str]:
    return [f"[file saved: /mnt/data/{client.files.retrieve(each.file_id).filename}]" for each in message.attachments or []]


# ── Figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def figures(answered: Sequence[Answered], by_hand: Sequence[Answered], agreement: Sequence[bool]) -> dict[str, tuple[float, int]]:
    """Each figure with the number of its cases."""
    kinds: dict[str, list[Judgement]] = defaultdict(list)
    for each in answered:
        kinds[each.case.kind].append(each.judgement)
    found: dict[str, list[bool]] = {
        "right tool: code": [each.right_tool for each in kinds["code"]],
        "right tool: search": [each.right_tool for each in kinds["search"] + kinds["not held"]],
        "right tool: function": [each.right_tool for each in kinds["function"]],
        "right tool: none": [each.right_tool for each in kinds["none"]],
        "function arguments right": [each.is_right for each in kinds["function"]],
        "two or three calls all right": [each.is_right for each in kinds["calls"]],
        "csv question right": [each.is_right for each in kinds["code"]],
        "answer right from passages": [each.is_right for each in kinds["search"]],
        "says so when they do not hold it": [each.is_right for each in kinds["not held"]],
        "plain questions agree with the base": list(agreement),
        "by hand: right": [each.judgement.is_right for each in by_hand],
        "by hand: plain questions without a tool": [each.judgement.right_tool for each in by_hand if each.case.kind == "plain"],
    }
    for kind in dict.fromkeys(each.case.kind for each in by_hand):
        found[f"by hand: {kind}"] = [each.judgement.is_right for each in by_hand if each.case.kind == kind]
    return {name: (sum(values) / len(values), len(values)) for name, values in found.items() if values}


def show(found: dict[str, tuple[float, int]]) -> None:
    table = Table("figure", "here", "cases", "must reach")
    for name, (value, count) in found.items():
        target = TARGETS.get(name)
        colour = "" if target is None else "green" if value >= target else "red"
        table.add_row(name, f"[{colour}]{value:.0%}[/]" if colour else f"{value:.0%}", str(count), f"{target:.0%}" if target else "")
    Console(highlight=False).print(table)


def noted(each: Answered) -> dict[str, Any]:
    """One case for whoever reads the failures."""
    outcome = each.outcome
    made = {"calls": outcome.calls, "outputs": outcome.outputs, "answer": outcome.answer, "status": outcome.status}
    judged = {"right_tool": each.judgement.right_tool, "is_right": each.judgement.is_right}
    return {"kind": each.case.kind, "asked": each.case.asked, **made, **judged, "reference": each.case.reference}


if __name__ == "__main__":
    sys.exit(main())
