"""How a state of the page is looked at: by axe, by its width, and by people, for whom OFFLINE_ASSISTANTS_SCREENSHOTS=FOLDER keeps pictures."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.page.conftest import DESKTOP, PHONE

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


class Look:
    """Looks at a page in three shapes."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._folder = os.environ.get("OFFLINE_ASSISTANTS_SCREENSHOTS")
        page.evaluate(AXE)

    def at(self, state: str) -> None:
        """Checks it in light and dark, and its width on a phone."""
        for scheme in ("light", "dark"):
            self._page.emulate_media(color_scheme=scheme)
            self._keep(f"{state}-{scheme}")
            self._check(f"{state}, {scheme}")
        self._page.set_viewport_size(PHONE)
        self._keep(f"{state}-phone")
        self._check(f"{state}, phone")
        assert self._page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} is wider than a phone"
        self._page.set_viewport_size(DESKTOP)
        self._page.emulate_media(color_scheme="light")

    def _keep(self, name: str) -> None:
        if self._folder:
            self._page.wait_for_timeout(200)
            self._page.screenshot(path=Path(self._folder) / f"{name}.png")

    def _check(self, where: str) -> None:
        result: Any = self._page.evaluate("(rules) => axe.run(document, rules)", RULES)
        found = [f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for each in result["violations"] for node in each["nodes"]]
        assert found == [], where
