"""`ps` and `open`: what runs."""

from __future__ import annotations

import asyncio
import webbrowser
from typing import Any

from offline_assistants.cli.connection import ask, running_server
from offline_assistants.cli.terminal import AsJson, say, show_json, show_table, size
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings


def list_loaded(*, as_json: AsJson = False) -> None:
    """Show the models in memory: how much they take, whether they work, and when they leave."""
    found: list[dict[str, Any]] = asyncio.run(ask("GET", "/admin/models/loaded"))["data"] if running_server() else []
    if as_json:
        show_json(found)
        return
    if not found:
        say("No model is in memory." if running_server() else "No server runs. Start one: offline-assistants serve")
        return
    rows = ([each["id"], str(each["process_id"] or ""), size(each["memory_bytes"]), str(each["num_requests"]), _leaves(each["leaves_in_s"])] for each in found)
    show_table(("model", "process", "memory", "requests", "leaves"), rows)


def _leaves(seconds: float | None) -> str:
    return "" if seconds is None else f"in {seconds / 60:.0f} min" if seconds >= 60 else f"in {seconds:.0f} s"


def open_page() -> None:
    """Open the page of the running server in a browser."""
    url = asyncio.run(ask("GET", "/admin/address"))["url"] if running_server() else None
    if url is None:
        raise OfflineAssistantsError(f"No server of {Settings().data_dir} runs. Start one: offline-assistants serve")
    say(url)
    webbrowser.open(url)
