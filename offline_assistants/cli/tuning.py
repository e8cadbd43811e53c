"""`models tune`: how a model is run best on this machine, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional, cast

import typer

from offline_assistants.cli.models import find_model, installed_catalog
from offline_assistants.cli.terminal import AsJson, examples, remark, say, show_json, show_table, size, steps
from offline_assistants.domain.models import ModelFile, Tuned
from offline_assistants.engine.tunings import Tunings, machine
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.machine import busy_share
from offline_assistants.settings import Settings

MAX_BUSY = 0.3
"""Of the processors' time, that others may take while something is measured."""
SLOW_FORMATS = {"Q4_1", "Q5_0", "Q5_1", "F32", "F16", "BF16"}
"""Which Q8_0 outruns on processors, and loses nothing that can be noticed of: it has at least their bits, or nearly those of a half."""


TUNE_EXAMPLES = examples("models tune", "models tune qwen3-4b", "models tune smollm2-135m-instruct --copy", "models tune qwen3-4b --forget")


def tune_model(
    model: Annotated[Optional[str], typer.Argument(metavar="[MODEL]", help="Default: all that were not tuned here yet.")] = None,  # noqa: UP045 typer reads this form
    *,
    copy: Annotated[
        bool,
        typer.Option(
            "--copy",
            help="Also try a copy in Q8_0, and keep it if it is faster. Answers may then differ in a word here and there. "
            "A model that comes with an adapter always gets this try.",
        ),
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the defaults, and delete the copy.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how many threads decode and read prompts best here; takes seconds. What is found holds from the next time that the model is loaded.

    Other programs that compute meanwhile falsify it. --decode-threads and --prefill-threads of `serve` come before what was found.
    """
    tunings = Tunings(Settings().tunings_path)
    if model is None and (copy or forget):
        raise OfflineAssistantsError("--copy and --forget are for one model: name it.")
    if model is not None and forget:
        was_known = tunings.forget(find_model(model).model_id)
        say(f"{model}: the defaults again." if was_known else f"{model} was not tuned.")
        return
    files = [find_model(model)] if model else _untuned(tunings)
    if files and busy_share() > MAX_BUSY:
        remark("Other programs keep this machine busy, which falsifies what is measured. Tune again when it is quiet.")
        files = files if model else []
    found = [_tune(file, tunings, copy=copy, is_silent=as_json) for file in files]
    if as_json:
        show_json(found[0] if model else found)


def _untuned(tunings: Tunings) -> list[ModelFile]:
    files = tunings.apply(installed_catalog().list_files())
    return [file for file in files if file.tuned is None and file.problem is None]


def _tune(file: ModelFile, tunings: Tunings, *, copy: bool, is_silent: bool) -> dict[str, Any]:
    """Measures, keeps what is best, and shows it unless `is_silent`. A model with an adapter decodes slower than a copy that has it in it, so one is tried."""
    copy = copy or file.adapter is not None
    found = _measured(file, tunings.copies / f"{file.model_id}-Q8_0.gguf" if copy else None)
    tuned = _tuned(found, tunings)
    tunings.keep(file, tuned)
    if not is_silent:
        _show(file, found, tuned, was_tried=copy)
    return {"id": file.model_id, "machine": machine(), **found}


def _measured(file: ModelFile, copy: Path | None) -> dict[str, Any]:
    """What the measuring process found: rates of the original, of the copy, and what it would choose. Raises OfflineAssistantsError."""
    if copy is not None and copy.stem.count("-of-"):
        raise OfflineAssistantsError(f"{file.model_id} is in parts, and only a model of one file can be copied.")
    installed_catalog().verify(file)
    command = [sys.executable, "-P", "-m", "offline_assistants.engine.tuner", str(file.path)]
    command += ["--copy", str(copy)] if copy else []
    command += ["--adapter", str(file.adapter.path)] if file.adapter else []
    found = dict[str, Any]()
    with steps(f"measuring {file.model_id}", 2 if copy else 1) as advance:
        for finding in _findings(command):
            advance(finding.pop("progress", 0.0))
            found |= finding
    if "chosen" not in found:
        raise OfflineAssistantsError(str(found.get("error") or f"{file.model_id} could not be measured; the reason is above."))
    return found


def _findings(command: list[str]) -> Iterator[dict[str, Any]]:
    # The engine comes with it; --help shall not wait for it.
    from offline_assistants.engine.llama_engine import child_environment

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment()) as process:
        try:
            for line in process.stdout or ():
                yield cast("dict[str, Any]", json.loads(line))
        finally:
            process.kill()


def _tuned(found: dict[str, Any], tunings: Tunings) -> Tuned:
    chosen = found["chosen"]
    copy = tunings.copies / chosen["copy"] if chosen["copy"] else None
    return Tuned(chosen["decode_threads"], chosen["prefill_threads"], copy)


def _show(file: ModelFile, found: dict[str, Any], tuned: Tuned, *, was_tried: bool) -> None:
    show_table(("form", "threads", "decode tok/s", "prompt tok/s"), _rows(file, found))
    say(f"{file.model_id}: {tuned.decode_threads} to decode, {tuned.prefill_threads} to read prompts, from the next time that it is loaded.")
    if tuned.copy is not None:
        say(f"Its copy in Q8_0{', with its adapter in it,' if file.adapter else ''} is used ({size(found['copy_bytes'])}, {tuned.copy}).")
    elif was_tried:
        say("A copy in Q8_0 is not faster enough to be worth its room, so there is none.")
    elif file.quantization in SLOW_FORMATS:
        retry = f"offline-assistants models tune {file.model_id} --copy"
        remark(f"{file.quantization} is slow on processors. A copy in Q8_0 usually reads prompts faster: {retry}")


def _rows(file: ModelFile, found: dict[str, Any]) -> Iterator[list[str]]:
    for name, form in (("original", file.quantization or ""), ("copy", "Q8_0")):
        rates = found.get(name, {"decode": {}})
        for threads, rate in rates["decode"].items():
            yield [form, threads, f"{rate:.1f}", f"{rates['prefill'][threads]:.1f}"]
