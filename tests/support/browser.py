"""Headless Chromium for tests of pages, and what every page must hold to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = {"phone": (400, 800), "desktop": (1280, 900)}
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@contextmanager
def started_browser() -> Iterator[Any]:
    """A browser of Playwright; the test is skipped without Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        # The sandbox of Chromium does not start as root, and the pages are our own.
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def listened_page(browser: Any, screen: str, scheme: str, own: tuple[str, ...]) -> tuple[Any, list[str]]:
    """A page, and a list that fills with what its console says and with requests that do not begin with `own`."""
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(own) else told.append(one.url))
    return page, told


def assert_fits_and_is_accessible(page: Any, screen: str) -> None:
    """Nothing lies beyond the edge of the screen, and axe finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen][0]
    violations = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []
