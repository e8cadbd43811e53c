"""The engine against llama.cpp's own server and bench: same file, same threads, same run, one after the other. Without them only its own figures."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import bench_peers
import httpx
from bench_figures import Row
from bench_peers import ENDLESS, Heard, Peer, user

from offline_assistants.catalog import Catalog
from offline_assistants.settings import Settings

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
    PARTS: ClassVar = ("rates", "json", "busy", "gaps", "first-token", "memory", "python")

    def __init__(self, *, llama_server: Path | None = None, llama_bench: Path | None = None, parts: Sequence[str] = ()) -> None:
        """`parts`: only these of PARTS, and only their rows. None: all."""
        self._llama_server, self._llama_bench = llama_server, llama_bench
        self._num_threads = len(os.sched_getaffinity(0))
        self._num_measured = 0
        self._parts = tuple(parts) or self.PARTS
        self.decode = Row("decode, 1 stream over HTTP", "tokens/s", None)
        self.against_bench = Row("the same against llama-bench", "x", 0.90, is_floor=True)
        self.decode_own = Row("decode, 1 stream over HTTP, on half of the cores as the server chooses", "tokens/s", None)
        self.against_bench_own = Row("the same against llama-bench on as many", "x", 0.90, is_floor=True)
        self.against_server_own = Row("the same against llama-server on as many", "x", 1.0, is_floor=True)
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
        rows = {
            "rates": [self.decode, self.against_bench, *self.totals.values(), self.decode_own, self.against_bench_own, self.against_server_own],
            "json": [self.json_rate, self.json_wall],
            "busy": [self.busy, self.busy_peer],
            "gaps": [self.gap, self.longest_gap, self.peer_gap],
            "first-token": [self.turn_10, self.restarted, self.instructed],
            "memory": [self.resident, self.resident_open],
            "python": [self.python],
        }
        self.rows = [row for part in self.PARTS if part in self._parts for row in rows[part]]

    def measure(self) -> None:
        """One sample of each; what fails keeps nothing else from being measured. Raises RuntimeError with all that failed."""
        self._num_measured += 1
        measures: dict[str, Callable[[Path, Path], None]] = {
            "rates": self._measure_rates,
            "json": self._measure_json,
            "busy": self._measure_busy,
            "gaps": self._measure_gaps,
            "first-token": self._measure_first_tokens,
            "memory": self._measure_memory,
            "python": self._measure_python,
        }
        failures: list[str] = []
        for part in self._parts:
            try:
                with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as name:
                    model_file = next(file.path for file in Catalog(Path(name)).list_files() if file.model_id == MODEL)
                    measures[part](Path(name), model_file)
            except (
                RuntimeError,
                OSError,
                LookupError,
                ArithmeticError,
                ValueError,
                http.client.HTTPException,
                httpx.HTTPError,
                subprocess.SubprocessError,
            ) as error:
                failures.append(f"{part}: {type(error).__name__}: {error}")
        if failures:
            raise RuntimeError("\n".join(failures))

    # ── With equal threads, one after the other ──────────────────────────────────────────────────────────────────────

    def _measure_rates(self, folder: Path, model_file: Path) -> None:
        with self._ours(folder, is_equal=True) as server, self._theirs(model_file) as peer:
            if peer is None:
                rate = total_rate(server, 1, self._num_measured)
            else:
                rates = {number: self._both(server, peer, lambda each, number=number: total_rate(each, number, self._num_measured)) for number in self.STREAMS}
                for number, (mine, theirs) in rates.items():
                    self.totals[number].samples.append(mine / theirs)
                rate = rates[1][0]
            self.decode.samples.append(rate)
            if self._llama_bench:
                bench = bench_peers.llama_bench(self._llama_bench, model_file, num_threads=self._num_threads, num_tokens=NUM_TOKENS)
                # The neighbour of that figure in time, on a machine that is not the same all day.
                self.against_bench.samples.append(statistics.mean([rate, total_rate(server, 1, self._num_measured + 1000)]) / bench)
        self._measure_own_threads(folder, model_file)

    def _measure_own_threads(self, folder: Path, model_file: Path) -> None:
        """One stream where a core is left for the server and whoever reads."""
        num_threads = max(1, self._num_threads // 2)
        with self._ours(folder) as server, self._theirs(model_file, num_threads) as peer:
            if peer is None:
                rate = total_rate(server, 1, self._num_measured)
            else:
                rate, theirs = self._both(server, peer, lambda each: total_rate(each, 1, self._num_measured))
                self.against_server_own.samples.append(rate / theirs)
            self.decode_own.samples.append(rate)
            if self._llama_bench:
                bench = bench_peers.llama_bench(self._llama_bench, model_file, num_threads=num_threads, num_tokens=NUM_TOKENS)
                self.against_bench_own.samples.append(statistics.mean([rate, total_rate(server, 1, self._num_measured + 1000)]) / bench)

    def _measure_json(self, folder: Path, model_file: Path) -> None:
        with self._ours(folder, is_equal=True) as server, self._theirs(model_file) as peer:
            if peer is None:
                return
            record, their_record = self._both(server, peer, lambda each: a_record(each, self._num_measured))
            self.json_rate.samples.append((record.num_tokens / record.whole_s) / (their_record.num_tokens / their_record.whole_s))
            self.json_wall.samples.append(record.whole_s / their_record.whole_s)

    def _both(self, server: Peer, peer: Peer, measure: Callable[[Peer], _T]) -> tuple[_T, _T]:
        """Who begins changes from run to run."""
        if self._num_measured % 2:
            mine = measure(server)
            return mine, measure(peer)
        theirs = measure(peer)
        return measure(server), theirs

    def _ours(self, folder: Path, *, is_equal: bool = False) -> AbstractContextManager[Peer]:
        """`is_equal`: with as many threads as the peer; else with its own choice."""
        threads = ("--decode-threads", str(self._num_threads), "--prefill-threads", str(self._num_threads)) if is_equal else ()
        return bench_peers.ours(MODEL, folder, *threads)

    def _theirs(self, model_file: Path, num_threads: int | None = None) -> AbstractContextManager[Peer | None]:
        """`num_threads`: for one token. None: all cores."""
        if self._llama_server is None:
            return nullcontext()
        num_decode_threads = num_threads or self._num_threads
        return bench_peers.llama_server(
            self._llama_server,
            model_file,
            num_decode_threads=num_decode_threads,
            num_prefill_threads=self._num_threads,
            num_slots=NUM_SLOTS,
            num_kv_tokens=KV_TOKENS,
        )

    # ── As it comes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _measure_busy(self, folder: Path, model_file: Path) -> None:
        with self._ours(folder) as server:
            self.busy.samples.append(busy_share(server, self._num_measured))
        with self._theirs(model_file) as peer:
            if peer is not None:
                self.busy_peer.samples.append(busy_share(peer, self._num_measured))

    def _measure_gaps(self, folder: Path, model_file: Path) -> None:
        with self._ours(folder) as server:
            quiet, beside = gaps_beside_prompt(server, self._num_measured)
            self.gap.samples.append(percentile(beside, 95) / percentile(quiet, 95))
            self.longest_gap.samples.append(1000 * max(beside))
        with self._theirs(model_file) as peer:
            if peer is not None:
                self.peer_gap.samples.append(1000 * max(gaps_beside_prompt(peer, self._num_measured)[1]))

    def _measure_first_tokens(self, folder: Path, _model_file: Path) -> None:
        run = self._num_measured
        thread, another = turns(10, f"thread {run}"), turns(10, f"other {run}")
        with self._ours(folder) as server:
            system, other = words(720, f"instructions {run}"), words(720, f"different {run}")
            cold_s = first_token_s(server, user("Who are you?", system=other))
            first_token_s(server, user("Who are you?", system=system))
            self.instructed.samples.append(first_token_s(server, user("What can you do?", system=system)) / cold_s)
            cold_s = first_token_s(server, another)
            # The last answer is the server's own, as it is in a thread that was lived through.
            answer = server.ask(thread[:-2], max_tokens=150, logit_bias=ENDLESS).text
            thread = [*thread[:-2], {"role": "assistant", "content": answer}, thread[-1]]
            self.turn_10.samples.append(first_token_s(server, thread) / cold_s)
            time.sleep(SAVE_TIMEOUT_S)
        with self._ours(folder) as server:
            self.restarted.samples.append(first_token_s(server, thread) / cold_s)

    def _measure_memory(self, folder: Path, _model_file: Path) -> None:
        with self._ours(folder) as server:
            self.resident.samples.append(server.resident_mb())
            self.resident_open.samples.append(resident_with_open_streams(server))

    def _measure_python(self, folder: Path, _model_file: Path) -> None:
        with self._ours(folder, is_equal=True) as server:
            self.python.samples.append(100 * python_share(server, folder))


# ── What is measured ─────────────────────────────────────────────────────────────────────────────────────────────────


def total_rate(server: Peer, num_streams: int, run: int) -> float:
    """Tokens per second of all streams together, from the first request to the last token; for one stream, after its first token."""
    questions = [user(f"Tell a long story about the number {run * 100 + i}.") for i in range(num_streams)]
    if num_streams == 1:
        return server.ask(questions[0], max_tokens=NUM_TOKENS, logit_bias=ENDLESS).tokens_per_s
    answers = server.ask_all(questions, max_tokens=NUM_TOKENS, logit_bias=ENDLESS)
    whole_s = max(answer.times[-1] for answer in answers) - min(answer.began for answer in answers)
    return sum(answer.num_tokens for answer in answers) / whole_s


def first_token_s(server: Peer, messages: Sequence[dict[str, str]]) -> float:
    """Until the first text of an answer. A few tokens are asked for, because the first may be a piece of a character."""
    return server.ask(messages, max_tokens=4, logit_bias=ENDLESS).first_s


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
    is_enough = threading.Event()
    question = user(f"Tell of the year {1000 + run}.")
    stream = threading.Thread(target=lambda: heard.append(server.ask(question, until=is_enough, max_tokens=2500, logit_bias=ENDLESS)))
    stream.start()
    try:
        time.sleep(1.0)
        long = server.ask(user(words(2900, f"document {run}")), max_tokens=4, logit_bias=ENDLESS)
    finally:
        is_enough.set()
        stream.join()
    if not heard:
        raise RuntimeError("the stream failed")
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


def python_share(server: Peer, folder: Path) -> float:
    """The part of a worker's steps at 8 streams that is not spent in llama.cpp: scheduling, sampling, text, grammar, the pipe. By the worker's own clock."""
    questions = [user(f"Tell a long story about the number {i}.") for i in range(NUM_SLOTS)]
    streams = threading.Thread(target=server.ask_all, args=(questions,), kwargs={"max_tokens": 2 * NUM_TOKENS, "logit_bias": ENDLESS})
    streams.start()
    states: list[dict[str, Any]] = []
    try:
        while streams.is_alive():
            state = batch_state(folder)
            if all(slot["num_pending_tokens"] == 1 for slot in state["slots"]):
                states.append(state)
            time.sleep(0.2)
    finally:
        streams.join()
    if len(states) < 2:
        raise RuntimeError("the 8 streams did not run side by side")
    steps_s, compute_s = (states[-1][name] - states[0][name] for name in ("steps_s", "compute_s"))
    return 1 - compute_s / steps_s


def batch_state(folder: Path) -> dict[str, Any]:
    """See ports.BatchState. Of the one model that is loaded by the server with this data directory."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(Settings(data_dir=folder).admin_socket)), base_url="http://localhost") as client:
        [model] = client.get("/admin/models/loaded").raise_for_status().json()["data"]
    if model["batch"] is None:
        raise RuntimeError("the worker does not say what it does")
    return model["batch"]


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
