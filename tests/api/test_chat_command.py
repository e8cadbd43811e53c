"""`offline-assistants chat` as a user types it, on a server whose engine says what a test told it to say."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from offline_assistants.errors import EngineError
from offline_assistants.ports import FileMade, Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.command_line import COMMAND, begin, command

pytestmark = pytest.mark.timeout(90)
LIGHTHOUSE = "The lighthouse of Brunn was built in 1911 by Ada Holm. It stands on a red rock beside the harbour."


def chat(server: LiveServer, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return command("chat", *arguments, "--data-dir", server.data_dir, stdin=stdin)


def without_waiting(said: str) -> str:
    """What a command says, without the lines that it says after two seconds, which a busy machine may bring about."""
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("the model reads"))


def last_thread(server: LiveServer) -> str:
    return json.loads((server.data_dir / "last_chat.json").read_text())["thread_id"]


def run_statuses(client: openai.OpenAI, server: LiveServer) -> list[str]:
    return [run.status for run in client.beta.threads.runs.list(last_thread(server))]


def test_the_answer_alone_is_on_stdout_and_what_is_piped_in_belongs_to_the_message(server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_say("It is blue — ja, blau.")

    done = chat(server, "What colour is this?", "-m", "scripted", "-s", "Be brief.", stdin="the sky\n")

    assert (done.returncode, done.stdout, without_waiting(done.stderr)) == (0, "It is blue — ja, blau.\n", "")
    said = engine.chats[0].messages
    assert (said[0].content, said[-1].content) == ("Be brief.", "What colour is this?\n\nthe sky")


def test_documents_are_indexed_searched_and_cited(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text(LIGHTHOUSE)
    engine.will_call("file_search", '{"query": "lighthouse of Brunn built"}')
    engine.will_say("The lighthouse of Brunn was built in 1911 by Ada Holm.")

    done = chat(server, "When was it built?", "-f", tmp_path / "notes.md")

    assert (done.returncode, done.stdout.startswith("The lighthouse of Brunn was built in 1911 by Ada Holm.")) == (0, True)
    assert "file_search found notes.md (" in done.stderr
    assert "The lighthouse of Brunn was built in 1911 by Ada Holm." in done.stderr.partition("source】")[2], "the quote"
    assert "You search first" in client.beta.assistants.list().data[0].instructions


def test_a_chat_goes_on_with_what_is_different(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text(LIGHTHOUSE)
    engine.will_say("Hello.")
    engine.will_say("In 1911.")

    chat(server, "Hello!")
    second = chat(server, "-c", "-s", "Answer in one word.", "-f", tmp_path / "notes.md", stdin="And when was it built?")

    assert (second.returncode, second.stdout) == (0, "In 1911.\n")
    [assistant] = client.beta.assistants.list()
    assert (assistant.instructions, [tool.type for tool in assistant.tools]) == ("Answer in one word.", ["file_search"])
    assert len(client.beta.threads.messages.list(last_thread(server)).data) == 4


def test_what_code_made_is_saved_beside_what_is_there(server: LiveServer, engine: ScriptedEngine, sandbox: ScriptedSandbox, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("mine")
    engine.will_call("code_interpreter", "print(1)\nsave()")
    engine.will_say("I wrote out.csv.")
    sandbox.will_emit([Logs("1\n"), Image(b"\x89PNG picture", "figure.png"), FileMade("/mnt/data/out.csv", b"a,b\n")])

    done = chat(server, "Go", "--code", "--save-to", tmp_path)

    assert (done.returncode, "  print(1)\n  save()\n  > 1\n" in done.stderr, done.stdout.endswith("I wrote out.csv.\n")) == (0, True, True)
    [made] = tmp_path.glob("out-file-*.csv")
    assert (made.read_text(), (tmp_path / "out.csv").read_text()) == ("a,b\n", "mine")
    assert [path.read_bytes() for path in tmp_path.glob("*.png")] == [b"\x89PNG picture"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_is_stopped_stops_the_run_too(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI, number: signal.Signals) -> None:
    engine.will_say("Once upon").then_wait()

    with begin("chat", "Tell me a story", "--data-dir", server.data_dir) as talking:
        assert talking.stdout
        assert talking.stdout.read(4) == "Once"
        talking.send_signal(number)
        _, said = talking.communicate(timeout=30)

    assert (talking.returncode, "Traceback" in said, run_statuses(client, server)) == (130, False, ["cancelled"])


def test_a_command_in_the_background_of_a_script_can_be_stopped(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.will_say("Once upon").then_wait()
    shell = f"{' '.join(COMMAND)} chat Hello --data-dir {server.data_dir} < /dev/null & echo $!; wait $!"  # such a shell has it ignore Ctrl-C

    with subprocess.Popen(["bash", "-c", shell], stdout=subprocess.PIPE, text=True) as talking:
        assert talking.stdout
        process_id = int(talking.stdout.readline())
        assert talking.stdout.read(4) == "Once"
        os.kill(process_id, signal.SIGTERM)
        talking.wait(30)

    assert (talking.returncode, run_statuses(client, server)) == (130, ["cancelled"])


def test_a_run_that_a_killed_chat_left_behind_does_not_stop_the_next(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.will_say("Once upon").then_wait()
    engine.will_say("A time.")

    with begin("chat", "Tell me a story", "--data-dir", server.data_dir) as talking:
        assert talking.stdout
        assert talking.stdout.read(4) == "Once"
        talking.kill()
    done = chat(server, "-c", "And then?")

    assert (done.returncode, done.stdout, run_statuses(client, server)) == (0, "A time.\n", ["completed", "cancelled"])


def test_a_run_that_fails_says_why(server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_fail(EngineError("The model ran out of memory."))

    done = chat(server, "Hello")

    assert (done.returncode, done.stdout, without_waiting(done.stderr)) == (1, "", "error: The model ran out of memory.\n")


def test_a_run_that_somebody_else_cancels_says_so(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.will_say("Once upon").then_wait()

    with begin("chat", "Tell me a story", "--data-dir", server.data_dir) as talking:
        assert talking.stdout
        assert talking.stdout.read(4) == "Once"
        [run] = client.beta.threads.runs.list(last_thread(server))
        client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
        rest, said = talking.communicate(timeout=30)

    assert (talking.returncode, rest.endswith("\n"), "cancelled by somebody else" in said) == (1, True, True), (rest, said)


def test_what_ends_lines_elsewhere_is_text_like_any_other(server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_say("one\u2028two\x85three")

    assert chat(server, "Hello").stdout == "one\u2028two\x85three\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to say"),
        (("-c", "Hello"), "no chat to go on with"),
        (("Hello", "-m", "nobody"), "nobody"),
        (("Hello", "-f", "/nowhere.pdf"), "/nowhere.pdf cannot be read: No such file or directory."),
        (("Hello", "-f", "/"), "/ is a folder"),
        (("Hello", "--save-to", "/nowhere"), "/nowhere is not a folder"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(server: LiveServer, client: openai.OpenAI, arguments: tuple[str, ...], said: str) -> None:
    done = chat(server, *arguments)

    assert (done.returncode, done.stdout, done.stderr.startswith("error: "), said in done.stderr) == (1, "", True, True)
    assert (client.vector_stores.list().data, client.beta.assistants.list().data) == ([], [])


def test_documents_that_cannot_be_searched_are_named(server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"\xff\xfb")

    done = chat(server, "Hello", "-f", tmp_path / "song.mp3")

    assert (done.returncode, "song.mp3: " in done.stderr, "None of the documents can be searched." in done.stderr) == (1, True, True)


# ── On a terminal ────────────────────────────────────────────────────────────────────────────────────────────────────


class Terminal:
    """What a person at a terminal sees and types."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self.shown = ""
        self._descriptor = descriptor
        self._process = process

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, text: str, timeout_s: float = 30) -> None:
        """Until it is shown after what was waited for last."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self.shown += os.read(self._descriptor, 4096).decode(errors="replace")
        self.shown = self.shown.partition(text)[2]

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(30)


@contextmanager
def on_a_terminal(*arguments: str | Path) -> Iterator[Terminal]:
    """A command whose terminal this is, so that Ctrl-C is typed and not sent."""
    ours, theirs = pty.openpty()
    own_terminal = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", own_terminal, *COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "dumb"}
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


def test_a_conversation_outlives_an_answer_that_was_stopped(server: LiveServer, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.will_say("Once upon").then_wait()
    engine.will_say("The end.")

    with on_a_terminal("chat", "--data-dir", server.data_dir) as terminal:
        terminal.wait_for("> ")
        terminal.type("Tell me a story\n")
        terminal.wait_for("Once upon")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("> ")
        terminal.type("\nAnd then?\n")
        terminal.wait_for("The end.")
        terminal.wait_for("> ")
        terminal.type("\x04")
        ended = terminal.wait()

    assert (ended, run_statuses(client, server)) == (0, ["completed", "cancelled"])


def test_ctrl_c_at_the_prompt_ends_the_chat_at_once(server: LiveServer) -> None:
    with on_a_terminal("chat", "--data-dir", server.data_dir) as terminal:
        terminal.wait_for("> ")
        terminal.type("\x03")

        assert terminal.wait() == 130
