"""The page in headless Chromium: a person searches titles, rates two films and sees ten items, on any screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import (
    SCREENS,
    assert_fits_and_is_accessible,
    listened_page,
    needs_chromium,
    started_browser,
)
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset
from tests.support.serving import RunningServer, running_server

pytest.importorskip("fastapi")

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("page")
    dataset = small_dataset(root / "dataset")
    write_merged(mf_run(dataset), dataset, root / "model")
    with running_server(root / "model", root / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_search_rate_two_films_and_see_ten_items(screen: str, scheme: str, server: RunningServer, browser: Any):
    page, told = listened_page(browser, screen, scheme, (server.url, "data:"))

    page.goto(server.url)
    for title, rating in (("Film 13", "5"), ("Film 21", "1")):
        page.get_by_label("Words of a title").fill(title)
        page.get_by_role("button", name="Search").click()
        page.locator("#found").get_by_label(f"Rating of {title}", exact=True).select_option(rating)
    page.get_by_text("After 2 ratings").wait_for()

    listed = page.locator("#list .name").all_inner_texts()
    assert len(set(listed)) == 10
    assert not {"Film 13", "Film 21"} & set(listed)
    assert re.search(r"±[\d.]+ on average, ±[\d.]+ for the same items before", page.locator("#sure").inner_text())
    assert "(was ±" in page.locator("#list li").first.inner_text()
    assert_fits_and_is_accessible(page, screen)
    assert told == []
    page.close()


def test_a_removed_rating_counts_no_longer_and_the_keyboard_goes_on(server: RunningServer, browser: Any):
    page = browser.new_page()
    page.goto(server.url)
    first = page.locator("#list .name").first
    first.wait_for()
    without = page.locator("#list .name").all_inner_texts()
    page.get_by_label("Words of a title").fill("Film 13")
    page.keyboard.press("Enter")
    page.locator("#found select").first.select_option("5")
    page.get_by_text("After 1 rating").wait_for()

    page.get_by_role("button", name="Remove Film 13").click()
    page.get_by_text("Without ratings: ").wait_for()

    assert page.locator("#list .name").all_inner_texts() == without
    assert page.locator("#found select").first.input_value() == ""
    assert page.evaluate("document.activeElement.id") == "words"
    page.close()


def test_what_is_wrong_is_said_on_the_page(server: RunningServer, browser: Any):
    page = browser.new_page()
    page.route("**/items?*", lambda route: route.fulfill(status=503, json={"message": "too many requests wait"}))
    page.goto(server.url)
    page.get_by_label("Words of a title").fill("Film")
    page.keyboard.press("Enter")

    page.get_by_role("alert").filter(has_text="too many requests wait").wait_for()
    page.close()
