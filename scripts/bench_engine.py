"""The engine against llama.cpp's own server and bench: same file, same threads, same run, one after the other. Without them only its own figures."""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import bench_peers
import numpy as np
from bench_figures import Row
from bench_peers import ENDLESS, Heard, Peer, user
from numpy.typing import NDArray

from offline_assistants.catalog import Catalog
from offline_assistants.engine.kv_cache import KVCache
from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.scheduler import Batch
from offline_assistants.engine.sequence import Sequence as Generation
from offline_assistants.engine.sight import PromptTokens
from offline_assistants.engine.stepper import Stepper
from offline_assistants.engine.wire import write_message
from offline_assistants.ports import SamplingParams

_T = TypeVar("_T")
MODEL = "smollm2-135m-instruct"
NUM_SLOTS = 8
KV_TOKENS = 16_384
NUM_TOKENS = 96
OPEN_STREAMS = 50
SAVE_TIMEOUT_S = 4.0
RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "is_member": {"type": "boolean"},
        "membership_level": {"enum": ["bronze", "silver", "gold"]},
        "address": {
            "type": "object",
            "properties": {
                "street_name": {"type": "string", "maxLength": 24},
                "house_number": {"type": "integer", "minimum": 0, "maximum": 999},
                "city_name": {"type": "string", "maxLength": 24},
                "country_code": {"enum": ["DE", "FR", "GB", "US"]},
            },
            "required": ["street_name", "house_number", "city_name", "country_code"],
            "additionalProperties": False,
        },
        "preferred_contact": {"enum": ["email", "telephone", "letter"]},
        "number_of_orders": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age", "is_member", "membership_level", "address", "preferred_contact", "number_of_orders"],
    "additionalProperties": False,
}


class EngineBench:
    """One sample of each figure a run. `peers` are llama.cpp's own programs, where they are there."""

    STREAMS: ClassVar = (1, 4, 8)

    def __init__(self, *, llama_server: Path | None = None, llama_bench: Path | None = None) -> None:
        self._llama_server, self._llama_bench = llama_server, llama_bench
        self._num_threads = len(os.sched_getaffinity(0))
        self._num_measured = 0
        self.decode = Row("decode, 1 stream over HTTP", "tokens/s", None)
        self.against_bench = Row("the same against llama-bench", "x", 0.90, is_floor=True)
        self.totals = {
            number: Row(f"tokens/s in all, {number} stream{'s' * (number > 1)}, against llama-server", "x", 1.0, is_floor=True) for number in self.STREAMS
        }
        self.busy = Row("decode beside a busy process, against quiet", "x", 0.80, is_floor=True)
        self.busy_peer = Row("llama-server's beside it, with its own choice of threads", "x", None)
        self.turn_10 = Row("first token, turn 10 of a thread of 3,000 tokens, against cold", "x", 0.10)
        self.restarted = Row("the same after a restart of the server", "x", 0.25)
        self.instructed = Row("first token, new thread, 1,000 tokens of instructions known, against cold", "x", 0.15)
        self.json_rate = Row("JSON by schema, tokens/s against llama-server", "x", 1.4, is_floor=True)
        self.json_wall = Row("JSON by schema, time to the record against llama-server", "x", 0.6)
        self.gap = Row("gap between tokens beside a prompt of 4,000, p95 against quiet", "x", 8.0)
        self.longest_gap = Row("the longest such gap", "ms", 300.0)
        self.peer_gap = Row("llama-server's longest", "ms", None)
        self.python = Row(f"Python and pipes, share of a step at {NUM_SLOTS} streams", "%", 5.0)
        self.resident = Row("server memory without workers, idle", "MB", 250.0)
        self.resident_open = Row(f"server memory with {OPEN_STREAMS} open streams", "MB", 350.0)
        own = [self.busy, self.turn_10, self.restarted, self.instructed, self.gap, self.longest_gap, self.python, self.resident, self.resident_open]
        self.rows = [self.decode, self.against_bench, *self.totals.values(), self.json_rate, self.json_wall, *own, self.busy_peer, self.peer_gap]

    def measure(self) -> None:
        """One sample of each; what fails keeps nothing else from being measured."""
        self._num_measured += 1
        with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            model_file = next(file.path for file in Catalog(folder).list_files() if file.model_id == MODEL)
            parts: list[Callable[[], None]] = [
                lambda: self._measure_beside_peer(folder / "equal", model_file),
                lambda: self._measure_alone(folder / "own", model_file),
                lambda: self.python.samples.append(100 * python_share(model_file, num_threads=self._num_threads)),
            ]
            failures: list[str] = []
            for part in parts:
                try:
                    part()
                except (RuntimeError, OSError, LookupError, ArithmeticError, subprocess.SubprocessError) as error:
                    failures.append(f"{type(error).__name__}: {error}")
        if failures:
            raise RuntimeError("\n".join(failures))

    # ── With equal threads, one after the other ──────────────────────────────────────────────────────────────────────

    def _measure_beside_peer(self, folder: Path, model_file: Path) -> None:
        threads = ("--decode-threads", str(self._num_threads), "--prefill-threads", str(self._num_threads))
        if self._llama_bench:
            bench = bench_peers.llama_bench(self._llama_bench, model_file, num_threads=self._num_threads, num_tokens=NUM_TOKENS)
        with bench_peers.ours(MODEL, folder, *threads) as server:
            if self._llama_server is None:
                rate = total_rate(server, 1, self._num_measured)
            else:
                sizes = {"num_threads": self._num_threads, "num_slots": NUM_SLOTS, "num_kv_tokens": KV_TOKENS}
                with bench_peers.llama_server(self._llama_server, model_file, **sizes) as peer:
                    rate = self._compare(server, peer)
            self.decode.samples.append(rate)
            if self._llama_bench:
                self.against_bench.samples.append(rate / bench)

    def _compare(self, server: Peer, peer: Peer) -> float:
        """Who begins changes from run to run. Our tokens per second with one stream."""
        rates = {number: self._both(server, peer, lambda each, number=number: total_rate(each, number, self._num_measured)) for number in self.STREAMS}
        for number, (mine, theirs) in rates.items():
            self.totals[number].samples.append(mine / theirs)
        record, their_record = self._both(server, peer, lambda each: a_record(each, self._num_measured))
        self.json_rate.samples.append((record.num_tokens / record.whole_s) / (their_record.num_tokens / their_record.whole_s))
        self.json_wall.samples.append(record.whole_s / their_record.whole_s)
        self.peer_gap.samples.append(1000 * max(gaps_beside_prompt(peer, self._num_measured)[1]))
        return rates[1][0]

    def _both(self, server: Peer, peer: Peer, measure: Callable[[Peer], _T]) -> tuple[_T, _T]:
        if self._num_measured % 2:
            mine = measure(server)
            return mine, measure(peer)
        theirs = measure(peer)
        return measure(server), theirs

    # ── As it comes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _measure_alone(self, folder: Path, model_file: Path) -> None:
        run = self._num_measured
        with bench_peers.ours(MODEL, folder) as server:
            self.resident.samples.append(server.resident_mb())
            self.busy.samples.append(busy_share(server, run))
            quiet, beside = gaps_beside_prompt(server, run)
            self.gap.samples.append(percentile(beside, 95) / percentile(quiet, 95))
            self.longest_gap.samples.append(1000 * max(beside))
            system, other = words(720, f"instructions {run}"), words(720, f"different {run}")
            cold_s = server.ask(user("Who are you?", system=other), max_tokens=1).first_s
            server.ask(user("Who are you?", system=system), max_tokens=1)
            self.instructed.samples.append(server.ask(user("What can you do?", system=system), max_tokens=1).first_s / cold_s)
            thread, another = turns(10, f"thread {run}"), turns(10, f"other {run}")
            cold_s = server.ask(another, max_tokens=1).first_s
            server.ask(thread[:-2], max_tokens=1)
            self.turn_10.samples.append(server.ask(thread, max_tokens=1).first_s / cold_s)
            self.resident_open.samples.append(resident_with_open_streams(server))
            server.ask(thread, max_tokens=1)
            time.sleep(SAVE_TIMEOUT_S)
        with bench_peers.ours(MODEL, folder) as server:
            self.restarted.samples.append(server.ask(thread, max_tokens=1).first_s / cold_s)
        if self._llama_server:
            sizes = {"num_threads": self._num_threads, "num_slots": NUM_SLOTS, "num_kv_tokens": KV_TOKENS}
            with bench_peers.llama_server(self._llama_server, model_file, **sizes) as peer:
                self.busy_peer.samples.append(busy_share(peer, run))


# ── What is measured ─────────────────────────────────────────────────────────────────────────────────────────────────


def total_rate(server: Peer, num_streams: int, run: int) -> float:
    """Tokens per second of all streams together, from the first request to the last token; for one stream, after its first token."""
    questions = [user(f"Tell a long story about the number {run * 100 + i}.") for i in range(num_streams)]
    if num_streams == 1:
        return server.ask(questions[0], max_tokens=NUM_TOKENS, logit_bias=ENDLESS).tokens_per_s
    answers = server.ask_all(questions, max_tokens=NUM_TOKENS, logit_bias=ENDLESS)
    whole_s = max(answer.times[-1] for answer in answers) - min(answer.began for answer in answers)
    return sum(answer.num_tokens for answer in answers) / whole_s


def busy_share(server: Peer, run: int) -> float:
    """Tokens per second beside a busy process, against those on a quiet machine."""
    quiet = total_rate(server, 1, run)
    with bench_peers.busy_process():
        return total_rate(server, 1, run + 50) / quiet


def a_record(server: Peer, run: int) -> Heard:
    """Raises RuntimeError when the record does not have the keys that were asked for."""
    response_format = {"type": "json_schema", "json_schema": {"name": "record", "strict": True, "schema": RECORD}}
    heard = server.ask(user(f"Invent customer number {run} of a bookshop, as JSON."), max_tokens=400, response_format=response_format)
    if json.loads(heard.text).keys() != RECORD["properties"].keys():
        raise RuntimeError(f"not a record: {heard.text}")
    return heard


def gaps_beside_prompt(server: Peer, run: int) -> tuple[list[float], list[float]]:
    """Seconds between the tokens of a stream on a quiet server, and while a prompt of 4,000 tokens is read."""
    quiet = server.ask(user(f"Count from {run} to a thousand."), max_tokens=NUM_TOKENS, logit_bias=ENDLESS).gaps_s()
    heard: list[Heard] = []
    stream = threading.Thread(target=lambda: heard.append(server.ask(user(f"Tell of the year {1000 + run}."), max_tokens=1500, logit_bias=ENDLESS)))
    stream.start()
    time.sleep(1.0)
    long = server.ask(user(words(2900, f"document {run}")), max_tokens=1)
    stream.join()
    gaps = heard[0].gaps_s(after=long.began, before=long.times[0])
    if not gaps:
        raise RuntimeError("the stream said nothing beside the prompt")
    return quiet, gaps


def resident_with_open_streams(server: Peer) -> float:
    streams = threading.Thread(
        target=server.ask_all, args=([user(f"Say {i}.") for i in range(OPEN_STREAMS)],), kwargs={"max_tokens": 16, "logit_bias": ENDLESS}
    )
    streams.start()
    largest = 0.0
    while streams.is_alive():
        largest = max(largest, server.resident_mb())
        time.sleep(0.1)
    return largest


class _TimedRunner(ModelRunner):
    """Adds up how long llama.cpp computes."""

    decode_s = 0.0

    def decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]:
        began = time.perf_counter()
        try:
            return super().decode(batch)
        finally:
            self.decode_s += time.perf_counter() - began


def python_share(model_file: Path, *, num_threads: int) -> float:
    """The part of a step at 8 streams that is not spent in the model: scheduling, sampling, text, pipes."""
    options = EngineOptions(max_context_tokens=1024, num_decode_threads=num_threads, num_prefill_threads=num_threads)
    runner, pipe = _TimedRunner(model_file, options), io.BytesIO()
    stepper = Stepper(runner, KVCache(NUM_SLOTS), options, num_kv_tokens=runner.num_kv_tokens, clock=time.perf_counter)
    for i in range(NUM_SLOTS):
        sampler = Sampler(SamplingParams(temperature=0), np.random.default_rng(i))
        prompt = PromptTokens(runner.tokenize_raw(f"The story of the number {i}"))
        stepper.add(Generation(i + 1, prompt=prompt, max_tokens=NUM_TOKENS, piece=runner.piece, end_tokens=frozenset(), sampler=sampler))
    stepper.step()
    runner.decode_s, began = 0.0, time.perf_counter()
    while not stepper.is_idle:
        for reply in stepper.step():
            write_message(pipe, reply)
    return 1 - runner.decode_s / (time.perf_counter() - began)


def words(number: int, first: str) -> str:
    """About 1.4 times as many tokens, which are in no cache: they begin with `first`."""
    return f"{first}: " + " ".join(f"item{i % 97} holds," if i % 3 == 0 else "and then" for i in range(number // 2))


def turns(number: int, first: str) -> list[dict[str, str]]:
    """A thread of about 3,000 tokens that ends with the question of its last turn."""
    messages: list[dict[str, str]] = []
    for turn in range(number):
        messages.append({"role": "user", "content": words(110, f"{first}, question {turn}")})
        if turn < number - 1:
            messages.append({"role": "assistant", "content": words(110, f"answer {turn}")})
    return messages


def percentile(values: Sequence[float], rank: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[rank - 1] if len(values) > 1 else values[0]
