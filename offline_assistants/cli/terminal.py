"""How commands speak to a person: on a terminal in colour, elsewhere in plain lines, with --json in JSON."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, NoReturn, Optional, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

console = Console()
errors = Console(stderr=True)

EXIT_ERROR = 1
"""What was asked for could not be done; stderr says why in one sentence. 2, click's own, says that the command was not understood."""
PLAIN_LINE_EVERY_S = 5
EXIT_WARNINGS = 3
"""`doctor`: everything needed is there, something else is not."""

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
DataDir = Annotated[
    Optional[str],  # noqa: UP045 typer reads this form
    typer.Option("--data-dir", metavar="PATH", help="Whose server is meant. Default: OFFLINE_ASSISTANTS_DATA_DIR, or where `serve` keeps its data."),
]


def of_server(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one option more, --data-dir, which the settings then read from the environment."""

    @wraps(command)
    def run(*, data_dir: str | None = None, **given: Any) -> None:
        if data_dir is not None:
            os.environ["OFFLINE_ASSISTANTS_DATA_DIR"] = str(data_dir)
        command(**given)

    hints = get_type_hints(command, include_extras=True)
    parameters = [parameter.replace(annotation=hints[name]) for name, parameter in inspect.signature(command).parameters.items()]
    option = inspect.Parameter("data_dir", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=DataDir)
    # typer reads its options from these two.
    run.__signature__ = inspect.Signature([*parameters, option])  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {**hints, "data_dir": DataDir}
    return run


def examples(*commands: str) -> str:
    """The end of a command's help: how it is used."""
    return "\n\n".join(("Examples:", *(f"  offline-assistants {command}" for command in commands)))


def give_up(message: str) -> NoReturn:
    """Say what went wrong, and end."""
    errors.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)
    raise SystemExit(EXIT_ERROR)


def say(line: str) -> None:
    """A line on stdout as it stands."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def remark(line: str) -> None:
    """A line on stderr, so that what is piped on stays clean."""
    errors.print(line, highlight=False, markup=False, soft_wrap=True)


def show_json(value: Any) -> None:
    console.print_json(json.dumps(value))


def show_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Rows whose cells hold what users wrote, so nothing in them is markup."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def date(seconds: int | None) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def size(num_bytes: float) -> str:
    """In the decimal units that disks and model files are sold in."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.2f} GB"


@contextmanager
def progress(what: str, total_bytes: int) -> Generator[Callable[[int], None]]:
    """Shows how far something is: on a terminal a bar with rate and time left, elsewhere a line every few seconds. What takes a moment shows nothing."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=errors, transient=True) as bar:
            task = bar.add_task(what, total=total_bytes or None)
            yield lambda more: bar.advance(task, more)
        return
    began = last = time.monotonic()
    done = 0

    def advance(more: int) -> None:
        nonlocal done, last
        done += more
        if time.monotonic() - last > PLAIN_LINE_EVERY_S:
            last = time.monotonic()
            remark(f"{what}: {size(done)} of {size(total_bytes)}, {size(done / (last - began))}/s")

    yield advance
