"""`offline-assistants keys`, with a running server and without one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.server_process import COMMAND, ServerProcess

pytestmark = pytest.mark.timeout(90)


def command(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OFFLINE_ASSISTANTS_DATA_DIR": str(data_dir), "COLUMNS": "200"}
    return subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)


def keys_of(data_dir: Path) -> list[Any]:
    return json.loads(command(data_dir, "keys", "list", "--json").stdout)


def test_a_key_made_while_the_server_runs_is_known_to_it(own_server: ServerProcess) -> None:
    made = command(own_server.data_dir, "keys", "create", "--project", "blue", "--name", "laptop")
    answer = httpx.post(f"{own_server.url}/threads", json={}, headers={"authorization": f"Bearer {made.stdout.strip()}"})
    elsewhere = httpx.get(f"{own_server.url}/threads/{answer.json()['id']}")
    [key] = keys_of(own_server.data_dir)
    revoked = command(own_server.data_dir, "keys", "revoke", key["id"])

    assert (answer.status_code, elsewhere.status_code) == (200, 404)
    assert (key["project"], key["name"], key["hint"][-4:]) == ("blue", "laptop", made.stdout.strip()[-4:])
    assert (revoked.returncode, keys_of(own_server.data_dir)) == (0, [])


def test_keys_are_made_before_the_first_start(tmp_path: Path) -> None:
    made = command(tmp_path / "data", "keys", "create", "--json")
    listed = command(tmp_path / "data", "keys", "list")

    assert json.loads(made.stdout)["key"].startswith("sk-oa-")
    assert json.loads(made.stdout)["id"] in listed.stdout
    assert json.loads(made.stdout)["key"] not in listed.stdout


def test_a_server_that_others_can_reach_needs_a_key_and_says_how_to_make_one(tmp_path: Path) -> None:
    refused = command(tmp_path / "data", "serve", "--host", "0.0.0.0", "--port", "0")

    assert refused.returncode == 1
    assert f"OFFLINE_ASSISTANTS_DATA_DIR={tmp_path}/data offline-assistants keys create" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("arguments", [("revoke", "key_nobody"), ("create", "--project", "no spaces")])
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = command(tmp_path / "data", "keys", *arguments)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
