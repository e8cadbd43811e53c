"""The command line as a whole: what it says of itself, how fast, and where it finds its server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offline_assistants.cli.app import build_app
from tests.acceptance.server_process import ServerProcess
from tests.command_line import command

pytestmark = pytest.mark.timeout(90)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, offline_assistants.cli.app as app; app.build_app(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"numpy", "torch", "duckdb", "chromadb", "docker", "fastapi", "uvicorn", "llama_cpp", "openai"}.isdisjoint(loaded)


def names(app: object, *before: str) -> list[list[str]]:
    groups = {group.name: group.typer_instance for group in app.registered_groups}  # pyright: ignore[reportAttributeAccessIssue]
    own = [[*before, each.name] for each in app.registered_commands]  # pyright: ignore[reportAttributeAccessIssue]
    return own + [path for name, group in groups.items() for path in names(group, *before, name)]


@pytest.mark.parametrize("path", names(build_app()), ids=" ".join)
def test_every_command_says_what_it_does(path: list[str]) -> None:
    shown = CliRunner().invoke(build_app(), [*path, "-h"])

    assert (shown.exit_code, f"{' '.join(path)} [OPTIONS]" in shown.output) == (0, True)


def test_a_data_directory_can_be_named(tmp_path: Path) -> None:
    made = command("keys", "create", "--json", "--data-dir", tmp_path / "here")

    assert json.loads(made.stdout)["project"] == "default"
    assert (tmp_path / "here" / "database").exists()


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

    question = ("chat", "When was the lighthouse of Brunn built?", "-f", tmp_path / "notes.md", "-n", "256")
    told = command(*question, "--data-dir", shared_server.data_dir, timeout_s=160)

    assert (told.returncode, bool(told.stdout.strip()), "file_search found notes.md" in told.stderr) == (0, True, True), told.stderr
