"""The official SDK's own tests, unmodified, against this server: every item that touches an operation of ours."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from offline_assistants.api.parts import Parts
from offline_assistants.bootstrap import OpenServer
from offline_assistants.domain.objects import Run, RunStatus
from offline_assistants.errors import RequestError
from offline_assistants.file_search import canonical_text
from offline_assistants.ports import ParsedDocument
from offline_assistants.store.changes import Change, DeleteChildren, Lock, Put
from offline_assistants.store.tables import TABLES, ActiveRun
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer
from tests.api.sdk_suite.objects import CONTENT, MODELS, fixed_objects, run_status_for

VERSION = "3.54.0"
SHA256 = "2e393e63f8a38be6452806f9ef0b6534fecd6d41ab3b2165180dfce3599249cd"
PLUGIN = Path(__file__).parent / "sdk_suite"
FILES = [
    f"tests/api_resources/{name}.py"
    for name in (
        "beta/test_assistants",
        "beta/test_threads",
        "beta/threads/test_messages",
        "beta/threads/test_runs",
        "beta/threads/runs/test_steps",
        "chat/test_completions",
        "chat/completions/test_messages",
        "test_completions",
        "test_embeddings",
        "test_files",
        "test_models",
        "test_uploads",
        "uploads/test_parts",
        "test_vector_stores",
        "vector_stores/test_files",
        "vector_stores/test_file_batches",
    )
]
NUM_ITEMS, MIN_PASSED = 1395, 1390
EXCEPTIONS = {
    "test_uploads.test_method_complete_with_all_params": "says that the file's md5 is 'md5'; a checksum that does not match is refused",
}
"""Tests that fail in each of their variants, and why: where they ask for what the API's contract refuses."""


class SeededServer(LiveServer):
    """A server that puts the SDK tests' objects in place when POST /seed names the test that comes next."""

    def app_of(self, opened: OpenServer) -> ASGIApp:
        fresh: RunStatus | None = None  # until something is written, the objects are as the last test needed them

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal fresh
            if scope["type"] == "http" and scope["path"] == "/seed":
                wanted = run_status_for((await Request(scope, receive).body()).decode())
                if wanted != fresh:
                    self.engine.models = MODELS
                    await seed(opened, wanted)
                fresh = wanted
                await Response()(scope, receive, send)
            else:
                fresh = fresh if scope["method"] == "GET" else None
                await opened.app(scope, receive, send)

        return app


async def seed(opened: OpenServer, run_status: RunStatus) -> None:
    """Everything that there was is gone, and the fixed objects are there."""
    parts, store = opened.parts, opened.store
    for run in await store.active_runs():
        with suppress(RequestError):
            await parts.supervisor.cancel(run)
    while await store.active_runs():  # noqa: ASYNC110 a cancelled run ends on its own task
        await asyncio.sleep(0.002)
    digest, text_digest = [await keep(parts, content) for content in (CONTENT, canonical_text.dump(ParsedDocument(CONTENT.decode())))]
    changes: list[Change[Any]] = [DeleteChildren(cls, {}) for cls in TABLES if cls is not ActiveRun]
    for each in fixed_objects(run_status, now=parts.now(), digest=digest, text_digest=text_digest):
        changes.append(Put(each))
        if isinstance(each, Run) and each.status != "completed":
            changes.append(Lock(each.thread_id, each.id))
    await store.commit(changes)
    await parts.supervisor.recover()


async def keep(parts: Parts, content: bytes) -> str:
    """The digest of a blob that is there, though a test may have deleted it."""
    digest = hashlib.sha256(content).hexdigest()
    return digest if parts.blobs.path(digest).exists() else (await parts.blobs.put_bytes(content)).digest


@pytest.fixture
def sdk_tests(tmp_path: Path) -> Path:
    """The unpacked source distribution of the SDK, fetched once by pip and kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offline-assistants"
    archive = cache / f"openai-{VERSION}.tar.gz"
    if not archive.is_file():
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", f"openai=={VERSION}"]
        fetched = subprocess.run([*fetch, "--dest", str(cache)], capture_output=True, text=True, check=False)
        if fetched.returncode != 0:
            end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            end(f"the SDK's source could not be fetched by pip: {fetched.stderr.strip()[-300:]}")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive} is not the SDK's source; delete it"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / f"openai-{VERSION}"


@pytest.fixture
def seeded_server() -> Iterator[SeededServer]:
    """In memory where there is such a folder: what a disk does to a thousand tests is not the question."""
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None) as folder:
        server = SeededServer(Path(folder) / "data", engine=ScriptedEngine(*MODELS))
        server.start()
        yield server
        server.stop()


@pytest.mark.timeout(400)
def test_the_sdk_s_own_tests_pass(seeded_server: SeededServer, sdk_tests: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    base_url = seeded_server.url
    environment = os.environ | {
        "TEST_API_BASE_URL": base_url,
        "SEED_URL": base_url.removesuffix("/v1") + "/seed",
        "PYTHONPATH": str(PLUGIN),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = ["-p", "ask_for_objects", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=line", "-q", f"--junitxml={report}"]

    ran = subprocess.run([sys.executable, "-m", "pytest", *options, *FILES], cwd=sdk_tests, env=environment, capture_output=True, text=True, check=False)

    assert report.is_file(), ran.stdout[-2000:] + ran.stderr[-2000:]
    if keep := os.environ.get("KEEP_SDK_REPORT"):
        Path(keep).write_bytes(report.read_bytes())
    outcomes = Counter((name_of(case), outcome_of(case)) for case in ET.parse(report).iter("testcase"))
    assert {name for name, outcome in outcomes if outcome != "passed"} == set(EXCEPTIONS), ran.stdout[-3000:]
    assert sum(outcomes.values()) == NUM_ITEMS
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "passed") >= MIN_PASSED


def name_of(case: ET.Element) -> str:
    """The test's file and function: `beta.threads.test_runs.test_method_create`."""
    *file, _ = str(case.get("classname")).removeprefix("tests.api_resources.").split(".")
    return ".".join([*file, str(case.get("name")).partition("[")[0]])


def outcome_of(case: ET.Element) -> str:
    return next((each.tag for each in case if each.tag in ("failure", "error", "skipped")), "passed")
