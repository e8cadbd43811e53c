"""How fast the page is where it would be slow: long answers that stream, long threads."""

from __future__ import annotations

import openai
from playwright.sync_api import CDPSession, Page, expect

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.page.conftest import answer, ask

PARAGRAPH = "A sentence with **bold** words, `code` and [links](https://example.org) in it.\n\n- one\n- two\n\n```python\nprint('some code')\n```\n\n"
WATCH_FRAMES = """() => {
    window.frames_ms = [];
    let before = performance.now();
    const next = (now) => { window.frames_ms.push(now - before); before = now; requestAnimationFrame(next); };
    requestAnimationFrame(next);
}"""


def busy_s(session: CDPSession) -> float:
    """Seconds that the page's main thread has worked."""
    return next(each["value"] for each in session.send("Performance.getMetrics")["metrics"] if each["name"] == "TaskDuration")


def test_a_long_answer_is_drawn_every_30_ms_at_most_and_costs_what_it_adds(ready: Page, engine: ScriptedEngine) -> None:
    """Bounds with room for a busy machine; `scripts/bench page` measures."""
    text = PARAGRAPH * 56  # 1,000 words and more
    engine.word_delay_s = 0.003
    engine.will_say(text + "The end.")
    session = ready.context.new_cdp_session(ready)
    session.send("Performance.enable")
    ready.evaluate(WATCH_FRAMES)
    before = busy_s(session)

    ask(ready, "Go on for long.")
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("The end.", timeout=30_000)

    assert busy_s(session) - before < 8
    frames: list[float] = sorted(ready.evaluate("window.frames_ms"))
    assert frames[int(len(frames) * 0.9)] < 250
    expect(ready.get_by_text("The end.")).to_be_in_viewport()


def test_a_thread_with_2_000_messages_opens_at_once_and_scrolls_back(ready: Page, client: openai.OpenAI) -> None:
    client.beta.threads.create(
        messages=[{"role": "user" if number % 2 else "assistant", "content": f"Message {number}.\n\n{PARAGRAPH}"} for number in range(2000)],
        metadata={"title": "Long"},
    )
    ready.reload()

    ready.get_by_role("button", name="Long").first.click()

    expect(ready.get_by_text("Message 1999.")).to_be_in_viewport()
    assert ready.get_by_role("article").count() == 50
    for _ in range(100):  # what is asked for at the top comes above what is read
        ready.locator(".messages").evaluate("(list) => { list.scrollTop = 0 }")
        if ready.locator("article").count() >= 450:
            break
        ready.wait_for_timeout(200)
    expect(ready.get_by_text("Message 1600.")).to_have_count(1)
    ready.get_by_role("button", name="To the newest message").click()
    expect(ready.get_by_text("Message 1999.")).to_be_in_viewport()


def test_what_is_read_stays_in_place_while_an_answer_grows(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say(PARAGRAPH * 12 + "The end.")
    ask(ready, "First.")
    answer(ready, "The end.")
    ready.locator(".messages").evaluate("(list) => { list.scrollTop = 0 }")
    expect(ready.get_by_role("button", name="To the newest message")).to_be_visible()

    engine.will_say(PARAGRAPH * 12 + "Another end.")
    ask(ready, "Second.")
    answer(ready, "Another end.")

    expect(ready.get_by_text("First.", exact=True).last).to_be_in_viewport()
