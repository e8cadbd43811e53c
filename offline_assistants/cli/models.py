"""`models`: the GGUF files on this machine."""

from __future__ import annotations

import asyncio

import typer

from offline_assistants.cli.connection import ask
from offline_assistants.cli.terminal import AsJson, of_server, say, show_json, show_table, size
from offline_assistants.settings import Settings

models = typer.Typer(help="The models on this machine.", no_args_is_help=True)


@models.command("list")
@of_server
def list_models(*, as_json: AsJson = False) -> None:
    """Show the models that a request may name."""
    found = asyncio.run(ask("GET", "/v1/models"))["data"]
    if as_json:
        show_json(found)
        return
    if not found:
        say(f"No models. Put a GGUF file into {Settings().models_path}")
        return
    rows = ([model["id"], size(model["size_bytes"]), str(model["context_tokens"] or ""), "loaded" if model["is_loaded"] else ""] for model in found)
    show_table(("model", "size", "context", "state"), rows)
