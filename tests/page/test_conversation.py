"""Threads and messages in the page: written, streamed, stopped, changed, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Page, expect

from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.page.conftest import answer, ask


def test_an_answer_streams_in(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.will_say("Hello, ").then_wait().then_say("world.")

    ask(ready, "Who is there?")

    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("Hello,")
    expect(ready.get_by_role("button", name="Stop")).to_be_enabled()
    engine.release()
    answer(ready, "Hello, world.")
    [thread] = client.get("/threads", cast_to=object)["data"]  # type: ignore[index]
    assert thread["metadata"] == {"title": "Who is there?"}


@pytest.mark.parametrize("way", ["button", "key"])
def test_a_run_is_stopped(way: str, ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say("Once upon a ").then_wait()
    ask(ready, "Tell me a story.")
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("Once upon a")

    if way == "button":
        ready.get_by_role("button", name="Stop").click()
    else:
        ready.keyboard.press("Escape")

    expect(ready.get_by_text("Stopped.")).to_be_visible()
    expect(ready.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("not complete")


def test_a_message_is_added_without_running(ready: Page, engine: ScriptedEngine) -> None:
    ready.get_by_label("Message", exact=True).fill("First this.")
    ready.keyboard.press("Control+Shift+Enter")
    expect(ready.get_by_role("article", name="You")).to_have_count(1)
    expect(ready.get_by_role("button", name="Run", exact=True)).to_be_enabled()

    engine.will_say("Both, then.")
    ask(ready, "Then that.")

    answer(ready, "Both, then.")
    expect(ready.get_by_role("article", name="You")).to_have_count(2)
    assert len(engine.chats) == 1


def test_a_run_that_is_under_way_is_followed_after_a_reload(ready: Page, engine: ScriptedEngine, open_page: Callable[[], Page]) -> None:
    engine.will_say("One, ").then_wait().then_say("two.")
    ask(ready, "Count.")
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("One,")

    other = open_page()
    other.get_by_role("button", name="Count.").first.click()
    expect(other.get_by_role("button", name="Stop")).to_be_visible()
    engine.release()

    answer(other, "One, two.")


def test_a_thread_is_kept_and_found_renamed_and_deleted(ready: Page, engine: ScriptedEngine, open_page: Callable[[], Page]) -> None:
    engine.will_say("In March.")
    ask(ready, "When does the lease end?")
    answer(ready, "In March.")
    engine.will_say("Blue.")
    ready.keyboard.press("Alt+n")
    ask(ready, "Which colour?")
    answer(ready, "Blue.")

    again = open_page()
    rail = again.get_by_role("navigation", name="Threads")
    rail.get_by_label("Search threads").fill("lease")
    expect(rail.get_by_role("listitem")).to_have_count(1)
    rail.get_by_role("button", name="When does", exact=False).first.click()
    answer(again, "In March.")
    rail.get_by_role("button", name="Rename").click()
    again.get_by_label("Title of the thread").fill("The lease")
    again.keyboard.press("Enter")
    expect(again.get_by_role("heading", name="The lease")).to_be_visible()
    rail.get_by_role("button", name="Delete The lease").click()
    again.get_by_role("button", name="Delete", exact=True).click()

    expect(rail.get_by_text("No thread is called that.")).to_be_visible()
    expect(again.get_by_role("heading", name="New thread")).to_be_visible()


def test_a_message_is_edited_and_sent_again(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    for question, said in (("One?", "1"), ("Two?", "2")):
        engine.will_say(said)
        ask(ready, question)
        answer(ready, said)
    engine.will_say("Three, then.")

    ready.get_by_role("article", name="You").last.hover()
    ready.get_by_label("Message", exact=True).focus()
    ready.keyboard.press("ArrowUp")
    ready.get_by_label("Edit the message").fill("Three?")
    ready.keyboard.press("Control+Enter")

    answer(ready, "Three, then.")
    [thread] = client.get("/threads", cast_to=object)["data"]  # type: ignore[index]
    kept = [each.content[0].text.value for each in client.beta.threads.messages.list(thread["id"], order="asc").data]
    assert kept == ["One?", "1", "Three?", "Three, then."]


def test_an_answer_is_asked_for_again(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say("Bad.")
    engine.will_say("Better.")
    ask(ready, "Well?")
    answer(ready, "Bad.")

    ready.get_by_role("button", name="Answer again").click()

    answer(ready, "Better.")
    expect(ready.get_by_role("article", name="Assistant")).to_have_count(1)


def test_a_run_that_failed_says_why_and_is_tried_again(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_fail(OfflineAssistantsError("The model has stopped."))
    engine.will_say("Here I am.")
    ask(ready, "Hello?")
    expect(ready.get_by_text("The run failed: ")).to_be_visible()

    ready.get_by_role("button", name="Try again").click()

    answer(ready, "Here I am.")


@pytest.mark.parametrize(("words", "kind", "inside"), [("Markdown", "md", "## User\n\nWho?"), ("JSON", "json", '"object": "thread.message"')])
def test_a_thread_is_exported(words: str, kind: str, inside: str, ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say("Me.")
    ask(ready, "Who?")
    answer(ready, "Me.")
    ready.get_by_label("Export the thread").click()

    with ready.expect_download() as download:
        ready.get_by_role("button", name=f"Export as {words}").click()

    assert download.value.suggested_filename == f"Who.{kind}"
    assert inside in Path(download.value.path()).read_text()


def test_everything_is_done_by_the_keyboard_alone(page: Page, engine: ScriptedEngine) -> None:
    """From an empty page to an answer, its run, another thread and back, without a pointer."""
    press = page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(60):
            press("Tab")
            if name in page.evaluate("`${document.activeElement.ariaLabel} ${document.activeElement.textContent}`"):
                return
        raise AssertionError(f"Tab never comes to {name}")

    tab_to("Create an assistant")
    press("Enter")
    expect(page.get_by_label("Instructions")).to_be_visible()
    press("/")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    engine.will_say("Good day.")
    page.keyboard.type("Good day?")
    press("Control+Enter")
    answer(page, "Good day.")
    press("Alt+t")
    expect(page.get_by_role("dialog").get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("good")
    press("Tab")
    press("Tab")
    press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    press("Alt+n")
    expect(page.get_by_role("heading", name="New thread")).to_be_visible()
    press("Alt+1")
    page.get_by_label("Code interpreter").first.focus()
    press("Space")
    expect(page.get_by_label("Code interpreter").first).to_be_checked()
    press("Escape")
    press("Alt+z")
    expect(page.get_by_label("Code interpreter").first).not_to_be_checked()
    page.locator("body").press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_files_that_are_dropped_on_the_conversation_are_attached(ready: Page) -> None:
    ready.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["Remember the milk."], "notes.md"));
            document.querySelector(".conversation").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }"""
    )

    attached = ready.get_by_role("list", name="Attached files")
    expect(attached.get_by_label("What notes.md is for")).to_be_visible()
    attached.get_by_role("button", name="Do not send notes.md").click()
    expect(attached).to_have_count(0)
