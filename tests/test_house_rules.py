"""What keeps the house as it was drawn: the map, names, documented settings, and agreement with the official SDK.

The arrows between modules are contracts in pyproject.toml, checked by `lint-imports`.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from openai.types.beta.assistant_stream_event import AssistantStreamEvent
from openai.types.beta.threads.run_status import RunStatus

from offline_assistants.domain.run_state import TRANSITIONS, mermaid
from offline_assistants.domain.stream_events import EVENT_NAMES
from offline_assistants.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "offline_assistants"
MAP = PACKAGE / "README.md"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """Every file of the repository that git knows or would take, and that is there."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return sorted(path for name in set(listing.split("\0")) if name and (path := ROOT / name).is_file())


# ── The map ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def map_block(language: str) -> str:
    """The first block of the map that is fenced as `language`."""
    found = re.search(rf"^```{language}\n(.*?)^```", MAP.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"{relative(MAP)} has no block that begins with ```{language}"
    return found[1]


def map_entries() -> Iterator[tuple[str, str]]:
    """Path below the package (folders end in /) and sentence of every line of the tree; its first line is the package itself."""
    parents: list[str] = []
    for line in map_block("text").splitlines()[1:]:
        found = re.fullmatch(r"((?:│   |    )*)(?:├── |└── )(\S+)(?: +(\S.*))?", line)
        assert found, f"not a line of the tree: {line!r}"
        indent, name, sentence = found.groups()
        del parents[len(indent) // 4 :]
        yield "".join(parents) + name, sentence or ""
        if name.endswith("/"):
            parents.append(name)


def paths_on_disk() -> set[str]:
    """What the map must show: folders, Python files but __init__.py (their folder's line speaks for them), SQL files."""
    files = {path for suffix in ("py", "sql") for path in PACKAGE.rglob(f"*.{suffix}") if "__pycache__" not in path.parts}
    folders = {f"{folder.relative_to(PACKAGE).as_posix()}/" for path in files for folder in path.parents if PACKAGE in folder.parents}
    return folders | {path.relative_to(PACKAGE).as_posix() for path in files if path.name != "__init__.py"}


def test_every_file_has_its_line_in_the_map() -> None:
    missing = paths_on_disk() - {path for path, _ in map_entries()}

    assert not missing, f"add a line for each to the tree in {relative(MAP)}"


def test_every_line_of_the_map_has_its_file() -> None:
    gone = [path for path, _ in map_entries() if not ((PACKAGE / path).is_dir() if path.endswith("/") else (PACKAGE / path).is_file())]

    assert not gone, f"remove them from the tree in {relative(MAP)}"


def test_every_line_of_the_map_says_what_it_is_and_stands_once() -> None:
    entries = list(map_entries())

    assert [path for path, sentence in entries if not sentence] == []
    assert len({path for path, _ in entries}) == len(entries)


def test_the_diagram_of_run_states_is_the_table() -> None:
    assert map_block("mermaid").strip() == mermaid().strip()


# ── The official SDK ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_run_statuses_are_the_sdk_s() -> None:
    assert set(TRANSITIONS) == set(get_args(RunStatus))


def test_stream_events_are_the_sdk_s_and_done() -> None:
    union = get_args(AssistantStreamEvent)[0]
    names = {get_args(event.model_fields["event"].annotation)[0] for event in get_args(union)}

    assert names | {"done"} == EVENT_NAMES


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def serve_help() -> str:
    """`serve --help` as one line of plain words."""
    environment = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(
        [sys.executable, "-m", "offline_assistants", "serve", "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return re.sub(r"[\s│╭╮╰╯─]+", " ", shown.stdout)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_an_option_of_serve_with_its_description(name: str, serve_help: str) -> None:
    description = Settings.model_fields[name].description

    assert description, f"{name} has no description"
    assert f"--{name.replace('_', '-')} " in serve_help
    assert re.sub(r"\s+", " ", description) in serve_help


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("debian", "org"),
        ("archive", "ubuntu", "com"),
        ("docker", "io/"),
        ("ghcr", "io"),
        ("npmjs", "org"),
        ("huggingface", "co"),
    )
]
FOLDERS = [f"/{name}/" for name in ("work", "root", "home")] + ["/".join(("", "opt", name)) for name in ("wheels", "pypi")]


@pytest.mark.parametrize("word", HOSTS + FOLDERS)
def test_no_file_names_a_registry_or_a_folder_of_one_machine(word: str) -> None:
    mentions = [relative(path) for path in tracked_files() if word in path.read_bytes().decode("utf-8", errors="ignore")]

    assert mentions == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=relative)
def test_a_package_file_holds_a_docstring_and_nothing_else(path: Path) -> None:
    docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
    has_version = path.parent == PACKAGE

    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant) and isinstance(docstring.value.value, str)
    assert [ast.unparse(statement).split(" = ")[0] for statement in rest] == (["__version__"] if has_version else [])


@pytest.mark.parametrize("path", [path for path in tracked_files() if path.suffix == ".py" and path.stat().st_size], ids=relative)
def test_the_first_line_of_a_python_file_says_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next((line for line in lines if not line.startswith("#!")), "")

    assert re.match(r'"""\S', line), line


BANNED = {"utils", "helpers", "common", "misc", "base", "core", "manager", "service", "provider", "handler", "processor", "types"}
BANNED_IN_CLASSES = re.compile(r"^(Abstract|Base)[A-Z]|(Impl|Manager|Service|Provider|Handler|Processor|Utils|Helper)$")


def test_nothing_is_named_by_a_word_that_says_nothing() -> None:
    files = [relative(path) for path in SOURCES if path.stem in BANNED or path.parent.name in BANNED]
    classes = [
        f"{relative(path)}: {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and BANNED_IN_CLASSES.search(node.name)
    ]

    assert files + classes == []


HEAVY = {"llama_cpp", "chromadb", "docker", "duckdb", "sentence_transformers", "torch", "numpy", "fastapi", "uvicorn", "openai"}


@pytest.mark.parametrize(
    "module", ["offline_assistants.domain.objects", "offline_assistants.domain.run_state", "offline_assistants.ports", "offline_assistants.errors"]
)
def test_the_words_of_the_house_load_no_heavy_library(module: str) -> None:
    loaded = subprocess.run([sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert set(loaded.split()) & HEAVY == set()
