"""`offline-assistants assistants`, `threads`, `files` and `vector-stores` as a user types them: list, show, create, delete, export."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import openai
import pytest

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer
from tests.command_line import COMMAND, command

pytestmark = pytest.mark.timeout(90)
TEXT = "ä [bold] text\n"


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "ä [b].txt"
    path.write_text(TEXT)
    return path


def test_a_file_goes_in_and_out_as_it_is(server: LiveServer, note: Path) -> None:
    at = ("--data-dir", server.data_dir)
    file_id = command("files", "create", note, *at).stdout.strip()
    listed = command("files", "list", *at).stdout
    shown = json.loads(command("files", "show", file_id, *at).stdout)
    taken = command("files", "export", file_id, note.with_name("b.txt"), *at)
    again = command("files", "export", file_id, note.with_name("b.txt"), *at)

    assert (note.name in listed, file_id in listed, shown["filename"]) == (True, True, note.name)
    assert (taken.returncode, note.with_name("b.txt").read_text()) == (0, TEXT)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


def test_an_assistant_and_a_thread_are_made_exported_and_deleted(server: LiveServer, client: openai.OpenAI) -> None:
    at = ("--data-dir", server.data_dir)
    assistant_id = command("assistants", "create", "-m", "scripted", "--name", "Clerk", "--tool", "file_search", *at).stdout.strip()
    thread_id = command("threads", "create", "Wann läuft der Vertrag aus?", *at).stdout.strip()
    markdown = command("threads", "export", thread_id, *at).stdout
    messages = json.loads(command("threads", "export", thread_id, "--json", *at).stdout)
    deleted = command("assistants", "delete", assistant_id, *at)

    assert (markdown, messages[0]["role"]) == ("## user\n\nWann läuft der Vertrag aus?\n\n", "user")
    assert (deleted.stdout, client.beta.assistants.list().data) == (f"Deleted {assistant_id}.\n", [])
    assert [thread["id"] for thread in json.loads(command("threads", "list", "--json", *at).stdout)] == [thread_id]


def test_a_vector_store_is_filled_and_says_which_documents_it_could_not_take(server: LiveServer, client: openai.OpenAI, note: Path, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"\xff\xfb")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 no more")

    made = command("vector-stores", "create", "mine", note, tmp_path / "song.mp3", tmp_path / "broken.pdf", "--data-dir", server.data_dir)

    store = client.vector_stores.retrieve(made.stdout.strip())
    assert (made.returncode, store.name, store.file_counts.completed) == (1, "mine", 1)
    assert ("song.mp3: " in made.stderr, "broken.pdf: " in made.stderr, note.name in made.stderr) == (True, True, False)


def test_a_list_that_is_not_for_a_terminal_has_a_line_for_each(server: LiveServer, client: openai.OpenAI) -> None:
    client.beta.assistants.create(model="scripted", name="n" * 200)

    listed = command("assistants", "list", "--data-dir", server.data_dir, COLUMNS="40")

    assert (len(listed.stdout.splitlines()), "n" * 200 in listed.stdout) == (2, True)


def test_whoever_reads_no_further_hears_no_complaint(server: LiveServer, client: openai.OpenAI) -> None:
    for number in range(30):
        client.beta.assistants.create(model="scripted", name=f"{number} {'n' * 200}", description="d" * 500, instructions="i" * 4000)
    shell = f"{' '.join(COMMAND)} assistants list --json --data-dir {server.data_dir} | head -n 1"

    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("[\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("assistants", "show", "asst_nobody"), "No assistant found with id 'asst_nobody'."),
        (("assistants", "create", "-m", "nobody"), "nobody"),
        (("assistants", "create", "-m", "scripted", "--tool", "hammer"), "hammer"),
        (("threads", "delete", "../files"), "../files"),
        (("threads", "export", "thread_nobody"), "thread_nobody"),
        (("files", "export", "file-nobody", "/tmp/never"), "file-nobody"),
        (("export", "/proc/nowhere"), "/proc/nowhere cannot be used: No such file or directory."),
        (("import", "/nowhere.jsonl"), "/nowhere.jsonl cannot be read: No such file or directory."),
        (("files", "create", "/nowhere"), "/nowhere cannot be read: No such file or directory."),
        (("vector-stores", "create", "mine", "/nowhere"), "/nowhere cannot be read: No such file or directory."),
    ],
)
def test_a_mistake_is_one_sentence(server: LiveServer, client: openai.OpenAI, arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments, "--data-dir", server.data_dir)

    assert (done.returncode, done.stdout, done.stderr.startswith("error: "), said in done.stderr) == (1, "", True, True), done.stderr
    assert (client.vector_stores.list().data, done.stderr.count("\n")) == ([], 1)


def test_a_server_that_ends_meanwhile_is_named(server: LiveServer, engine: ScriptedEngine, note: Path) -> None:
    engine.will_say("Once upon").then_wait()
    with subprocess.Popen(
        [*COMMAND, "chat", "Hello", "--data-dir", server.data_dir], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as talking:
        assert talking.stdout
        assert talking.stdout.read(4) == "Once"
        server.stop()
        _, said = talking.communicate(timeout=30)

    assert (talking.returncode, said.startswith("error: "), "Traceback" in said) == (1, True, False), said


def test_a_model_is_measured(server: LiveServer, engine: ScriptedEngine) -> None:
    for _ in range(7):
        engine.will_say("one two three four")

    told = json.loads(command("bench", "-m", "scripted", "--json", "--data-dir", server.data_dir).stdout)

    assert (told["model"], [figure["unit"] for figure in told["figures"]]) == ("scripted", ["s", "tokens/s", "tokens/s", "tokens/s"])
    assert all(figure["value"] > 0 for figure in told["figures"])


def test_without_a_server_a_command_brings_its_own(tmp_path: Path, note: Path) -> None:
    made = command("files", "create", note, "--data-dir", tmp_path / "data")
    listed = command("files", "list", "--json", "--data-dir", tmp_path / "data")

    assert [each["id"] for each in json.loads(listed.stdout)] == [made.stdout.strip()]


def test_completion_is_offered_for_the_shell() -> None:
    done = command("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    words = command(COMP_WORDS="offline-assistants vec", COMP_CWORD="1", _OFFLINE_ASSISTANTS_COMPLETE="complete_bash")

    assert (done.returncode, "complete" in done.stdout) == (0, True), done.stderr
    assert "vector-stores" in words.stdout, words.stderr
