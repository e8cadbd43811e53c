"""Threads and messages in the page: written, streamed, stopped, changed, exported."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest
from playwright.sync_api import Page, expect

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
