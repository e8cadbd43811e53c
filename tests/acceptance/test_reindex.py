"""`offline-assistants vector-stores reindex`, with a server running and without: what was found before is found after."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.acceptance.server_process import COMMAND, ServerProcess

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def reindex(server: ServerProcess, *store_ids: str) -> str:
    environment = {**os.environ, "OFFLINE_ASSISTANTS_DATA_DIR": str(server.data_dir), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run([COMMAND, "vector-stores", "reindex", *store_ids], env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_lost_index_is_rebuilt_by_a_command(own_server: ServerProcess) -> None:
    server = own_server
    with server.client() as client:
        store = client.vector_stores.create()
        client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("llamas.md", b"# Llamas\n\nThe paddock is closed in winter."))

        with_server = reindex(server, store.id)
        found = client.vector_stores.search(store.id, query="When is the paddock closed?").data
    server.stop()
    shutil.rmtree(server.data_dir / "vectors")
    without_server = reindex(server)
    server.start()
    with server.client() as client:
        found_again = client.vector_stores.search(store.id, query="When is the paddock closed?").data

    assert with_server == without_server == f"{store.id}: 1 files indexed"
    assert [result.filename for result in found] == ["llamas.md"]
    assert found_again == found
