"""A browser, a server, and a page that may speak to nobody else: every other host that it asks, every script error and every breach of its policy fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from offline_assistants.outbound import OutboundAttempts
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.conftest import find_chromium

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
EXPECT_TIMEOUT_MS = 15_000
"""Of a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all tests here, and gone after them: it keeps an event loop in the thread of the tests."""
    expect.set_options(timeout=EXPECT_TIMEOUT_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def outbound() -> Iterator[OutboundAttempts]:
    watching = OutboundAttempts().watch()
    yield watching
    watching.stop()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, outbound: OutboundAttempts) -> Iterator[LiveServer]:
    """One for all tests here: each has a project of its own."""
    live = LiveServer(tmp_path_factory.mktemp("page") / "data", outbound=outbound).start()
    yield live
    live.engine.release()
    live.stop()


@pytest.fixture
def key(server: LiveServer, request: pytest.FixtureRequest) -> str:
    """Of a new project."""
    return server.make_key(f"p{abs(hash(request.node.nodeid))}")


def address(server: LiveServer) -> str:
    return server.url.removesuffix("/v1")


@pytest.fixture
def engine(server: LiveServer) -> Iterator[ScriptedEngine]:
    """As if it were new."""
    server.engine.__init__()
    yield server.engine
    server.engine.release()


@pytest.fixture
def sandbox(server: LiveServer) -> ScriptedSandbox:
    """As if it were new."""
    server.sandbox.__init__()
    return server.sandbox


@pytest.fixture
def client(server: LiveServer, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=key, max_retries=0, timeout=15) as sdk:
        yield sdk


REPORT_BREACHES = "addEventListener('securitypolicyviolation', (event) => console.error(`breach of ${event.effectiveDirective}: ${event.blockedURI}`))"


@dataclass
class Watched:
    """A browser context whose pages are watched."""

    context: BrowserContext
    faults: list[str] = field(default_factory=list)

    def open(self, url: str) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self._look(request, url))
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.goto(url)
        return page

    def _look(self, request: Request, url: str) -> None:
        if not request.url.startswith((url, "blob:")):
            self.faults.append(f"asked another host: {request.url}")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # an answer of the API that says no
            self.faults.append(f"console: {message.text}")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", reduced_motion="reduce")
    context.set_default_timeout(EXPECT_TIMEOUT_MS)
    context.add_init_script(REPORT_BREACHES)
    watching = Watched(context)
    yield watching
    context.close()
    assert watching.faults == []


@pytest.fixture
def open_page(watched: Watched, server: LiveServer, engine: ScriptedEngine, key: str) -> Callable[[], Page]:
    """Opens the page again, as in another tab."""
    watched.context.add_init_script(f"sessionStorage.setItem('offline-assistants-key', '{key}')")

    def open_again() -> Page:
        page = watched.open(address(server))
        expect(page.get_by_role("button", name="Network: ")).not_to_have_text("Network: not watched")
        return page

    return open_again


@pytest.fixture
def page(open_page: Callable[[], Page]) -> Page:
    """The page as somebody meets it who was never here."""
    return open_page()


@pytest.fixture
def ready(page: Page) -> Page:
    """The same with an assistant."""
    page.get_by_role("button", name="Create an assistant").click()
    expect(page.get_by_label("Instructions")).to_have_value("You are a helpful assistant.")
    return page


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Control+Enter")


def answer(page: Page, text: str) -> None:
    """Waits for an answer with this text, and for the end of its run."""
    expect(page.get_by_role("article", name="Assistant").last).to_contain_text(text)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()
