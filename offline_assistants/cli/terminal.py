"""How commands speak to a person: on a terminal in colour, elsewhere in plain lines, with --json in JSON."""

from __future__ import annotations

import inspect
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional, get_type_hints

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

console = Console()
errors = Console(stderr=True)

EXIT_ERROR = 1
"""What was asked for could not be done; stderr says why in one sentence. 2, click's own, says that the command was not understood."""
EXIT_WARNINGS = 3
"""`doctor`: everything needed is there, something else is not."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, or the process was asked to end."""
PLAIN_LINE_AFTER_S, PLAIN_LINE_EVERY_S, PLAIN_LOOK_EVERY_S = 2, 5, 0.2

AlwaysJson = Annotated[bool, typer.Option("--json", help="As JSON, which it is in any case.", show_default=False)]
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
    complain(message)
    raise SystemExit(EXIT_ERROR)


def complain(message: str) -> None:
    """What went wrong, on stderr."""
    errors.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)


def say(line: str) -> None:
    """A line on stdout as it stands."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def remark(line: str) -> None:
    """A line on stderr, so that what is piped on stays clean."""
    errors.print(line, highlight=False, markup=False, soft_wrap=True)


def show_json(value: Any) -> None:
    console.print_json(json.dumps(value))


def show_counts(target: Path, counts: Mapping[str, int]) -> None:
    """What was written where."""
    say(f"{target}: {', '.join(f'{number} {kind}' for kind, number in sorted(counts.items())) or 'nothing'}")


def show_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Rows whose cells hold what users wrote, so nothing in them is markup. Where it is not a terminal that shows them, each is one line, however long."""
    if console.is_terminal:
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
        return
    lines = [list(columns), *([" ".join(cell.split()) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(f"{cell}{' ' * (width - cell_len(cell))}" for cell, width in zip(line, widths, strict=True)).rstrip())


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
def progress(what: str, total: int, unit: str = "bytes") -> Generator[Callable[[int], None]]:
    """Shows how far something is, with rate and time left: on a terminal a bar, elsewhere a line every few seconds, none for what takes a moment.

    `total` 0: not known.
    """
    if errors.is_terminal:
        amount = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(), TextColumn(unit))
        with Progress(TextColumn("{task.description}", markup=False), BarColumn(), *amount, TimeRemainingColumn(), console=errors, transient=True) as bar:
            task = bar.add_task(what, total=total or None)
            yield lambda more: bar.advance(task, more)
        return
    began = time.monotonic()
    next_at, done = began + PLAIN_LINE_AFTER_S, 0

    def advance(more: int) -> None:
        nonlocal next_at, done
        done += more
        now = time.monotonic()
        if now > next_at:
            next_at = now + PLAIN_LINE_EVERY_S
            remark(f"{what}: {_how_far(done, total, done / (now - began), unit)}")

    yield advance


def _how_far(done: int, total: int, rate: float, unit: str) -> str:
    """`rate`: of what is counted, each second."""
    shown = size if unit == "bytes" else "{:.3g}".format
    so_far = f"{shown(done)}{f' of {shown(total)}' if total else ''}{'' if unit == 'bytes' else f' {unit}'}"
    left = f", {max(0, total - done) / rate:.0f} s left" if total and rate else ""
    return f"{so_far}, {shown(rate)}/s{left}" if rate else so_far


@contextmanager
def status(what: str) -> Generator[Callable[[str], None]]:
    """For what cannot be measured: what is being waited for, until the block ends, or until what it is given to say next is nothing.

    On a terminal a line that moves; elsewhere a line every few seconds, none for what takes a moment.
    """
    if errors.is_terminal:
        with errors.status(Text(what, style="dim")) as shown:
            yield lambda then: shown.update(Text(then, style="dim")) if then else shown.stop()
        return
    waiting = _PlainWait(what)
    thread = threading.Thread(target=waiting.run, name="status", daemon=True)
    thread.start()
    try:
        yield waiting.say
    finally:
        waiting.is_over.set()
        thread.join()


class _PlainWait:
    """Says now and then what is being waited for, and for how long; each thing from its own beginning."""

    def __init__(self, what: str) -> None:
        self.is_over = threading.Event()
        self.say(what)

    def say(self, what: str) -> None:
        """Nothing: no longer."""
        self._what, self._began, self._next_at = what, time.monotonic(), time.monotonic() + PLAIN_LINE_AFTER_S

    def run(self) -> None:
        while not self.is_over.wait(PLAIN_LOOK_EVERY_S):
            now = time.monotonic()
            if self._what and now > self._next_at:
                self._next_at = now + PLAIN_LINE_EVERY_S
                remark(f"{self._what}: {now - self._began:.0f} s")


@contextmanager
def steps(what: str, total: float) -> Generator[Callable[[float], None]]:
    """Shows how far something is that has no bytes: on a terminal a bar, elsewhere as `status` does."""
    if not errors.is_terminal:
        with status(what):
            yield lambda _more: None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=errors, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)
