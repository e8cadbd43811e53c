"""The commands. None opens the database by itself: they are clients of the server, or start one for as long as they need it."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional, TypeVar, cast
from urllib.parse import quote

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from offline_assistants import __version__
from offline_assistants.code_interpreter.attacks import ATTACKS, ISOLATION
from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.image import build_image, export_image, import_image, older_images
from offline_assistants.code_interpreter.self_check import Finding, run_checks
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.server import serve_until_stopped, served_for_a_command
from offline_assistants.settings import Settings
from offline_assistants.store.database import lines_to_parquet
from offline_assistants.transfer import contents_beside, export_to, import_from

_T = TypeVar("_T")

app = typer.Typer(
    name="offline-assistants",
    help="The Assistants API on your own machine.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="The models on this machine.", no_args_is_help=True)
vector_stores = typer.Typer(help="The vector stores that file_search looks into.", no_args_is_help=True)
sandbox = typer.Typer(help="The container that code_interpreter runs in.", no_args_is_help=True)
keys = typer.Typer(help="The keys that clients show. Required where other machines can reach the server.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(vector_stores, name="vector-stores")
app.add_typer(keys, name="keys")
app.add_typer(sandbox, name="sandbox")
console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit code 1, never a traceback."""
    try:
        app()
    except OfflineAssistantsError as error:
        _give_up(error.message)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        _give_up(f"The server of {Settings().data_dir} did not answer to the end ({reason}). See in its log whether it was stopped, then repeat the command.")
    except ValidationError as error:
        _give_up("; ".join(f"--{'-'.join(str(part).replace('_', '-') for part in each['loc'])}: {each['msg']}" for each in error.errors()))


def _give_up(message: str) -> NoReturn:
    errors.print(Text.assemble(("error: ", "red"), message))
    raise SystemExit(1)


@app.callback(invoke_without_command=True)
def _root(*, version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    if version:
        console.print(f"offline-assistants {__version__}", highlight=False)
        raise typer.Exit


# ── serve ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _serve(**options: Any) -> None:
    """Start the server. It is reachable from this machine only, unless --host says otherwise.

    Every option can also be set by an environment variable: --data-dir is OFFLINE_ASSISTANTS_DATA_DIR.
    """
    settings = Settings(**{name: value for name, value in options.items() if value not in (None, [])})
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve_until_stopped(settings))


def _with_an_option_for_every_setting() -> Any:
    """`_serve` with the signature that typer reads its options from."""
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=typer.Option(None, help=_help_of(name), show_default=False), annotation=_option_type(field.annotation)
        )
        for name, field in Settings.model_fields.items()
    ]
    _serve.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    _serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return _serve


def _option_type(annotation: Any) -> Any:
    for kind in (bool, int, float, Path):
        if annotation is kind or annotation == kind | None:
            return Optional[kind]  # noqa: UP045 typer reads this form
    return list[str] if annotation == list[str] else Optional[str]  # noqa: UP045


def _help_of(name: str) -> str:
    field = Settings.model_fields[name]
    value: Any = field.default
    default = "" if field.default_factory or value in (None, []) else f" Default: {_shown(value)}."
    return f"{field.description}{default}"


def _shown(value: Any) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


app.command("serve")(_with_an_option_for_every_setting())

# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@models.command("list")
def list_models(*, as_json: bool = typer.Option(False, "--json", help="As JSON.")) -> None:
    """Show the models that a request may name."""
    found = asyncio.run(_ask("GET", "/v1/models"))["data"]
    if as_json:
        console.print_json(json.dumps(found))
        return
    if not found:
        console.print(f"No models. Put a GGUF file into {Settings().models_path}", highlight=False)
        return
    table = Table("model", "size", "context", "state", box=None, pad_edge=False)
    for model in found:
        context = str(model["context_tokens"] or "")
        table.add_row(model["id"], f"{model['size_bytes'] / 1e9:.2f} GB", context, "loaded" if model["is_loaded"] else "")
    console.print(table)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@keys.command("create")
def create_key(
    *,
    project: str = typer.Option("default", help="The project whose objects the key gives access to; made by its first key."),
    name: Optional[str] = typer.Option(None, help="What you call the key."),  # noqa: UP045 typer reads this form
    as_json: bool = typer.Option(False, "--json", help="As JSON."),
) -> None:
    """Make a key. It is shown now and never again."""
    made = asyncio.run(_ask("POST", "/admin/keys", {"project": project, "name": name}))
    if as_json:
        console.print_json(json.dumps(made))
        return
    console.print(made["key"], highlight=False, markup=False, soft_wrap=True)
    errors.print(f"Key {made['id']} of project {made['project']}. Keep it: it is not shown again.", highlight=False, markup=False)


@keys.command("list")
def list_keys(*, as_json: bool = typer.Option(False, "--json", help="As JSON.")) -> None:
    """Show which keys there are, not their texts."""
    found = asyncio.run(_ask("GET", "/admin/keys"))["data"]
    if as_json:
        console.print_json(json.dumps(found))
        return
    if not found:
        console.print("No keys. Make one: offline-assistants keys create", highlight=False)
        return
    table = Table("id", "key", "project", "name", "created", "last used", box=None, pad_edge=False)
    for key in found:
        row = [key["id"], key["hint"], key["project"], key["name"] or "", _date(key["created_at"]), _date(key["last_used_at"])]
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


@keys.command("revoke")
def revoke_key(key_id: str = typer.Argument(help="As `keys list` shows it.")) -> None:
    """Forget a key; what its project holds stays. Without --require-keys it then means, as any unknown key on loopback, the project default."""
    asyncio.run(_ask("DELETE", f"/admin/keys/{quote(key_id, safe='')}"))
    console.print(f"Revoked {key_id}.", highlight=False, markup=False)


def _date(seconds: int | None) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


# ── Import and export ────────────────────────────────────────────────────────────────────────────────────────────────


@app.command("import")
def import_objects(
    path: Path = typer.Argument(help="JSON or JSONL: objects, lists of the API, or an export. Contents of files are in NAME.files/ or files/ beside it."),  # noqa: B008
    *,
    project: Optional[str] = typer.Option(None, help="The project that gets them. Default: what the objects say, else default."),  # noqa: UP045
) -> None:
    """Take over assistants, threads, messages, runs, files and vector stores with their ids. What is there already stays as it is."""
    path = path / "objects.jsonl" if path.is_dir() else path

    def say(place: str, reason: str) -> None:
        errors.print(f"{place}: {reason}", highlight=False, markup=False, soft_wrap=True)

    async def run() -> Counter[str]:
        async with _client() as client:
            return await import_from(client, path, project=project, say=say)

    counts = asyncio.run(run())
    console.print(", ".join(f"{counts[outcome]} {outcome}" for outcome in ("imported", "already there", "refused")), highlight=False)
    if counts["refused"]:
        raise typer.Exit(1)


class ExportFormat(StrEnum):
    jsonl = "jsonl"
    parquet = "parquet"


@app.command("export")
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
        async with _client() as client:
            return await export_to(client, lines, contents=contents_beside(target), project=project)

    counts = asyncio.run(run())
    if is_table:
        try:
            lines_to_parquet(lines, target)
        finally:
            lines.unlink()
    console.print(f"{target}: {', '.join(f'{number} {kind}' for kind, number in sorted(counts.items())) or 'nothing'}", highlight=False, soft_wrap=True)


# ── The server of the data directory ─────────────────────────────────────────────────────────────────────────────────


async def _ask(method: str, path: str, sent: dict[str, Any] | None = None) -> dict[str, Any]:
    async with _client() as client:
        return _answered(await client.request(method, path, json=sent))


def _answered(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    if response.is_error:
        raise OfflineAssistantsError(body["error"]["message"])
    return body


@asynccontextmanager
async def _client() -> AsyncGenerator[httpx.AsyncClient]:
    """Speaks to the server of the data directory; when none runs, to one that lives as long as the command."""
    settings = Settings()
    running = httpx.AsyncHTTPTransport(uds=str(settings.admin_socket))
    async with httpx.AsyncClient(transport=running, base_url="http://localhost", timeout=60) as client:
        try:
            await client.get("/v1/models")
        except httpx.ConnectError:
            pass
        else:
            yield client
            return
    async with (
        served_for_a_command(settings),
        httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(settings.admin_socket)), base_url="http://localhost", timeout=60) as client,
    ):
        yield client


# ── vector-stores ────────────────────────────────────────────────────────────────────────────────────────────────────

REINDEX_POLL_S = 0.5


@vector_stores.command("reindex")
def reindex_vector_stores(vector_store_ids: Optional[list[str]] = typer.Argument(None, metavar="[ID]...", help="Default: all.")) -> None:  # noqa: UP045, B008 typer reads this form
    """Rebuild the search indexes from the stored texts: after the embedding model was changed, or an index was lost."""
    if not asyncio.run(_reindex(vector_store_ids or [])):
        raise SystemExit(1)


async def _reindex(vector_store_ids: list[str]) -> bool:
    """Whether every file of these stores could be indexed, or of all stores of all projects."""
    num_failed, missing = 0, set(vector_store_ids)
    async with _client() as client:
        for project in _answered(await client.get("/admin/projects"))["data"]:
            client.headers["OpenAI-Project"] = project
            there = [store["id"] async for store in _listed(client, "/v1/vector_stores")]
            for store_id in there if not vector_store_ids else [each for each in there if each in vector_store_ids]:
                num_failed += await _reindex_one(client, store_id)
                missing.discard(store_id)
    if missing:
        raise OfflineAssistantsError(f"There is no vector store {', '.join(sorted(missing))}.")
    return not num_failed


async def _reindex_one(client: httpx.AsyncClient, store_id: str) -> int:
    """How many of its files failed."""
    store = _answered(await client.post(f"/v1/vector_stores/{store_id}/reindex"))
    with console.status("") as shown:
        while store["status"] == "in_progress":
            counts = store["file_counts"]
            shown.update(f"{store_id}: {counts['total'] - counts['in_progress']} of {counts['total']} files")
            await asyncio.sleep(REINDEX_POLL_S)
            store = _answered(await client.get(f"/v1/vector_stores/{store_id}"))
    counts = store["file_counts"]
    console.print(f"{store_id}: {counts['completed']} files indexed" + (f", {counts['failed']} failed" if counts["failed"] else ""), highlight=False)
    return counts["failed"]


async def _listed(client: httpx.AsyncClient, path: str) -> AsyncGenerator[dict[str, Any]]:
    """Every object of a list, page by page."""
    page = _answered(await client.get(path, params={"limit": 100, "order": "asc"}))
    while True:
        for each in page["data"]:
            yield each
        if not page["has_more"]:
            return
        page = _answered(await client.get(path, params={"limit": 100, "order": "asc", "after": page["last_id"]}))


# ── sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@sandbox.command("build")
def build_sandbox() -> None:
    """Build the image, if it is not there already. May download Debian and Python packages."""

    async def build(engine: DockerEngine) -> tuple[str, list[str]]:
        tag = await build_image(lambda line: console.print(line, highlight=False, markup=False), engine=engine)
        return tag, await older_images(engine=engine)

    tag, older = asyncio.run(_with_engine(build))
    console.print(f"The sandbox image is ready: {tag}", highlight=False)
    if older:
        console.print("Older images, which may go when no other version needs them:", highlight=False)
        console.print(f"  docker image rm {' '.join(older)}", highlight=False, soft_wrap=True)


@sandbox.command("export")
def export_sandbox(file: Annotated[Path, typer.Argument(help="The archive to write; about 1 GB.")]) -> None:
    """Write the image to a file, for a machine that cannot build it."""
    tag = asyncio.run(_with_engine(lambda engine: export_image(file, engine=engine)))
    console.print(f"{file} holds {tag}, {file.stat().st_size / 1e6:.0f} MB.", highlight=False, soft_wrap=True)


@sandbox.command("import")
def import_sandbox(file: Annotated[Path, typer.Argument(help="What `sandbox export` wrote, with the same version of offline-assistants.")]) -> None:
    """Load the image from a file."""
    tag = asyncio.run(_with_engine(lambda engine: import_image(file, engine=engine)))
    console.print(f"The sandbox image is ready: {tag}", highlight=False)


async def _with_engine(work: Callable[[DockerEngine], Awaitable[_T]]) -> _T:
    engine = DockerEngine(Settings().docker_host)
    try:
        return await work(engine)
    finally:
        await engine.close()


@sandbox.command("check")
def check_sandbox(full: Annotated[bool, typer.Option("--full", help="Also attack it in every way known; takes a minute or two.")] = False) -> None:
    """Run code in a container that tries each of its walls. Exit code 1 when code_interpreter is unavailable or a wall that matters does not hold."""
    broken = asyncio.run(_check_sandbox(is_thorough=full))
    if broken:
        raise OfflineAssistantsError(f"code_interpreter is not safe here: {broken} of the walls that matter do not hold.")
    console.print("code_interpreter is available, and every wall that matters holds.", highlight=False)


async def _check_sandbox(*, is_thorough: bool) -> int:
    """Print a line for each check; how many that matter do not hold."""
    settings, num_broken = Settings(), 0
    async with DockerSandbox(f"sandbox-check-{os.getpid()}", docker_host=settings.docker_host, runtime=settings.sandbox_runtime) as checked:
        missing = await checked.check()
        if missing is not None:
            raise OfflineAssistantsError(missing)
        async with aclosing(run_checks(checked, ATTACKS if is_thorough else ISOLATION, is_thorough=is_thorough)) as findings:
            async for finding in findings:
                console.print(_line(finding), highlight=False, soft_wrap=True)
                num_broken += finding.check.is_vital and not finding.holds
    return num_broken


def _line(finding: Finding) -> Text:
    if finding.holds:
        return Text.assemble(("yes  ", "green"), finding.check.name)
    return Text.assemble(("NO   ", "red"), f"{finding.check.name}. {finding.check.consequence} ({'; '.join(finding.failures)})")
