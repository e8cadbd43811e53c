"""Measures what is cited: a server with its real embedder and indexes, and a scripted engine whose answers are known to be true or not.

`citations DIR`: DIR as for `retrieval`. Each of 60 questions is searched by the model of a run, which then answers with three sentences:

    supported    a sentence of the question's reference; for every second question in other words
    unrelated    a sentence of the same texts that is in no passage that the model saw
    changed      the sentence of the reference with another number, or with a "not" more or less

A supported sentence counts as cited when a citation stands behind it whose quote is, character for character, what the stored text has from `start_char` on to
`end_char`. Others count as cited when any citation stands behind them. In other words means: synonyms, parentheses left out, the last clause first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from bench_retrieval import Figure, Retrieval, asked, console, kept, model_dir, serving, show, store_with, write_figures

from offline_assistants.bootstrap import build_app
from offline_assistants.documents.local_documents import LocalDocuments
from offline_assistants.domain.sentences import split_sentences
from offline_assistants.settings import Settings
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

NUM_QUESTIONS = 60
RUN_TIMEOUT_S = 120
SYNONYMS = dict(
    pair.split("=")
    for pair in (  # noqa: SIM905
        "also=additionally big=large large=big began=started begin=start show=demonstrate shows=demonstrates showed=demonstrated use=employ used=employed "
        "uses=employs help=assist helped=assisted helps=assists make=create makes=creates made=created important=significant significant=important "
        "increase=rise increased=rose decrease=decline decreased=declined nearly=almost almost=nearly however=nevertheless many=numerous including=among "
        "because=since while=whereas several=various various=several get=obtain got=obtained buy=purchase bought=purchased said=stated wrote=penned "
        "received=got released=published first=initially mainly=mostly mostly=mainly although=though though=although must=should end=finish ended=finished"
    ).split()
)
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"(?<![\w.,])\d[\d.,]*\d|(?<![\w.,])\d")
_PARENTHESIS = re.compile(r"\s*\([^()]*\)")
_LAST_CLAUSE = re.compile(r"^(?P<rest>[^,]{30,}), (?P<last>(?:in|on|at|with|for|by|from|to|as|when|while|after|before|because) [^,]{8,})\.$")
_AUXILIARY = re.compile(r"\b(is|are|was|were|has|have|had|will|can|could|would|should|must)\b(?! not)")
_NOT = re.compile(r"\b(?:not|never) ")


@dataclass
class Tally:
    num_cited: int = 0
    num_all: int = 0

    def count(self, is_cited: bool) -> None:
        self.num_cited += is_cited
        self.num_all += 1

    @property
    def share(self) -> float:
        return self.num_cited / max(self.num_all, 1)


@dataclass
class Tallies:
    verbatim: Tally = field(default_factory=Tally)
    reworded: Tally = field(default_factory=Tally)
    unrelated: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)


# ── Sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sentences_of(text: str) -> list[str]:
    """Those that could be an answer's: one line, eight words, a full stop."""
    found = (" ".join(text[start:end].split()) for start, end in split_sentences(text))
    return [each for each in found if 50 <= len(each) <= 300 and each.endswith(".") and len(each.split()) >= 8 and each[0].isupper()]


def reworded(sentence: str) -> str:
    """The same in other words."""
    without = _PARENTHESIS.sub("", sentence)
    if found := _LAST_CLAUSE.match(without):
        last, rest = found["last"], found["rest"]
        is_name = rest[:2].isupper() or (rest.split()[0].casefold() not in {"the", "a", "an", "it", "he", "she", "they", "this", "these", "in", "we"})
        without = f"{last[0].upper()}{last[1:]}, {rest if is_name else rest[0].lower() + rest[1:]}."
    return _WORD.sub(lambda word: SYNONYMS.get(word.group(), word.group()), without)


def changed(sentence: str, rng: random.Random) -> str | None:
    """What is not so any more; None where nothing can be changed."""
    ways = [way for way in (_other_number, _denied) if way(sentence) is not None]
    return rng.choice(ways)(sentence) if ways else None


def _other_number(sentence: str) -> str | None:
    found = _NUMBER.search(sentence)
    if found is None:
        return None
    digits = found.group()
    return sentence[: found.start()] + str((int(digits[0]) + 3) % 9 + 1) + digits[1:] + sentence[found.end() :]


def _denied(sentence: str) -> str | None:
    if _NOT.search(sentence):
        return _NOT.sub("", sentence, count=1)
    return _AUXILIARY.sub(r"\1 not", sentence, count=1) if _AUXILIARY.search(sentence) else None


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    question: str
    reference: str
    false: str


def cases_of(retrieval: Retrieval, rng: random.Random) -> list[Case]:
    cases: list[Case] = []
    for question in rng.sample(retrieval.questions, len(retrieval.questions)):
        spans = [retrieval.corpora[question.corpus][start:end] for start, end in question.references]
        found = ((each, changed(each, rng)) for span in spans for each in sentences_of(span))
        case = next((Case(question.text, each, false) for each, false in found if false is not None), None)
        cases += [case] if case else []
    return cases[:NUM_QUESTIONS]


async def tally(retrieval: Retrieval, data_dir: Path, store_id: str) -> Tallies:
    rng, tallies, engine = random.Random(1), Tallies(), ScriptedEngine()
    others = [each for text in retrieval.corpora.values() for each in sentences_of(text)]
    async with (
        LocalDocuments(model_dir()) as documents,
        build_app(Settings(data_dir=data_dir), documents=documents, engines=engine, sandbox=ScriptedSandbox()) as server,
        httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://localhost/v1/", timeout=600) as client,
    ):
        texts = await _texts(client, store_id)
        assistant = asked(await client.post("assistants", json={"model": "scripted", "tools": [{"type": "file_search"}]}))["id"]
        for number, case in enumerate(cases_of(retrieval, rng)):
            seen = await _passages(client, store_id, case.question)
            unrelated = next(each for each in iter(lambda: rng.choice(others), None) if not any(each in passage for passage in seen))
            true, count = (case.reference, tallies.verbatim) if number % 2 else (reworded(case.reference), tallies.reworded)
            engine.will_call("file_search", json.dumps({"query": case.question}))
            engine.will_say("\n\n".join((true, unrelated, case.false)))
            text = await _answer(client, assistant, store_id, case.question)
            count.count(any(_is_verbatim(each, texts) for each in _behind(text, true)))
            tallies.unrelated.count(bool(_behind(text, unrelated)))
            tallies.changed.count(bool(_behind(text, case.false)))
    return tallies


async def _texts(client: httpx.AsyncClient, store_id: str) -> dict[str, str]:
    """The stored text of every file of the store."""
    files = asked(await client.get(f"vector_stores/{store_id}/files?limit=100"))["data"]
    contents = {file["id"]: asked(await client.get(f"vector_stores/{store_id}/files/{file['id']}/content")) for file in files}
    return {file_id: "".join(part["text"] for part in content["data"]) for file_id, content in contents.items()}


async def _passages(client: httpx.AsyncClient, store_id: str, question: str) -> list[str]:
    found = asked(await client.post(f"vector_stores/{store_id}/search", json={"query": question, "max_num_results": 50}))["data"]
    return [" ".join("".join(part["text"] for part in each["content"]).split()) for each in found]


async def _answer(client: httpx.AsyncClient, assistant: str, store_id: str, question: str) -> dict[str, Any]:
    """The text of the message that a run writes, with its annotations."""
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    thread = asked(await client.post("threads", json={"messages": [{"role": "user", "content": question}], "tool_resources": resources}))["id"]
    run = asked(await client.post(f"threads/{thread}/runs", json={"assistant_id": assistant}))
    async with asyncio.timeout(RUN_TIMEOUT_S):
        while run["status"] in {"queued", "in_progress"}:
            await asyncio.sleep(0.02)
            run = asked(await client.get(f"threads/{thread}/runs/{run['id']}"))
    if run["status"] != "completed":
        raise RuntimeError(f"A run ended as {run['status']}: {run['last_error']}")
    return asked(await client.get(f"threads/{thread}/messages?limit=1"))["data"][0]["content"][0]["text"]


def _behind(text: dict[str, Any], sentence: str) -> list[dict[str, Any]]:
    """The citations that stand behind a sentence, or in it: a sentence of two halves may have one for each."""
    plain, offset = text["value"], 0
    for each in text["annotations"]:
        plain = plain[: each["start_index"] - offset] + plain[each["end_index"] - offset :]
        offset += each["end_index"] - each["start_index"]
    start = plain.index(sentence)
    found: list[dict[str, Any]] = []
    offset = 0
    for each in text["annotations"]:
        if start < each["start_index"] - offset <= start + len(sentence):
            found.append(each["file_citation"])
        offset += each["end_index"] - each["start_index"]
    return found


def _is_verbatim(citation: dict[str, Any], texts: dict[str, str]) -> bool:
    return bool(citation["quote"]) and texts[citation["file_id"]][citation["start_char"] : citation["end_char"]] == citation["quote"]


def figures_of(tallies: Tallies) -> Iterator[Figure]:
    supported = Tally(tallies.verbatim.num_cited + tallies.reworded.num_cited, tallies.verbatim.num_all + tallies.reworded.num_all)
    yield Figure("supported sentences cited with a verbatim quote", supported.share, at_least=0.95)
    yield Figure("supported sentences cited, word for word", tallies.verbatim.share)
    yield Figure("supported sentences cited, in other words", tallies.reworded.share)
    yield Figure("unrelated sentences cited", tallies.unrelated.share, at_most=0.05)
    yield Figure("sentences with a number or negation changed cited", tallies.changed.share, at_most=0.15)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench citations", description="Measure what is cited, and what is not.")
    parser.add_argument("name", choices=["citations"])
    parser.add_argument("directory", type=Path, metavar="DIR", help="holds corpora/*.md and questions_df.csv")
    parser.add_argument("--folder", type=Path, help="keep the store there for a next run, or take that of `retrieval`; default: a temporary folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    retrieval = Retrieval(arguments.directory)
    with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with serving(folder / "recall") as client:
            store_id = kept(folder / "recall.store", lambda: store_with(client, retrieval.files))
        console.print(f"{NUM_QUESTIONS} of {len(retrieval.questions)} questions", style="dim")
        figures = list(figures_of(asyncio.run(tally(retrieval, folder / "recall", store_id))))
    show(figures, title="citations")
    write_figures(arguments.json, figures)
    return 0 if all(figure.holds for figure in figures) else 1
