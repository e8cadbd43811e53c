"""`import` and `export`: everything, or one project, out of a server and back."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Optional

import typer

from offline_assistants.cli.connection import client_of_server
from offline_assistants.cli.terminal import progress, remark, say, show_counts, status
from offline_assistants.transfer import contents_beside, export_to, import_from


def import_objects(
    path: Path = typer.Argument(help="JSON or JSONL: objects, lists of the API, or an export. Contents of files are in NAME.files/ or files/ beside it."),  # noqa: B008
    *,
    project: Optional[str] = typer.Option(None, help="The project that gets them. Default: what the objects say, else default."),  # noqa: UP045
) -> None:
    """Take over assistants, threads, messages, runs, files and vector stores with their ids. What is there already stays as it is."""
    path = path / "objects.jsonl" if path.is_dir() else path

    def tell(place: str, reason: str) -> None:
        remark(f"{place}: {reason}")

    async def run() -> Counter[str]:
        async with client_of_server() as client:
            return await import_from(client, path, project=project, say=tell, watch=progress)

    counts = asyncio.run(run())
    say(", ".join(f"{counts[outcome]} {outcome}" for outcome in ("imported", "already there", "refused")))
    if counts["refused"]:
        raise typer.Exit(1)


class ExportFormat(StrEnum):
    jsonl = "jsonl"
    parquet = "parquet"


def export_objects(
    path: Path = typer.Argument(help="A file, or a folder, which gets objects.jsonl or objects.parquet. Contents of files go to NAME.files/ beside it."),  # noqa: B008
    *,
    project: Optional[str] = typer.Option(None, help="Only this project."),  # noqa: UP045 typer reads this form
    format: ExportFormat = typer.Option(ExportFormat.jsonl, help="JSONL can be imported again; Parquet has one row per object."),  # noqa: A002, B008
) -> None:
    """Write everything, or one project, to files that any program can read."""
    target = path if path.suffix in (".jsonl", ".parquet") and not path.is_dir() else path / f"objects.{format.value}"
    target = target.with_suffix(".parquet") if format is ExportFormat.parquet else target
    is_table = target.suffix == ".parquet"
    lines = target.with_name(f".{target.stem}.unfinished.jsonl") if is_table else target  # a name of its own: there may be an earlier export to JSONL

    async def run() -> Counter[str]:
        async with client_of_server() as client:
            return await export_to(client, lines, contents=contents_beside(target), project=project, watch=progress)

    counts = asyncio.run(run())
    if is_table:
        from offline_assistants.store.database import lines_to_parquet  # loads DuckDB

        try:
            with status("writing the table"):
                lines_to_parquet(lines, target)
        finally:
            lines.unlink()
    show_counts(target, counts)
