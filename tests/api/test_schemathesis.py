"""schemathesis against the server's own description: examples, edges of every schema, made-up requests, and chains of requests along the links."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tests.api.conftest import LiveServer

ROOT = Path(__file__).resolve().parents[2]
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
]
"""No 5xx, no answer that the description does not have, and no body taken that it refuses."""


def run_schemathesis(server: LiveServer, *, max_examples: int, phases: str) -> subprocess.CompletedProcess[str]:
    with openai.OpenAI(base_url=server.url, api_key="none") as client:
        known = {
            "model": "scripted",
            "assistant_id": client.beta.assistants.create(model="scripted", instructions="Be brief.").id,
            "file_id": client.files.create(file=("a.txt", b"Some text."), purpose="assistants").id,
        }
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "KNOWN_VALUES": json.dumps(known)}
    address = server.url.removesuffix("/v1") + "/openapi.json"
    options = ["--checks", ",".join(CHECKS), "--phases", phases, "--generation-deterministic", "--no-color"]
    code = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    command = [sys.executable, "-c", code, "run", address, *options, "--max-examples", str(max_examples), "--request-timeout", "15"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.mark.timeout(300)
def test_no_request_finds_an_answer_that_is_not_described(server: LiveServer) -> None:
    ran = run_schemathesis(server, max_examples=3, phases="fuzzing,stateful")

    assert ran.returncode == 0, ran.stdout[-20_000:]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_requests_per_operation_find_no_answer_that_is_not_described(server: LiveServer) -> None:
    ran = run_schemathesis(server, max_examples=20, phases="examples,coverage,fuzzing,stateful")

    assert ran.returncode == 0, ran.stdout[-20_000:]
