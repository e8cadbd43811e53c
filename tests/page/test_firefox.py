"""The main flow in Firefox: what differs between browsers is the dialog, streams, Trusted Types, pictures and the look of things."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from offline_assistants.ports import ExecutionEnded, Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.page.conftest import address
from tests.page.firefox import FirefoxPage, find_firefox, firefox
from tests.page.test_tools import LEASE, chart

pytestmark = [pytest.mark.skipif(find_firefox() is None, reason="there is no Firefox; firefox-esr is Debian's"), pytest.mark.timeout(120)]

ANSWERS = "[...document.querySelectorAll('.message.assistant')]"
IS_IDLE = "document.querySelector('.composer .primary:not(.stop)')"


@pytest.fixture
def page(server: LiveServer, key: str, tmp_path: Path) -> Iterator[FirefoxPage]:
    with firefox(tmp_path) as opened:
        opened.open(address(server))
        opened.evaluate(f"sessionStorage.setItem('offline-assistants-key', '{key}')")
        opened.open(address(server))
        yield opened
        assert [url for url in opened.asked if not url.startswith((address(server), "blob:"))] == []
        assert opened.log == []


def keep(page: FirefoxPage, name: str) -> None:
    if folder := os.environ.get("OFFLINE_ASSISTANTS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.keep_picture(Path(folder) / name)


def ask(page: FirefoxPage, text: str) -> None:
    page.click("#message")
    page.type(text)
    page.press("Control", "Enter")


def test_the_main_flow_works_in_firefox(page: FirefoxPage, client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, tmp_path: Path) -> None:
    (tmp_path / "lease.md").write_text(LEASE)
    page.click(".empty.small .primary")
    page.click(".switch input")
    page.wait_for("document.querySelector('.add-files input')")
    page.choose_files(".add-files input", [tmp_path / "lease.md"])
    page.wait_for("document.querySelector('.file-place .file-list .completed')")
    page.click(".tool-row.switch:nth-of-type(2) input, .file-place + .switch input")
    page.wait_for("document.querySelectorAll('.file-place').length == 2")

    engine.will_call("file_search", json.dumps({"query": "when the lease ends"}))
    engine.will_say("The lease ends on the last day of March 2031.\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nprint(1)\n```")
    ask(page, "When does the lease end?")
    page.wait_for(f"{ANSWERS}.at(-1)?.innerText.includes('March 2031') && {IS_IDLE}")
    keep(page, "firefox-answer.png")
    page.click(".note.cite")
    page.wait_for("document.querySelector('dialog[open] mark')?.textContent.includes('The lease ends')")
    keep(page, "firefox-source.png")
    page.press("Escape")
    page.wait_for("!document.querySelector('dialog')")

    sandbox.will_emit([Logs("21 trees\n"), Image(chart(), "chart.png"), ExecutionEnded("ok")])
    engine.will_call("code_interpreter", "print(len(trees), 'trees')")
    engine.will_say("There are 21 trees.")
    ask(page, "How many trees?")
    page.wait_for(f"{ANSWERS}.at(-1)?.innerText.includes('21 trees') && {ANSWERS}.at(-1).querySelector('img')?.naturalWidth && {IS_IDLE}")
    keep(page, "firefox-code.png")

    engine.will_say("Once upon a ").then_wait()
    ask(page, "A story.")
    page.wait_for(f"{ANSWERS}.at(-1)?.textContent.includes('Once upon')")
    page.wait_for(f"{ANSWERS}.at(-1).getBoundingClientRect().bottom < innerHeight")
    page.press("Escape")
    page.wait_for("document.querySelector('.run-state.cancelled')")
    page.press("Alt", "n")
    page.wait_for("document.querySelector('.conversation h2').textContent == 'New thread'")

    [thread] = client.get("/threads", cast_to=object)["data"]  # type: ignore[index]
    assert len(client.beta.threads.messages.list(thread["id"]).data) == 6
