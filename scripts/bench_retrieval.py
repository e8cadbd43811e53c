"""Measures what file search finds, and how fast: a server in a process of its own, HTTP, the real embedder.

`retrieval DIR`: DIR holds corpora/*.md and questions_df.csv (question, corpus_id, references: spans of the corpus, in characters, that answer it). All
corpora go into one vector store, chunked as by default, and each question into POST /v1/vector_stores/{id}/search.

recall@k of a question is the share of the characters of its references that lie in the first k results, every character counted once however many results
hold it; the figure is the mean over all questions. It is the recall of Chroma's chunking evaluation, but for what the questions are asked of: all corpora
together instead of each alone. "within 4,000 tokens" takes results from the first on as long as they fit, and of the next one what does; tokens are the
embedder's.

The latency of a large store does not depend on what its vectors mean: it is filled through the API too, with the corpora's paragraphs in random order, but with
random vectors in place of embedded ones.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from offline_assistants.bootstrap import build_app
from offline_assistants.catalog import Catalog
from offline_assistants.documents.local_documents import LocalDocuments
from offline_assistants.ports import EmbeddingPurpose
from offline_assistants.settings import Settings

START_TIMEOUT_S = 120
INGEST_TIMEOUT_S = 3600
BUDGET_TOKENS = 4000
NUM_TIMED_QUESTIONS = 100
WINDOWS = {10_000: 40.0, 100_000: 80.0}
"""Sizes of store, and the milliseconds that a search may take there."""
MODES: dict[str, dict[str, Any]] = {
    "": {},
    ", dense only": {"hybrid_search": {"embedding_weight": 1, "text_weight": 0}},
    ", keywords only": {"hybrid_search": {"embedding_weight": 0, "text_weight": 1}},
}

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
Span = tuple[int, int]


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}" if self.at_most is not None else ""


@dataclass(frozen=True)
class Question:
    text: str
    corpus: str
    """Its file's name."""
    references: tuple[Span, ...]


@dataclass(frozen=True)
class Result:
    corpus: str
    span: Span
    num_tokens: int


# ── A server ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[httpx.Client]:
    """`offline-assistants serve` on a data directory, and a client of it."""
    log = data_dir.with_suffix(".log")
    command = [sys.executable, "-m", "offline_assistants", "serve", "--port", "0", "--data-dir", str(data_dir), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        with httpx.Client(base_url=_address(process, log), timeout=120) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        _, _, rest = log.read_text(encoding="utf-8", errors="replace").partition("serves on ")
        if "\n" in rest:
            return rest.split("\n")[0].split()[0] + "/"
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"The server did not come up:\n{log.read_text(encoding='utf-8', errors='replace')}")


def asked(response: httpx.Response) -> Any:
    if response.is_error:
        raise RuntimeError(f"{response.request.url}: {response.text}")
    return response.json()


def store_with(client: httpx.Client, files: Sequence[tuple[str, bytes]]) -> str:
    """A vector store of the files, indexed."""
    file_ids = [asked(client.post("files", files={"file": file}, data={"purpose": "assistants"}))["id"] for file in files]
    store_id = asked(client.post("vector_stores", json={"file_ids": file_ids}))["id"]
    end = time.monotonic() + INGEST_TIMEOUT_S
    while (store := asked(client.get(f"vector_stores/{store_id}")))["status"] == "in_progress":
        if time.monotonic() > end:
            raise RuntimeError(f"The files were not indexed in {INGEST_TIMEOUT_S} s.")
        time.sleep(0.2)
    if store["file_counts"]["completed"] != len(files):
        raise RuntimeError(f"Not all files were indexed: {store['file_counts']}")
    return store_id


def kept(note: Path, make_store: Callable[[], str]) -> str:
    """The id of a store that an earlier run made in the same folder, or of a new one."""
    if not note.exists():
        note.write_text(make_store())
    return note.read_text()


def _search(client: httpx.Client, store_id: str, question: str, max_num_results: int, ranking: dict[str, Any]) -> list[dict[str, Any]]:
    body = {"query": question, "max_num_results": max_num_results, **({"ranking_options": ranking} if ranking else {})}
    return asked(client.post(f"vector_stores/{store_id}/search", json=body))["data"]


# ── Recall ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_questions(path: Path, corpora: dict[str, str]) -> list[Question]:
    """Those whose corpus is there."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Question(row["question"], f"{row['corpus_id']}.md", tuple((each["start_index"], each["end_index"]) for each in json.loads(row["references"])))
        for row in rows
        if f"{row['corpus_id']}.md" in corpora
    ]


def recall(question: Question, results: Sequence[Result]) -> float:
    """The share of the references' characters that lie in the results."""
    covered = _joined(result.span for result in results if result.corpus == question.corpus)
    found = sum(max(0, min(end, beyond) - max(start, first)) for start, end in question.references for first, beyond in covered)
    return found / sum(end - start for start, end in question.references)


def _joined(spans: Iterator[Span]) -> list[Span]:
    """The same stretches without overlap."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def within(results: Sequence[Result], budget: int) -> list[Result]:
    """Results from the first on, the last one cut by its share of tokens, as many as the budget holds."""
    kept: list[Result] = []
    for result in results:
        if result.num_tokens > budget:
            start, end = result.span
            kept.append(Result(result.corpus, (start, start + int((end - start) * budget / result.num_tokens)), budget))
            break
        kept.append(result)
        budget -= result.num_tokens
    return kept


class Retrieval:
    """All questions asked of one store."""

    def __init__(self, directory: Path) -> None:
        self.corpora = {path.name: path.read_bytes().decode("utf-8") for path in sorted((directory / "corpora").glob("*.md"))}
        self.questions = read_questions(directory / "questions_df.csv", self.corpora)
        self._tokenizer = Tokenizer.from_file(str(model_dir() / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def files(self) -> list[tuple[str, bytes]]:
        return [(name, text.encode()) for name, text in self.corpora.items()]

    def ask(self, client: httpx.Client, store_id: str, ranking: dict[str, Any]) -> list[list[Result]]:
        return [[self._result(found) for found in _search(client, store_id, question.text, 20, ranking)] for question in self.questions]

    def _result(self, found: dict[str, Any]) -> Result:
        text = "".join(part["text"] for part in found["content"])
        start = self.corpora[found["filename"]].find(text)
        if start < 0:
            raise RuntimeError(f"A result is no part of {found['filename']}: {text[:80]!r}")
        return Result(found["filename"], (start, start + len(text)), len(self._tokenizer.encode(text, add_special_tokens=False).ids))

    def mean_recall(self, answers: Sequence[Sequence[Result]], k: int) -> float:
        return statistics.fmean(recall(question, results[:k]) for question, results in zip(self.questions, answers, strict=True))

    def mean_recall_within(self, answers: Sequence[Sequence[Result]], budget: int) -> float:
        return statistics.fmean(recall(question, within(results, budget)) for question, results in zip(self.questions, answers, strict=True))


def model_dir() -> Path:
    with tempfile.TemporaryDirectory() as folder:
        found = Catalog(Path(folder), verified_path=Path(folder) / "verified.json").embedder_path()
    if found is None:
        raise RuntimeError("The starter embedder is not installed.  This helps:  scripts/setup")
    return found


def measure_recall(retrieval: Retrieval, folder: Path) -> Iterator[Figure]:
    with serving(folder / "recall") as client:
        store_id = kept(folder / "recall.store", lambda: store_with(client, retrieval.files))
        exact = 0.0
        for mode, ranking in MODES.items():
            answers = retrieval.ask(client, store_id, ranking)
            at_5, at_20, in_budget = retrieval.mean_recall(answers, 5), retrieval.mean_recall(answers, 20), retrieval.mean_recall_within(answers, BUDGET_TOKENS)
            exact = exact or at_5
            yield Figure(f"recall@5{mode}", at_5, at_least=None if mode else 0.97)
            yield Figure(f"recall@20{mode}", at_20, at_least=None if mode else 0.99)
            yield Figure(f"recall within {BUDGET_TOKENS:,} tokens{mode}", in_budget, at_least=None if mode else 0.97)
            if not mode:
                characters = statistics.fmean(end - start for results in answers for start, end in (result.span for result in results))
                yield Figure("mean characters of a result", characters, at_most=4000)
    with serving(folder / "recall", "--exact-search-windows", "0") as client:
        approximate = retrieval.mean_recall(retrieval.ask(client, store_id, {}), 5)
        yield Figure("recall@5 through HNSW", approximate, at_least=round(exact - 0.005, 6))


# ── Latency ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class RandomVectors(LocalDocuments):
    """The real parser, tokens and chunks, but random vectors in place of embedded ones: a hundred thousand windows take an hour to embed."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(model_dir)
        self._random = np.random.default_rng(1)
        self.num_embedded = 0

    async def embed(self, texts: Sequence[str], *, purpose: EmbeddingPurpose = "text") -> list[list[float]]:
        self.num_embedded += len(texts)
        vectors = self._random.normal(size=(len(texts), 384))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tolist()


async def fill(data_dir: Path, corpora: Sequence[str], num_windows: int) -> str:
    """A vector store of so many windows, in a data directory for a server to open."""
    paragraphs = [paragraph for text in corpora for paragraph in text.split("\n") if paragraph.strip()]
    shuffled = random.Random(1)
    async with (
        RandomVectors(model_dir()) as documents,
        build_app(Settings(data_dir=data_dir), documents=documents) as server,
        httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://localhost/v1/", timeout=600) as client,
    ):
        store_id = asked(await client.post("vector_stores", json={}))["id"]
        number = 0
        while documents.num_embedded < num_windows:
            number += 1
            text = "\n".join(shuffled.choices(paragraphs, k=2000 if num_windows > 20_000 else 200))
            upload = asked(await client.post("files", files={"file": (f"part {number}.md", text.encode())}, data={"purpose": "assistants"}))
            await client.post(f"vector_stores/{store_id}/files", json={"file_id": upload["id"]})
            while (row := asked(await client.get(f"vector_stores/{store_id}/files/{upload['id']}")))["status"] == "in_progress":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            if row["status"] != "completed":
                raise RuntimeError(f"A file was not indexed: {row['last_error']}")
            console.print(f"  {documents.num_embedded:,} of {num_windows:,} windows", style="dim")
    return store_id


def measure_latency(retrieval: Retrieval, folder: Path, num_windows: int) -> Iterator[Figure]:
    data_dir = folder / f"windows-{num_windows}"
    store_id = kept(folder / f"windows-{num_windows}.store", lambda: asyncio.run(fill(data_dir, list(retrieval.corpora.values()), num_windows)))
    questions = [question.text for question in random.Random(1).choices(retrieval.questions, k=NUM_TIMED_QUESTIONS)]
    with serving(data_dir) as client:
        began = time.perf_counter()
        _search(client, store_id, questions[0], 10, {})
        yield Figure(f"first search after a start, {num_windows:,} windows", 1000 * (time.perf_counter() - began), "ms")
        for question in retrieval.questions[:50]:  # until the store is in memory
            _search(client, store_id, question.text, 10, {})
            time.sleep(0.2 if num_windows > 20_000 else 0)
        times: list[float] = []
        for question in questions:
            began = time.perf_counter()
            _search(client, store_id, question, 10, {})
            times.append(1000 * (time.perf_counter() - began))
    times.sort()
    yield Figure(f"search p50, {num_windows:,} windows", statistics.median(times), "ms", at_most=WINDOWS.get(num_windows))
    yield Figure(f"search p95, {num_windows:,} windows", times[int(0.95 * len(times))], "ms")


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench retrieval", description="Measure what file search finds, and how fast.")
    parser.add_argument("name", choices=["retrieval"])
    parser.add_argument("directory", type=Path, metavar="DIR", help="holds corpora/*.md and questions_df.csv")
    parser.add_argument("--windows", type=int, nargs="*", default=list(WINDOWS), help="sizes of store to measure latency on; none without a number")
    parser.add_argument("--folder", type=Path, help="keep the stores there for a next run; default: a temporary folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    retrieval = Retrieval(arguments.directory)
    console.print(f"{len(retrieval.questions)} questions over {', '.join(retrieval.corpora)}", style="dim")
    with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = list(measure_recall(retrieval, folder))
        show(figures)
        for num_windows in arguments.windows:
            figures += measure_latency(retrieval, folder, num_windows)
    show(figures)
    write_figures(arguments.json, figures)
    return 0 if all(figure.holds for figure in figures) else 1


def write_figures(path: Path | None, figures: Sequence[Figure]) -> None:
    """As JSON, if somebody wants them."""
    if path is not None:
        listed = [{"name": each.name, "value": each.value, "unit": each.unit, "target": each.target, "holds": each.holds} for each in figures]
        path.write_text(json.dumps({"figures": listed}, indent=2) + "\n", encoding="utf-8")


def show(figures: Sequence[Figure], *, title: str = "retrieval") -> None:
    table = Table("figure", "value", "target", "", title=f"{title}: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", title_justify="left")
    for figure in figures:
        verdict = "" if not figure.target else "[green]holds[/]" if figure.holds else "[red]falls short[/]"
        table.add_row(figure.name, f"{figure.value:.4f}" if figure.value <= 1 else f"{figure.value:.1f} {figure.unit}", figure.target, verdict)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
