"""Measures how fast files become searchable, and what that costs in memory: a server in a process of its own, HTTP, the real embedder.

`ingest DIR`: DIR as for `retrieval`. The server parses, chunks, embeds and indexes the corpora; SentenceTransformer.encode embeds the same windows by itself,
with as many threads. Both are told in chunks a second. Then 100 files of a megabyte are added, and for some minutes the memory of the server and of its
embedder is read, and another store is searched every other second.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from bench_retrieval import Figure, Retrieval, asked, console, model_dir, serving, show, store_with, write_figures

from offline_assistants.documents.local_documents import LocalDocuments
from offline_assistants.file_search.contexts import embedded_text
from offline_assistants.settings import Settings

NUM_THREADS: int = Settings.model_fields["embed_threads"].default
"""As many as the server takes."""
MB = 1_000_000
NUM_FILES = 100
SEARCH_EVERY_S = 2.0


async def windows_of(retrieval: Retrieval) -> tuple[list[str], int]:
    """What is embedded of the corpora, and how many chunks they have."""
    texts: list[str] = []
    num_chunks = 0
    async with LocalDocuments(model_dir()) as documents:
        for name, content in retrieval.files:
            document = await documents.parse(name, content)
            chunks = await documents.chunk(document.text, max_chunk_size_tokens=800, chunk_overlap_tokens=400)
            texts += [embedded_text(document, *span) for span in sorted({window for chunk in chunks for window in chunk.windows})]
            num_chunks += len(chunks)
    return texts, num_chunks


def time_of_encode(texts: list[str]) -> float:
    """Seconds that SentenceTransformer takes by itself."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(NUM_THREADS)
    model = SentenceTransformer(str(model_dir()), device="cpu", local_files_only=True)
    model.encode(texts[:8], show_progress_bar=False)
    began = time.perf_counter()
    model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return time.perf_counter() - began


def time_of_server(retrieval: Retrieval, folder: Path) -> float:
    """Seconds from the first upload until all is indexed, the embedder already loaded."""
    with serving(folder / "ingest") as client:
        store_with(client, [("a.md", b"To load the model.")])
        began = time.perf_counter()
        store_with(client, retrieval.files)
        return time.perf_counter() - began


def measure_speed(retrieval: Retrieval, folder: Path) -> Iterator[Figure]:
    texts, num_chunks = asyncio.run(windows_of(retrieval))
    encode_s, server_s = time_of_encode(texts), time_of_server(retrieval, folder)
    yield Figure("chunks a second, from upload to searchable", num_chunks / server_s)
    yield Figure("chunks a second, SentenceTransformer.encode alone", num_chunks / encode_s)
    yield Figure("ratio of the two", encode_s / server_s, at_least=1.5)


# ── Memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def resident_mb(pid: int) -> float:
    """VmRSS in MB; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) * 1024 / MB for line in lines if line.startswith("VmRSS:")), 0.0)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def process_with(*words: str, parent: int | None = None) -> int:
    """The newest process whose command line has all the words, of those that `parent` started. Raises RuntimeError when there is none."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            started_by = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if command and all(word in command for word in words) and parent in (None, started_by):
            found.append(int(entry.name))
    if not found:
        raise RuntimeError(f"There is no process {' '.join(words)}.")
    return max(found)


def measure_memory(retrieval: Retrieval, folder: Path, minutes: float) -> Iterator[Figure]:
    paragraphs = [paragraph for text in retrieval.corpora.values() for paragraph in text.split("\n") if paragraph.strip()]
    with serving(folder / "memory") as client:
        small = store_with(client, [("a.md", b"To load the model.")])
        server = process_with("serve", str(folder / "memory"))
        embedder = process_with("embedder_child", parent=server)
        before, peaks = resident_mb(server), {server: 0.0, embedder: 0.0}
        is_over = threading.Event()
        watching = threading.Thread(target=_watch, args=(peaks, is_over))
        watching.start()
        try:
            num_files, searches = _add_for(client, paragraphs, minutes, small)
        finally:
            is_over.set()
            watching.join()
    yield Figure("megabytes of text added meanwhile", float(num_files), "MB")
    yield Figure("memory of the embedder, at most", peaks[embedder], "MB", at_most=1500)
    yield Figure("growth of the server's memory, at most", peaks[server] - before, "MB", at_most=300)
    yield Figure("search p50 meanwhile, in another store", statistics.median(searches), "ms")
    yield Figure("search p95 meanwhile, in another store", sorted(searches)[int(0.95 * len(searches))], "ms")


def _watch(peaks: dict[int, float], is_over: threading.Event) -> None:
    while not is_over.wait(0.2):
        for pid in peaks:
            peaks[pid] = max(peaks[pid], resident_mb(pid))


def _add_for(client: httpx.Client, paragraphs: list[str], minutes: float, searched: str) -> tuple[int, list[float]]:
    """All files are there at once, as when a person drops a folder; how many of them, and the milliseconds of each search meanwhile."""
    shuffled = random.Random(1)
    store_id = asked(client.post("vector_stores", json={}))["id"]
    ends_at = time.monotonic() + 60 * minutes
    for number in range(NUM_FILES):
        text = _megabyte(shuffled, paragraphs)
        upload = asked(client.post("files", files={"file": (f"part {number}.md", text)}, data={"purpose": "assistants"}))
        asked(client.post(f"vector_stores/{store_id}/files", json={"file_id": upload["id"]}))
    searches: list[float] = []
    while (time.monotonic() < ends_at and asked(client.get(f"vector_stores/{store_id}"))["status"] == "in_progress") or not searches:
        time.sleep(SEARCH_EVERY_S)
        began = time.perf_counter()
        asked(client.post(f"vector_stores/{searched}/search", json={"query": "What is loaded?"}))
        searches.append(1000 * (time.perf_counter() - began))
    return NUM_FILES, searches


def _megabyte(shuffled: random.Random, paragraphs: list[str]) -> bytes:
    chosen = shuffled.choices(paragraphs, k=20_000)
    sizes = itertools.accumulate(len(each.encode()) + 1 for each in chosen)
    return "\n".join(chosen[: sum(size <= MB for size in sizes)]).encode()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench ingest", description="Measure how fast files become searchable.")
    parser.add_argument("name", choices=["ingest"])
    parser.add_argument("directory", type=Path, metavar="DIR", help="holds corpora/*.md and questions_df.csv")
    parser.add_argument("--minutes", type=float, default=10, help="how long the memory is watched while 100 MB are added; 0: not at all")
    parser.add_argument("--no-speed", action="store_true", help="watch the memory only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    retrieval = Retrieval(arguments.directory)
    with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as temporary:
        figures: list[Figure] = []
        if not arguments.no_speed:
            figures += measure_speed(retrieval, Path(temporary))
            show(figures, title="ingest")
        if arguments.minutes:
            console.print(f"100 MB are added, for {arguments.minutes:g} minutes at most", style="dim")
            figures += measure_memory(retrieval, Path(temporary), arguments.minutes)
    show(figures, title="ingest")
    write_figures(arguments.json, figures)
    return 0 if all(figure.holds for figure in figures) else 1
