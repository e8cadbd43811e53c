"""What overlaps in the page: threads that are left while something is sent to them, clicks that come twice, calls that fail in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.sync_api import Page, Request, Route, expect

from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.page.conftest import answer, ask
from tests.page.test_tools import add_function

NOTE_EMPTY_ANSWERS = """() => {
    window.empty_answers = 0;
    const look = () => {
        const shown = document.querySelector("article.assistant .body");
        if (!shown?.textContent.includes("Once upon a")) window.empty_answers += 1;
    };
    new MutationObserver(look).observe(document.querySelector(".messages"), { childList: true, subtree: true, characterData: true });
}"""


def hold(page: Page, url: str, method: str, action: Callable[[], None]) -> Route:
    """Does what sends such a request, and holds the first one until its route goes on."""
    held: list[Route] = []
    page.route(url, lambda route: held.append(route) if route.request.method == method and not held else route.fallback())
    action()
    while not held:
        page.wait_for_timeout(20)
    return held[0]


def texts(client: openai.OpenAI, title: str) -> list[str]:
    threads: Any = client.get("/threads", cast_to=object)
    [thread_id] = [each["id"] for each in threads["data"] if each["metadata"].get("title") == title]
    return [each.content[0].text.value for each in client.beta.threads.messages.list(thread_id, order="asc").data]  # type: ignore[union-attr]


def thread(page: Page, title: str) -> Any:
    return page.get_by_role("navigation", name="Threads").get_by_role("button", name=title, exact=False).first


def talk(page: Page, engine: ScriptedEngine, question: str, said: str) -> None:
    engine.will_say(said)
    ask(page, question)
    answer(page, said)


@pytest.fixture
def telling(ready: Page, engine: ScriptedEngine) -> Page:
    """In the middle of an answer."""
    engine.will_say("Once upon a ").then_wait().then_say("time.")
    ask(ready, "Tell me a story.")
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("Once upon a")
    expect(thread(ready, "Tell me a story.")).to_be_visible()
    return ready


def test_another_thread_can_be_used_while_an_answer_streams_which_is_whole_when_one_comes_back(telling: Page, engine: ScriptedEngine) -> None:
    telling.get_by_role("button", name="New thread").click()
    talk(telling, engine, "And you?", "Hello.")

    thread(telling, "Tell me a story.").click()

    expect(telling.get_by_role("article", name="Assistant")).to_contain_text("Once upon a")
    telling.evaluate(NOTE_EMPTY_ANSWERS)
    expect(telling.get_by_role("button", name="Stop", exact=True)).to_be_enabled()
    engine.release()
    answer(telling, "Once upon a time.")
    assert telling.evaluate("window.empty_answers") == 0


def test_a_click_on_the_thread_that_is_shown_leaves_its_answer_alone(telling: Page, engine: ScriptedEngine) -> None:
    telling.evaluate(NOTE_EMPTY_ANSWERS)

    thread(telling, "Tell me a story.").click()
    engine.release()

    answer(telling, "Once upon a time.")
    assert telling.evaluate("window.empty_answers") == 0


def test_an_edited_message_stays_in_its_thread_when_another_is_opened_meanwhile(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    talk(ready, engine, "In A", "A's answer")
    ready.get_by_role("button", name="New thread").click()
    talk(ready, engine, "In B", "B's answer")
    expect(thread(ready, "In B")).to_be_visible()
    engine.will_say("B's other answer")
    ready.get_by_role("button", name="Edit and send again").click()
    ready.get_by_label("Edit the message").fill("Changed in B")

    request = hold(ready, "**/v1/threads/*/messages/*", "DELETE", lambda: ready.keyboard.press("Control+Enter"))
    thread(ready, "In A").click()
    answer(ready, "A's answer")
    request.continue_()
    thread(ready, "In B").click()

    answer(ready, "B's other answer")
    assert texts(client, "In A") == ["In A", "A's answer"]
    assert texts(client, "In B") == ["Changed in B", "B's other answer"]
    expect(ready.get_by_role("article")).to_have_count(2)


def test_a_message_that_is_sent_lands_where_it_was_written(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    talk(ready, engine, "In A", "A's answer")
    engine.will_say("A's second answer")

    request = hold(ready, "**/v1/threads/*/messages", "POST", lambda: ask(ready, "Again in A"))
    ready.get_by_role("button", name="New thread").click()
    request.continue_()
    thread(ready, "In A").click()

    answer(ready, "A's second answer")
    assert texts(client, "In A") == ["In A", "A's answer", "Again in A", "A's second answer"]


def test_an_edited_text_is_kept_when_it_can_not_be_sent(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    talk(ready, engine, "First", "Answer")
    ready.route("**/v1/threads/*/messages", lambda route: route.fulfill(status=500, json={"error": {"message": "The disk is full."}}))
    ready.get_by_role("button", name="Edit and send again").click()
    ready.get_by_label("Edit the message").fill("A long thought")

    ready.keyboard.press("Control+Enter")

    expect(ready.get_by_text("The disk is full.")).to_be_visible()
    expect(ready.get_by_label("Edit the message")).to_have_value("A long thought")
    assert texts(client, "First") == ["First", "Answer"]


def test_what_was_typed_while_the_server_was_away_is_saved_when_it_is_back(ready: Page, client: openai.OpenAI) -> None:
    ready.route("**/v1/assistants/*", lambda route: route.abort())
    ready.get_by_label("Instructions").fill("What took an hour")
    expect(ready.get_by_text("Not saved")).to_be_visible()

    ready.unroute("**/v1/assistants/*")
    ready.get_by_label("Name").fill("Patience")

    expect(ready.get_by_text("Saved", exact=True)).to_be_visible()
    expect(ready.get_by_label("Instructions")).to_have_value("What took an hour")
    [assistant] = client.beta.assistants.list().data
    assert (assistant.name, assistant.instructions) == ("Patience", "What took an hour")


def test_nothing_runs_with_settings_that_are_not_saved(ready: Page, engine: ScriptedEngine) -> None:
    ready.route("**/v1/assistants/*", lambda route: route.fulfill(status=400, json={"error": {"message": "Too long."}}))
    ready.get_by_label("Instructions").fill("Very long")

    ask(ready, "Hello?")

    expect(ready.get_by_text("The assistant's last change is not saved: Too long.")).to_be_visible()
    assert engine.chats == []


def test_escape_closes_a_menu_or_empties_the_search_and_stops_no_run(telling: Page, engine: ScriptedEngine) -> None:
    telling.get_by_label("Export the thread").click()
    expect(telling.get_by_role("button", name="Export as JSON")).to_be_visible()

    telling.keyboard.press("Escape")
    expect(telling.get_by_role("button", name="Export as JSON")).to_be_hidden()
    telling.get_by_label("Search threads").fill("story")
    telling.keyboard.press("Escape")
    expect(telling.get_by_label("Search threads")).to_have_value("")

    engine.release()
    answer(telling, "Once upon a time.")


def test_a_second_click_on_try_again_does_nothing(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_fail(OfflineAssistantsError("The model has stopped."))
    engine.will_say("Here I am.")
    ask(ready, "Hello?")

    ready.get_by_role("button", name="Try again").evaluate("(button) => { button.click(); button.click(); }")

    answer(ready, "Here I am.")
    expect(ready.locator(".notice")).to_have_count(0)
    assert len(engine.chats) == 2


def test_an_upload_goes_to_the_assistant_that_it_was_dropped_on(ready: Page, client: openai.OpenAI, tmp_path: Path) -> None:
    (tmp_path / "lease.md").write_text("It ends in March.")
    ready.get_by_label("Name").fill("First")
    ready.get_by_label("File search").first.check()
    expect(ready.get_by_text("Saved", exact=True)).to_be_visible()

    upload = hold(ready, "**/v1/files", "POST", lambda: ready.get_by_label("Add files for file search").set_input_files([tmp_path / "lease.md"]))
    ready.get_by_role("button", name="Create an assistant").click()
    expect(ready.get_by_label("Name")).to_have_value("New assistant")

    def is_added(request: Request) -> bool:
        return request.method == "POST" and "/v1/vector_stores/" in request.url

    with ready.expect_request_finished(is_added):
        upload.continue_()
    second, first = client.beta.assistants.list().data
    assert first.tool_resources.file_search.vector_store_ids  # type: ignore[union-attr]
    assert not (second.tool_resources and second.tool_resources.file_search)


def test_the_speed_of_an_answer_leaves_out_the_time_that_a_person_thought(ready: Page, engine: ScriptedEngine) -> None:
    add_function(ready, "weather")
    engine.word_delay_s = 0.02
    engine.will_call("weather", '{"city": "Lisbon"}')
    engine.will_say("It is sunny in Lisbon today, and it stays so until the weekend.")
    ask(ready, "Weather?")
    expect(ready.get_by_label("Output of weather")).to_be_visible()

    ready.evaluate("() => { const now = performance.now.bind(performance); performance.now = () => now() + 600_000; }")  # ten minutes pass
    ready.get_by_label("Output of weather").fill("sunny")
    ready.get_by_role("button", name="Submit").click()

    answer(ready, "It is sunny")
    rate = ready.locator(".figures").get_by_text("per second").inner_text()
    assert float(rate.split()[0]) > 0.5


def test_undo_goes_by_what_is_written_on_the_key(ready: Page) -> None:
    ready.get_by_label("Name").fill("Lawyer")

    ready.evaluate("() => dispatchEvent(new KeyboardEvent('keydown', { key: 'z', code: 'KeyY', altKey: true }))")

    expect(ready.get_by_label("Name")).to_have_value("New assistant")


def test_a_thread_that_is_begun_while_the_page_starts_stays(ready: Page, engine: ScriptedEngine) -> None:
    threads = hold(ready, "**/v1/threads?*", "GET", ready.reload)
    expect(ready.get_by_label("Instructions")).to_be_visible()

    talk(ready, engine, "Early", "The worm.")
    threads.fulfill(json={"data": [], "has_more": False})  # as it was before

    expect(ready.get_by_role("button", name="Network: ")).not_to_have_text("Network: not watched")  # the page has started
    expect(thread(ready, "Early")).to_be_visible()
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("The worm.")


def test_a_quiet_look_at_the_network_asks_for_no_key(ready: Page) -> None:
    ready.route("**/v1/network_attempts", lambda route: route.fulfill(status=401, json={"error": {"message": "No."}}))

    with ready.expect_response("**/v1/network_attempts"):
        ready.reload()

    expect(ready.get_by_label("Instructions")).to_be_visible()
    expect(ready.get_by_role("dialog")).to_have_count(0)


def refuse_once(page: Page, url: str) -> None:
    """The server wants another key, for one call."""
    page.route(url, lambda route: route.fulfill(status=401, json={"error": {"message": "This key was revoked."}}), times=1)


def test_a_key_is_asked_for_above_what_is_open_which_stays_as_it_is(ready: Page, key: str) -> None:
    ready.get_by_role("region", name="Assistant", exact=True).get_by_role("button", name="Add", exact=True).click()
    function = ready.get_by_role("dialog", name="Function")
    function.get_by_label("Definition as JSON").fill('{"name": "weather"}')
    refuse_once(ready, "**/v1/threads")
    ready.evaluate("() => sessionStorage.setItem('offline-assistants-key', 'revoked')")
    ready.evaluate("() => import('/playground/api.js').then(({ post }) => void post('/v1/threads', {}))")  # as from a call that was under way

    asking = ready.get_by_role("dialog", name="API key")
    expect(asking.get_by_text("This key was revoked.")).to_be_visible()
    asking.get_by_label("API key").fill(key)
    with ready.expect_response(lambda response: response.url.endswith("/v1/threads") and response.status == 200):
        ready.keyboard.press("Enter")

    expect(asking).to_have_count(0)
    expect(function.get_by_label("Definition as JSON")).to_have_value('{"name": "weather"}')


def test_an_edited_text_that_can_not_be_sent_is_there_when_one_comes_back_to_its_thread(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    talk(ready, engine, "In A", "A's answer")
    ready.get_by_role("button", name="New thread").click()
    talk(ready, engine, "In B", "B's answer")
    ready.get_by_role("button", name="Edit and send again").click()
    ready.get_by_label("Edit the message").fill("A long thought")

    request = hold(ready, "**/v1/threads/*/messages", "POST", lambda: ready.keyboard.press("Control+Enter"))
    thread(ready, "In A").click()
    answer(ready, "A's answer")
    request.fulfill(status=500, json={"error": {"message": "The disk is full."}})
    expect(ready.get_by_text("The disk is full.")).to_be_visible()
    expect(ready.get_by_label("Edit the message")).to_have_count(0)
    thread(ready, "In B").click()

    expect(ready.get_by_label("Edit the message")).to_have_value("A long thought")
    ready.get_by_role("button", name="Cancel").click()
    thread(ready, "In A").click()
    answer(ready, "A's answer")
    thread(ready, "In B").click()
    answer(ready, "B's answer")
    expect(ready.get_by_label("Edit the message")).to_have_count(0)
    assert texts(client, "In B") == ["In B", "B's answer"]


def test_what_was_typed_last_is_saved_when_the_page_is_left(ready: Page, client: openai.OpenAI) -> None:
    first = hold(ready, "**/v1/assistants/*", "POST", lambda: ready.get_by_label("Name").fill("First"))  # under way, and more waits behind it
    ready.get_by_label("Instructions").fill("What took an hour")

    ready.goto(f"{ready.url}playground/icon.svg")
    first.abort()

    def saved() -> str | None:
        [assistant] = client.beta.assistants.list().data
        return assistant.instructions

    for _ in range(100):
        if saved() == "What took an hour":
            break
        ready.wait_for_timeout(50)
    assert saved() == "What took an hour"


def test_the_keys_of_one_character_can_be_turned_off_for_good(ready: Page) -> None:
    ready.locator("body").press("?")
    ready.get_by_role("switch", name="Use the keys / and ?").uncheck()
    ready.keyboard.press("Escape")
    expect(ready.locator("dialog")).to_have_count(0)  # gone, not only closed

    for _ in range(2):  # also after the page is loaded again
        ready.get_by_role("heading", name="offline-assistants").click()
        ready.keyboard.press("?")
        ready.keyboard.press("/")
        expect(ready.get_by_role("dialog")).to_have_count(0)
        expect(ready.get_by_label("Message", exact=True)).not_to_be_focused()
        ready.reload()
        expect(ready.get_by_label("Instructions")).to_be_visible()

    ready.get_by_role("button", name="Keyboard shortcuts").click()
    ready.get_by_role("switch", name="Use the keys / and ?").check()
    ready.keyboard.press("Escape")
    expect(ready.locator("dialog")).to_have_count(0)  # gone, not only closed
    ready.keyboard.press("/")
    expect(ready.get_by_label("Message", exact=True)).to_be_focused()
