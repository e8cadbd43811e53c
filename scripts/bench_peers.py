"""Two servers with the same model and the same clock on them: this one, and llama.cpp's own. How they are started, asked, and listened to."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("offline-assistants")
START_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 300
# A bias on the tokens that end an answer, so that every answer has the length that was asked for: <|endoftext|> and <|im_end|> of SmolLM2.
ENDLESS = {"0": -100, "2": -100}


@dataclass
class Heard:
    """A streamed answer, and when its pieces came."""

    began: float
    times: list[float] = field(default_factory=list[float])
    text: str = ""
    num_tokens: int = 0

    @property
    def first_s(self) -> float:
        """Until the first piece of text."""
        return self.times[0] - self.began

    @property
    def whole_s(self) -> float:
        return self.times[-1] - self.began

    @property
    def tokens_per_s(self) -> float:
        """After the first token."""
        return (self.num_tokens - 1) / (self.times[-1] - self.times[0])

    def gaps_s(self, after: float = 0.0, before: float = float("inf")) -> list[float]:
        """Between the pieces that came within this time."""
        times = [moment for moment in self.times if after <= moment <= before]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


@dataclass
class Peer:
    """A server with an OpenAI interface."""

    process: subprocess.Popen[bytes]
    port: int
    model: str

    def ask(self, messages: Sequence[dict[str, str]], *, max_tokens: int, until: threading.Event | None = None, **more: Any) -> Heard:
        """A greedy chat completion, streamed, and left when `until` is set. Raises RuntimeError when it is refused."""
        body = {"model": self.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0, "stream": True}
        body |= {"stream_options": {"include_usage": True}, **more}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            heard = Heard(time.perf_counter())
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {response.read(500).decode('utf-8', 'replace')}")
            for line in response:
                self._take(heard, line)
                if until is not None and until.is_set():
                    break
        finally:
            connection.close()
        if not heard.times:
            raise RuntimeError("an answer had no text")
        return heard

    def ask_all(self, questions: Sequence[Sequence[dict[str, str]]], **more: Any) -> list[Heard]:
        """All at once. Raises RuntimeError when one fails."""
        answers: list[Heard] = []
        threads = [threading.Thread(target=lambda question=question: answers.append(self.ask(question, **more))) for question in questions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(answers) < len(questions):
            raise RuntimeError("an answer failed")
        return answers

    def resident_mb(self) -> float:
        """VmRSS of the process without its children, in MB of 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes) * 1024 / 1e6

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _take(self, heard: Heard, line: bytes) -> None:
        if not line.startswith(b"data: {"):
            return
        event = json.loads(line[6:])
        if usage := event.get("usage"):
            heard.num_tokens = usage["completion_tokens"]
        text = "".join((choice.get("delta") or {}).get("content") or "" for choice in event.get("choices", []))
        if text:
            heard.text += text
            heard.times.append(time.perf_counter())


@contextmanager
def ours(model: str, folder: Path, *options: str) -> Iterator[Peer]:
    """This server on the folder's data, with its model loaded."""
    port = free_port()
    with _running([str(COMMAND), "serve", "--port", str(port), "--data-dir", str(folder), *options], port, model) as peer:
        peer.ask(user("Hello"), max_tokens=4)
        yield peer


@contextmanager
def llama_server(binary: Path, model_file: Path, *, num_decode_threads: int, num_prefill_threads: int, num_slots: int, num_kv_tokens: int) -> Iterator[Peer]:
    """llama.cpp's server with the same cache, slots and threads."""
    port = free_port()
    sizes = ["-c", str(num_kv_tokens), "-np", str(num_slots), "--kv-unified", "-t", str(num_decode_threads), "-tb", str(num_prefill_threads)]
    with _running([str(binary), "-m", str(model_file), "--host", "127.0.0.1", "--port", str(port), *sizes], port, "any") as peer:
        peer.ask(user("Hello"), max_tokens=4)
        yield peer


def llama_bench(binary: Path, model_file: Path, *, num_threads: int, num_tokens: int) -> float:
    """Tokens per second of decoding, without any server."""
    command = [str(binary), "-m", str(model_file), "-t", str(num_threads), "-n", str(num_tokens), "-p", "0", "-r", "1", "-o", "json"]
    output = subprocess.run(command, check=True, capture_output=True, timeout=ANSWER_TIMEOUT_S).stdout
    return float(json.loads(output)[0]["avg_ts"])


@contextmanager
def busy_process() -> Iterator[None]:
    """Something else that wants a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def user(text: str, *, system: str = "") -> list[dict[str, str]]:
    return ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": text}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int, model: str) -> Iterator[Peer]:
    with tempfile.TemporaryFile() as log:
        peer = Peer(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True), port, model)
        try:
            _wait(peer)
            yield peer
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-2000:].decode("utf-8", "replace"))
            raise
        finally:
            peer.stop()


def _wait(peer: Peer) -> None:
    deadline = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < deadline and peer.process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=5)
        try:
            connection.request("GET", "/v1/models")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError("a server did not come up")
