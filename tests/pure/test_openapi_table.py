"""The table behind /openapi.json, and the page that is written from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fastapi.openapi.utils import get_openapi

from offline_assistants.api.app import make_api
from offline_assistants.api.openapi import OPERATIONS

ROOT = Path(__file__).resolve().parents[2]


def test_every_route_has_its_line_and_every_line_its_route() -> None:
    paths = get_openapi(title="", version="", routes=make_api().routes)["paths"]
    places = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    assert places == set(OPERATIONS), "OPERATIONS in offline_assistants/api/openapi.py says of every route what it answers with"


def test_no_two_operations_share_a_name() -> None:
    names = [operation.name for operation in OPERATIONS.values()]

    assert len(set(names)) == len(names)


def test_the_page_on_conformance_is_as_its_script_writes_it() -> None:
    checked = subprocess.run([sys.executable, "scripts/conformance.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr
