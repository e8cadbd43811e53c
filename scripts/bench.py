"""Measures the server on this machine, from the outside: a process, HTTP, the plain openai SDK.

A bench is a class with its `rows` and a `measure` that adds one sample to each; BENCHES names it for the command line. A row without a sample from every run is
shown all the same, and does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import bench_citations
import bench_ingest
import bench_retrieval
import openai
from bench_api import ApiBench
from bench_engine import EngineBench
from bench_figures import Row
from bench_page import PageBench
from bench_quickstart import QuickstartBench
from bench_sandbox import SandboxBench
from rich.console import Console
from rich.table import Table

COMMAND = Path(sys.executable).with_name("offline-assistants")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 120

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


# ── A server to measure ──────────────────────────────────────────────────────────────────────────────────────────────


class MeasuredServer:
    """`offline-assistants serve` on an empty data directory, its start on the clock."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "server.log"
        self.began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [COMMAND, "serve", "--port", "0", "--data-dir", folder / "data"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.url = self._wait(self._address)
        self._wait(self._answers)
        self.ready_after_s = time.perf_counter() - self.began

    def resident_mb(self) -> float:
        """VmRSS of the server process, without its children, in MB of 10^6 bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes) * 1024 / 1e6

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, question: Callable[[], str | None]) -> str:
        """The answer, as soon as there is one. Raises RuntimeError with the log when the server ended, or took too long."""
        while time.perf_counter() - self.began < START_TIMEOUT_S and self._process.poll() is None:
            if answer := question():
                return answer
            time.sleep(0.005)
        self.stop()
        raise RuntimeError(f"The server did not come up:\n{self._log.read_text(encoding='utf-8', errors='replace')}")

    def _address(self) -> str | None:
        _, _, rest = self._log.read_text(encoding="utf-8", errors="replace").partition("serves on ")
        return rest.split("\n")[0] if "\n" in rest else None

    def _answers(self) -> str | None:
        try:
            with urllib.request.urlopen(f"{self.url}/models", timeout=5) as response:
                return "yes" if response.status == 200 else None
        except (urllib.error.URLError, OSError):
            return None


@contextmanager
def measured_server() -> Iterator[MeasuredServer]:
    with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as folder:
        server = MeasuredServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()


# ── The benches ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Bench(Protocol):
    rows: list[Row]

    def measure(self) -> None: ...


class StartBench:
    """How fast the server is there, what it costs while nobody asks, and how long the first word takes."""

    IDLE_S = 4.0
    QUESTION = "Tell me about the sea."

    def __init__(self) -> None:
        self.ready = Row("first 200 after serve, no model loaded", "s", 3.0)
        self.resident = Row("server memory idle, children apart", "MB", 250.0)
        self.first_token = Row("first streamed token after serve", "s", None)
        self.rows = [self.ready, self.resident, self.first_token]

    def measure(self) -> None:
        """One sample of each: an idle server first, then a new one that is asked at once."""
        with measured_server() as server:
            self.ready.samples.append(server.ready_after_s)
            time.sleep(self.IDLE_S)
            self.resident.samples.append(server.resident_mb())
        with measured_server() as server:
            self._wait_for_first_token(server)
            self.first_token.samples.append(time.perf_counter() - server.began)

    def _wait_for_first_token(self, server: MeasuredServer) -> None:
        with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=ANSWER_TIMEOUT_S) as client:
            model = client.models.list().data[0].id
            assistant = client.beta.assistants.create(model=model, temperature=0)
            events = client.beta.threads.create_and_run(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": self.QUESTION}]}, max_completion_tokens=256, stream=True
            )
            with events:
                for event in events:
                    if event.event == "thread.message.delta":
                        return
        raise RuntimeError("The answer had no text.")


BENCHES: dict[str, Callable[[], Bench]] = {
    "start": StartBench,
    "api": ApiBench,
    "engine": EngineBench,
    "page": PageBench,
    "quickstart": QuickstartBench,
    "sandbox": SandboxBench,
}

# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def main() -> int:
    if sys.argv[1:2] == ["retrieval"]:
        return bench_retrieval.main()
    if sys.argv[1:2] == ["ingest"]:
        return bench_ingest.main()
    if sys.argv[1:2] == ["citations"]:
        return bench_citations.main()
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the server on this machine.")
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--runs", type=int, help="how often; the median counts. Default: 3, and 5 for the engine")
    parser.add_argument("--llama-server", type=Path, metavar="PATH", help="llama.cpp's server, to compare the engine with")
    parser.add_argument("--llama-bench", type=Path, metavar="PATH", help="llama.cpp's bench, to compare the engine with")
    parser.add_argument("--part", choices=EngineBench.PARTS, action="append", help="of the engine's figures only these; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # the SDK's, about the hosted API
    is_engine = arguments.name == "engine"
    # Whoever ends it, the servers that it started end with it, and what was measured is shown.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    peers = {"llama_server": arguments.llama_server, "llama_bench": arguments.llama_bench}
    bench = EngineBench(**peers, parts=arguments.part or ()) if is_engine else BENCHES[arguments.name]()
    repeat(bench, max(1, arguments.runs or (5 if is_engine else 3)))
    show(arguments.name, bench.rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"figures": [row.figure() for row in bench.rows]}, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.holds for row in bench.rows) else 1


def repeat(bench: Bench, num_runs: int) -> None:
    """What fails is said, and its row is not complete. Ctrl-C and SIGTERM end it early."""
    for number in range(1, num_runs + 1):
        with console.status(f"run {number} of {num_runs}"):
            try:
                bench.measure()
            except KeyboardInterrupt:
                console.print(f"stopped in run {number} of {num_runs}", style="red")
                break
            except (RuntimeError, OSError, openai.OpenAIError, LookupError) as error:
                console.print(f"run {number}: {error}", style="red", markup=False)
    for row in bench.rows:
        row.is_complete = len(row.samples) >= num_runs


def show(name: str, rows: list[Row]) -> None:
    table = Table("figure", "median", "target", "", "samples", title=f"{name}: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", title_justify="left")
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.4g} {row.unit}"
        target = "" if row.target is None else f"{'≥' if row.is_floor else '≤'} {row.target:g} {row.unit}"
        verdict = "[green]holds[/]" if row.holds else "[red]falls short[/]"
        table.add_row(row.name, value, target, verdict, ", ".join(f"{sample:.4g}" for sample in row.samples))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
