"""`offline-assistants assistants`, `threads`, `files` and `vector-stores` as a user types them: list, show, create, delete, export."""

from __future__ import annotations

import json
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import openai
import pytest

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer
from tests.command_line import COMMAND, command, on_a_terminal

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


def test_assistants_and_vector_stores_move_to_another_server(server: LiveServer, client: openai.OpenAI, note: Path, tmp_path: Path) -> None:
    here, there = ("--data-dir", server.data_dir), ("--data-dir", tmp_path / "other")
    store_id = command("vector-stores", "create", "mine", note, *here).stdout.strip()
    clerk, other = (client.beta.assistants.create(model="scripted", name=name) for name in ("Bürokraft\u2028", "Other"))
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    client.beta.assistants.update(clerk.id, tools=[{"type": "file_search"}], tool_resources=resources)

    told = command("vector-stores", "export", store_id, tmp_path / "out", *here)
    (tmp_path / "clerk.jsonl").write_text(command("assistants", "export", clerk.id, "--json", *here).stdout)
    taken = [command("import", path, *there) for path in (tmp_path / "out", tmp_path / "clerk.jsonl")]

    assert (told.returncode, told.stdout.partition(": ")[2]) == (0, "1 file, 1 vector_store, 1 vector_store.file\n")
    assert [each.stdout for each in taken] == ["3 imported, 0 already there, 0 refused\n", "1 imported, 0 already there, 0 refused\n"]
    [moved] = json.loads(command("assistants", "list", "--json", *there).stdout)
    assert (moved["id"], moved["name"], moved["tool_resources"]) == (clerk.id, "Bürokraft\u2028", resources)
    assert [each["filename"] for each in json.loads(command("files", "list", "--json", *there).stdout)] == [note.name]
    assert len(command("assistants", "export", *here).stdout.split("\n")) == 3, other


@pytest.mark.parametrize("kind", ["assistants", "threads", "files", "vector-stores"])
def test_what_is_shown_can_be_asked_for_as_json(server: LiveServer, client: openai.OpenAI, note: Path, kind: str) -> None:
    at = ("--data-dir", server.data_dir)
    made = {"assistants": ("-m", "scripted"), "threads": (), "files": (note,), "vector-stores": ("mine",)}[kind]
    object_id = command(kind, "create", *made, *at).stdout.strip()

    shown = [json.loads(command(kind, "show", object_id, *asked, *at).stdout)["id"] for asked in (("--json",), ())]

    assert shown == [object_id, object_id]


# ── How far it is ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_goes_out_and_in_shows_how_far_it_is(server: LiveServer, client: openai.OpenAI, note: Path, tmp_path: Path) -> None:
    at = ("--data-dir", server.data_dir)
    command("files", "create", note, *at)

    out, shown_out = on_a_terminal("export", tmp_path / "all.jsonl", *at)
    back, shown_in = on_a_terminal("import", tmp_path / "all.jsonl", *at)

    assert (out, "writing objects" in shown_out, "writing contents" in shown_out) == (0, True, True), shown_out
    assert (back, "importing" in shown_in, "1 already there" in shown_in) == (0, True, True), shown_in


@contextmanager
def something_that_answers(folder: Path, *pieces: str, status: int = 200, after_s: float = 0) -> Iterator[Path]:
    """A data directory on whose socket something speaks HTTP that is no server of ours; between `pieces` it takes its time."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if "/v1/models" not in self.path else 200)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece.encode())
                time.sleep(after_s)

        def address_string(self) -> str:
            return "socket"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 as the class has it
            pass

    with socketserver.ThreadingUnixStreamServer(str(folder / "admin.sock"), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield folder
        listening.shutdown()
        thread.join()


def test_where_it_is_no_terminal_lines_say_how_far_it_is(tmp_path: Path) -> None:
    lines = [json.dumps({"object": "thread", "id": f"thread_{number}"}) + "\n" for number in range(3)]

    with something_that_answers(tmp_path, *lines, after_s=1.2) as place:
        done = command("export", tmp_path / "all.jsonl", "--data-dir", place)

    assert (done.returncode, done.stdout.endswith(": 3 thread\n"), done.stderr.startswith("writing objects: ")) == (0, True, True), done.stderr
    assert "objects, " in done.stderr


def test_what_cannot_be_measured_says_that_it_is_waited_for(tmp_path: Path) -> None:
    with something_that_answers(tmp_path, '{"data": [], ', '"has_more": false}', after_s=2.6) as place:
        done = command("threads", "list", "--data-dir", place)

    assert (done.returncode, done.stdout, done.stderr.startswith("reading the list: ")) == (0, "No threads.\n", True), done.stderr


@pytest.mark.parametrize("path", [("threads", "list"), ("export", "/tmp/never.jsonl"), ("models", "list")])
def test_an_answer_that_is_no_json_is_one_sentence(tmp_path: Path, path: tuple[str, ...]) -> None:
    with something_that_answers(tmp_path, "<h1>Bad\nGateway</h1>", status=502) as place:
        done = command(*path, "--data-dir", place)

    assert (done.returncode, "<h1>Bad Gateway</h1>" in done.stderr, "Traceback" in done.stderr, done.stderr.count("\n")) == (1, True, False, 1), done.stderr


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
