"""`offline-assistants models` and `ps`, on a server that runs and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.server_process import ServerProcess
from tests.command_line import command
from tests.contract.test_catalog import gguf, write
from tests.tiny_adapter import write_adapter

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
STARTER = "smollm2-135m-instruct"


def watch_batch(data_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "OFFLINE_ASSISTANTS_DATA_DIR": str(data_dir)}
    command = [sys.executable, ROOT / "scripts" / "watch_batch.py", "--once"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_model_comes_in_is_shown_verified_and_goes(tmp_path: Path) -> None:
    source = write(tmp_path / "mine.gguf", gguf())
    at = ("--data-dir", tmp_path / "data")
    brought = command("models", "import", source, "--name", "mine-too", *at)
    [row] = [each for each in json.loads(command("models", "list", "--json", *at).stdout) if each["id"] == "mine-too"]
    first, second = (json.loads(command("models", "verify", "mine-too", "--json", *at).stdout)[0]["state"] for _ in range(2))
    source.write_bytes(gguf(99))
    changed = command("models", "verify", "mine-too", *at)
    gone = command("models", "rm", "mine-too", "--yes", *at)

    assert (brought.stdout, row["state"]) == ("mine-too: linked\n", "ready")
    assert (first, second, changed.returncode, "changed" in changed.stdout) == ("remembered", "ok", 1, True)
    assert changed.stderr.startswith("error: mine-too: changed: it was ")
    assert (gone.returncode, source.is_file(), (tmp_path / "data" / "models" / "mine-too.gguf").is_symlink()) == (0, True, False)


def test_what_is_known_of_a_model_is_shown_by_any_of_its_names(tmp_path: Path) -> None:
    shown = json.loads(command("models", "show", "gpt-4o", "--json", "--data-dir", tmp_path).stdout)
    plain = command("models", "show", STARTER, "--data-dir", tmp_path).stdout

    assert (shown["architecture"], shown["quantization"], shown["trained_context_tokens"], shown["has_chat_template"]) == ("llama", "Q4_1", 8192, True)
    assert shown["memory_bytes"] > shown["weights_bytes"] > 50_000_000
    assert "weights bytes" in plain


def test_a_model_with_an_adapter_is_shown_as_it_is_spoken_to(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine.gguf", chat_format="compact")
    lora = json.dumps([f"{STARTER}={adapter}"])

    shown = json.loads(command("models", "show", STARTER, "--json", "--data-dir", tmp_path, OFFLINE_ASSISTANTS_LORA=lora).stdout)

    assert (shown["template_family"], shown["adapters"]) == ("compact", str(adapter))


def test_what_is_in_memory_is_shown_and_can_be_put_out(own_server: ServerProcess) -> None:
    at = ("--data-dir", own_server.data_dir)
    with own_server.client() as client:
        client.chat.completions.create(model=STARTER, messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=4, temperature=0)
    shown = command("ps", "--json", *at)
    assert shown.returncode == 0, shown.stderr
    [loaded] = json.loads(shown.stdout)
    watched = watch_batch(own_server.data_dir)
    unloaded = command("models", "unload", STARTER, *at)

    assert (loaded["id"], loaded["num_requests"], loaded["memory_bytes"] > 50_000_000, loaded["leaves_in_s"] > 0) == (STARTER, 0, True, True)
    assert f"{STARTER}: 0 waiting" in watched.stdout, watched.stderr
    assert (unloaded.returncode, command("ps", *at).stdout) == (0, "No model is in memory.\n")


def test_without_a_server_there_is_nothing_to_show_and_nothing_to_open(tmp_path: Path) -> None:
    assert "No server runs" in command("ps", "--data-dir", tmp_path).stdout
    assert f"No server of {tmp_path} runs" in command("open", "--data-dir", tmp_path).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nobody"), "does not exist"),
        (("rm", "nobody", "--yes"), "does not exist"),
        (("import", "/nowhere"), "There is no /nowhere"),
        (("verify", "--sha256", "0"), "name it"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = command("models", *arguments, "--data-dir", tmp_path)

    assert (done.returncode, done.stderr.startswith("error: "), said in done.stderr) == (1, True, True)
