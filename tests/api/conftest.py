"""A whole server on a free port, its engine, sandbox and embedder scripted, and the official SDK as its client."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx  # chromadb imports it on the server's thread; half imported, it breaks the SDK on the client's
import openai
import pytest
import uvicorn
from openai.types.beta import Assistant, Thread
from starlette.types import ASGIApp

from offline_assistants.bootstrap import OpenServer, build_app
from offline_assistants.outbound import OutboundAttempts
from offline_assistants.ports import Documents
from offline_assistants.server import listen
from offline_assistants.settings import Settings
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

START_TIMEOUT_S = 10


class QuietServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass
class LiveServer:
    """One data directory, served until `stop`; `start` again is a restart."""

    data_dir: Path
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    sandbox: ScriptedSandbox = field(default_factory=ScriptedSandbox)
    documents: Documents = field(default_factory=HashDocuments)
    settings: dict[str, object] = field(default_factory=dict)
    outbound: OutboundAttempts | None = None

    def start(self) -> LiveServer:
        self._listener = listen("127.0.0.1", 0)
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._is_ready.wait(START_TIMEOUT_S)
        return self

    def try_to_open(self) -> None:
        """What a start raises, if it raises something."""

        async def open_and_close() -> None:
            async with build_app(self._settings(), engines=self.engine, documents=self.documents, sandbox=self.sandbox):
                pass

        asyncio.run(open_and_close())

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(START_TIMEOUT_S)

    def app_of(self, opened: OpenServer) -> ASGIApp:
        """What is served."""
        return opened.app

    def admin(self) -> httpx.Client:
        """Speaks to the server as commands do."""
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.data_dir / "admin.sock")), base_url="http://localhost", timeout=15)

    def make_key(self, project: str = "default") -> str:
        with self.admin() as admin:
            return admin.post("/admin/keys", json={"project": project}).raise_for_status().json()["key"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def _settings(self) -> Settings:
        return Settings(**{"data_dir": self.data_dir, "min_free_disk_bytes": 0, **self.settings})

    async def _serve(self) -> None:
        self.loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with build_app(self._settings(), engines=self.engine, documents=self.documents, sandbox=self.sandbox, outbound=self.outbound) as opened:
            self.store = opened.store
            local = socket.socket(socket.AF_UNIX)
            (self.data_dir / "admin.sock").unlink(missing_ok=True)
            local.bind(str(self.data_dir / "admin.sock"))
            server = QuietServer(uvicorn.Config(self.app_of(opened), lifespan="off", log_config=None, timeout_graceful_shutdown=1))
            serving = asyncio.create_task(server.serve(sockets=[self._listener, local]))
            while not server.started:  # noqa: ASYNC110 uvicorn sets a flag and nothing else
                await asyncio.sleep(0.005)
            self._is_ready.set()
            await self._stopping.wait()
            server.should_exit = True
            await opened.end_runs()
            await serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "data").start()
    yield live
    live.engine.release()
    live.stop()


@pytest.fixture
def engine(server: LiveServer) -> ScriptedEngine:
    return server.engine


@pytest.fixture
def sandbox(server: LiveServer) -> ScriptedSandbox:
    return server.sandbox


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=15) as sdk:
        yield sdk


@pytest.fixture
def assistant(client: openai.OpenAI) -> Assistant:
    return client.beta.assistants.create(model="scripted", instructions="Be brief.")


@pytest.fixture
def thread(client: openai.OpenAI) -> Thread:
    return client.beta.threads.create(messages=[{"role": "user", "content": "Hello?"}])
