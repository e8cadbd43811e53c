"""What the documents show is true: every block of commands or Python in them is run, and every command that they name is there with the options that they give.

A block that is no command (a picture in letters, an output) and a line that would set up the machine are in the lists below, with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from reportlab.pdfgen.canvas import Canvas

from offline_assistants.cli.app import build_app
from tests.acceptance.server_process import ServerProcess
from tests.contract.test_catalog import gguf, write

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "models/README.md", "offline_assistants/README.md", "sandbox/README.md", "tests/README.md")
FENCED = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)

NOT_COMMANDS = {
    "offline_assistants/": "the tree of files: tests/test_house_rules.py compares it with the disk",
    "cli": "the layers: import-linter checks them",
    "stateDiagram-v2": "the states of a run: tests/test_house_rules.py compares it with the table",
    "server process, event loop": "a drawing of the way from a token to a byte",
    "──── a cited answer": "what scripts/demo.py printed; tests/acceptance/test_main_job.py does the same and asserts what came",
    "def test_a_stream_tells": "how a test looks; its like are in tests/api/test_streams.py",
}
"""Blocks by their first line, or what it contains."""

SHORTENED = {
    "scripts/quickstart": ("scripts/quickstart --help", "it sets up the machine and leaves a server running"),
    "scripts/test": ("bash -n scripts/test", "it runs this very test"),
}
"""Lines of blocks: what is run in their place, and why."""


@dataclass(frozen=True, slots=True)
class Block:
    document: str
    line: int
    language: str
    text: str

    @property
    def is_no_command(self) -> bool:
        first = self.text.lstrip("\n").splitlines()[0]
        return any(first == mark or (len(mark) > 3 and mark in first) for mark in NOT_COMMANDS)


def blocks() -> Iterator[Block]:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for found in re.finditer(FENCED, text):
            yield Block(document, text.count("\n", 0, found.start()) + 1, found["language"], found["text"])


def name_of(block: Block) -> str:
    return f"{block.document}:{block.line}"


COMMANDS = [block for block in blocks() if not block.is_no_command]


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A folder like the clone, with the files that the documents speak of, and a home of its own."""
    for name in ("scripts", "offline_assistants"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("python", "offline-assistants"):
        write(commands / name, f'#!/bin/sh\nexec {sys.executable} {"-m offline_assistants " if "-" in name else ""}"$@"\n'.encode()).chmod(0o700)
    for name in ("Qwen3-4B-Instruct-Q4_K_M.gguf", "Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf", "mmproj-Qwen2.5-VL-3B-Instruct-F16.gguf"):
        write(tmp_path / name, gguf(block_count=2, embedding_length=64))
    (tmp_path / ".local/share/offline-assistants/models").mkdir(parents=True)
    page = Canvas(str(tmp_path / "lease.pdf"))
    page.drawString(72, 720, "The lease begins on 1 April 2024. The lease ends on 31 March 2027.")
    page.save()
    (tmp_path / "error.log").write_text("disk full\n")
    (tmp_path / "your_program.py").write_text(YOUR_PROGRAM)
    return tmp_path


YOUR_PROGRAM = """import openai
client = openai.OpenAI()
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
print(client.beta.threads.messages.list(thread.id).data[0].content[0].text.value)
"""


@pytest.mark.model
@pytest.mark.timeout(180)
@pytest.mark.parametrize("block", COMMANDS, ids=name_of)
def test_a_block_does_what_it_says(block: Block, workshop: Path, shared_server: ServerProcess) -> None:
    assert block.language in ("sh", "python"), f"{name_of(block)}: say in NOT_COMMANDS what it is, or how it is run"
    text = block.text.replace("http://127.0.0.1:8000/v1", shared_server.url).replace("http://127.0.0.1:8000", shared_server.url.removesuffix("/v1"))
    program = ["bash", "-euo", "pipefail", "-c", shortened(text)] if block.language == "sh" else [sys.executable, "-W", "ignore", "-c", text]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OFFLINE_ASSISTANTS", "XDG"))}
    environment |= {"HOME": str(workshop), "PATH": f"{workshop}/.venv/bin:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    if "offline-assistants chat" in text:  # on the server that has its model in memory already
        environment["OFFLINE_ASSISTANTS_DATA_DIR"] = str(shared_server.data_dir)

    done = subprocess.run(program, cwd=workshop, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for said in expected(block):
        assert said in done.stdout, f"{said!r} is not in {done.stdout!r}\n{done.stderr}"


def shortened(text: str) -> str:
    lines = ((line, line.partition("#")[0].strip()) for line in text.splitlines())
    return "\n".join(SHORTENED[command][0] if command in SHORTENED else line for line, command in lines)


def expected(block: Block) -> list[str]:
    """What the block says itself, in comments that begin with "prints"."""
    return [said.strip() for said in re.findall(r"# prints (.+)", block.text)]


def test_the_lists_of_what_is_not_run_name_nothing_that_is_gone() -> None:
    shown = [block for block in blocks() if block.is_no_command]
    lines = {line.partition("#")[0].strip() for block in COMMANDS for line in block.text.splitlines()}

    assert [mark for mark in NOT_COMMANDS if not any(mark in block.text for block in shown)] == []
    assert set(SHORTENED) <= lines


# ── Commands in the text ─────────────────────────────────────────────────────────────────────────────────────────────


def named_commands() -> Iterator[tuple[str, str]]:
    """Every `offline-assistants ...` in code within a sentence or a table, with its document."""
    for document in DOCUMENTS:
        text = re.sub(FENCED, "", (ROOT / document).read_text(encoding="utf-8"))
        for found in re.findall(r"`(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?offline-assistants ([^`]+)`", text):
            yield document, found


def parse(arguments: list[str]) -> None:
    """As the command line would, without doing it. Raises click's errors."""
    found: Any = typer.main.get_command(build_app())
    context = found.make_context("offline-assistants", [], resilient_parsing=True)
    while hasattr(found, "commands") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = found.commands[name]
        context = found.make_context(name, [], parent=context, resilient_parsing=True)
    found.make_parser(context).parse_args(arguments)


@pytest.mark.parametrize("named", sorted(set(named_commands())), ids="-".join)
def test_a_command_that_is_named_is_there_with_its_options(named: tuple[str, str]) -> None:
    parse(shlex.split(named[1].replace("[", "").replace("]", "").replace("…", "")))


@pytest.mark.parametrize("script", sorted({found for name in DOCUMENTS for found in re.findall(r"`(scripts/[\w.-]+)", (ROOT / name).read_text("utf-8"))}))
def test_a_script_that_is_named_is_there(script: str) -> None:
    assert os.access(ROOT / script, os.R_OK if script.endswith((".py", ".lock")) else os.X_OK)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONFORMANCE.md", "CHANGELOG.md"])
def test_a_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    places = [place.partition("#")[0] for place in re.findall(r"\]\(([^)\s]+)\)", text) if not place.startswith(("http://", "https://"))]

    assert [place for place in places if place and not ((ROOT / document).parent / place).exists()] == []
