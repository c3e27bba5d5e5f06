"""The pages in headless Chromium: nothing in the console, nothing beyond the edge, readable for everyone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys_dist import load_model
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.world import World
from recsys_dist.merging import merge
from recsys_dist.report.report import write_comparison, write_dataset_page, write_report
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import train
from tests.support.browser import (
    SCREENS,
    assert_fits_and_is_accessible,
    listened_page,
    needs_chromium,
    started_browser,
)
from tests.support.prepared import small_dataset

PAGES = ("run", "comparison", "dataset")

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one page of each kind."""
    root = tmp_path_factory.mktemp("pages")
    small_dataset(root / "dataset")
    for factors in (2, 3):
        tree = {"dataset": str(root / "dataset"), "run_dir": str(root / f"run{factors}"), "device": "cpu"}
        model = {"kind": "mf", "factors": factors, "noise": "shared"}
        train(TrainConfig.model_validate({**tree, "model": model, "training": {"epochs": 30}}), World.single())
    merge(str(root / "run2"), str(root / "model"))
    load_model(str(root / "model")).evaluate(str(root / "dataset")).write(root / "report.json")
    write_report(str(root / "run2"), root / "run.html", root / "report.json", model_dir=str(root / "model"))
    write_comparison([str(root / "run2"), str(root / "run3")], root / "comparison.html", [root / "report.json"])
    write_dataset_page(Dataset.open(str(root / "dataset")), root / "dataset.html")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_readable(name: str, screen: str, scheme: str, pages: Path, browser: Any) -> None:
    page, told = listened_page(browser, screen, scheme, ("file:",))

    page.goto((pages / f"{name}.html").as_uri())

    assert told == []
    assert_fits_and_is_accessible(page, screen)
    # Text in figures is as large on a phone as on a desktop.
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect()).filter(b => b.width > 0)"
        ".map(b => Math.min(b.height, b.width / 0.4))"
    )
    assert sizes
    assert min(sizes) >= 9
    page.close()


def test_a_printed_page_shows_every_figure_once_on_white(pages: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.goto((pages / "run.html").as_uri())
    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown = page.evaluate(
        "[...document.querySelectorAll('figure')].map(f => [...f.children].filter(c => c.offsetHeight > 0).length)"
    )
    assert shown
    assert set(shown) == {1}
    page.close()
