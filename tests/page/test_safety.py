"""What a model may write, and nothing comes of it: no script runs, no address is asked, no form is there."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer
from tests.page.conftest import Watched, address, answer, ask
from tests.page.look import Look

HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1"> <svg onload="window.hacked = 1"></svg>
<iframe src="https://evil.example/frame"></iframe><form action="https://evil.example/"><input name=a></form><style>* { display: none }</style>

![a pixel](https://evil.example/pixel.png) ![](//evil.example/b.png) ![local](/v1/files) ![data](data:image/png;base64,iVBORw0KGgo=)

[script](javascript:window.hacked=1) [data](data:text/html,<script>window.hacked=1</script>) [page](https://evil.example/page) <https://evil.example/auto> https://evil.example/bare

| <img src=x onerror=window.hacked=1> | b |
|:-:|--:|
| `<b onmouseover=window.hacked=1>` | "onclick="window.hacked=1" |

```"><script>window.hacked=1</script>
</code></pre><script>window.hacked = 1</script>
```

```python" onclick="window.hacked=1
print("</span><img src=x onerror=window.hacked=1>")
```

[reference][r] \ue0000\ue001 \ue00099\ue001

[r]: https://evil.example/reference "title\\" onclick=\\"window.hacked=1"

The end."""


def test_a_hostile_answer_is_inert(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say(HOSTILE)

    ask(ready, "Be hostile.")

    answer(ready, "The end.")
    body = ready.get_by_role("article", name="Assistant")
    assert body.locator("script, img, svg:not(.icon), iframe, form, input, style, a, [onerror], [onclick], [onload], [onmouseover], [style]").count() == 0
    for button in body.locator(".body button").all():
        button.click()
        if button.get_attribute("data-href"):
            expect(ready.get_by_role("dialog")).to_be_visible()
            ready.keyboard.press("Escape")
            expect(ready.get_by_role("dialog")).to_have_count(0)
    assert ready.evaluate("window.hacked") is None
    expect(body).to_contain_text("[image not loaded: a pixel]")


def test_an_address_of_the_model_is_shown_before_anybody_goes_there(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say("See [the manual](https://evil.example/manual?q=1).")
    ask(ready, "Where?")
    answer(ready, "See the manual.")

    ready.get_by_role("button", name="the manual").click()

    expect(ready.get_by_role("dialog")).to_contain_text("https://evil.example/manual?q=1")
    expect(ready.get_by_role("dialog")).to_contain_text("Nothing has been fetched from it.")


def test_a_user_s_text_and_a_title_are_text(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say("Yes.")

    ask(ready, '<img src=x onerror="window.hacked=1"> **not bold**')

    answer(ready, "Yes.")
    expect(ready.get_by_role("article", name="You")).to_contain_text('<img src=x onerror="window.hacked=1"> **not bold**')
    assert ready.evaluate("window.hacked") is None


def test_the_watch_over_the_page_would_see_a_request_to_another_host_and_a_breach_of_the_policy(ready: Page, watched: Watched) -> None:
    ready.evaluate("fetch('https://evil.example/').catch(() => null)")
    ready.evaluate("document.body.append(Object.assign(new Image(), { src: 'https://evil.example/pixel.png' }))")
    ready.wait_for_timeout(200)

    seen, watched.faults = watched.faults, []

    assert {"console: breach of connect-src: https://evil.example/", "console: breach of img-src: https://evil.example/pixel.png"} <= set(seen)


GROWING = """# A

Text *with* `code`.

1. one
2. two

   more of two

```py
x = 1

y = 2
```

| a | b |
|---|---|
| 1 | 2 |

> quote
> on

$$a_1
+ b_2$$ and \\(c_3\\)

- x
  - y

End
===
"""


def test_half_written_markdown_never_breaks(page: Page) -> None:
    """Every prefix of a text, drawn as a stream would, ends as the whole of it drawn at once."""
    same = page.evaluate(
        """async (text) => {
            const { render, settled } = await import("/playground/markdown.js");
            const drawn = (fragment) => { const box = document.createElement("div"); box.append(fragment); return box; };
            const grown = document.createElement("div");
            let done = "";
            for (let end = 1; end <= text.length; end += 3) {
                const rest = text.slice(done.length, end);
                const cut = settled(rest);
                if (cut) { grown.append(render(rest.slice(0, cut))); done += rest.slice(0, cut); }
                drawn(render(rest.slice(cut)));
            }
            grown.append(render(text.slice(done.length)));
            const words = (box) => box.textContent.replace(/\\s+/g, " ");
            return words(grown) === words(drawn(render(text)));
        }""",
        GROWING,
    )

    assert same


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.browser
@pytest.mark.timeout(60)
def test_where_keys_are_required_the_page_asks_for_one(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> None:
    live = LiveServer(tmp_path_factory.mktemp("keys") / "data").start()
    key = live.make_key()
    live.stop()
    live.settings["require_keys"] = True
    live.start()
    try:
        page = watched.open(address(live))
        dialog = page.get_by_role("dialog", name="API key")
        dialog.get_by_label("API key").fill("sk-wrong-and-long-enough")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("Incorrect API key provided")
        Look(page).at("32-key-prompt")
        dialog.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")

        expect(page.get_by_role("button", name="Create an assistant")).to_be_visible()
        expect(dialog).to_have_count(0)
    finally:
        live.stop()
