"""A real server for the acceptance tests: one for all that leave it as it was, and one of their own for those that stop it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.acceptance.server_process import ServerProcess


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("shared"))
    try:
        yield server.start()
        server.stop()
    finally:
        server.end()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    try:
        yield server.start()
    finally:
        server.end()


@pytest.fixture
def client(shared_server: ServerProcess) -> Iterator[openai.OpenAI]:
    with shared_server.client() as sdk:
        yield sdk
