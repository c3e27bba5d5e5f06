"""The page about a dataset: its figures are drawn from true numbers, and it needs nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SPLITS, Split
from recsys_dist.report import svg
from recsys_dist.report.dataset import dataset_figures
from recsys_dist.report.dataset.dataset_overview import DatasetOverview
from recsys_dist.report.dataset.rating_counts import NUM_STEPS, RatingCounts
from recsys_dist.report.report import write_dataset_page
from recsys_dist.report.svg import Draw
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.unit.report.html_page import Page


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """120 users, 60 items, of whom the last of each have no rating."""
    user, item, rating = low_rank_ratings(119, 58, 1500)
    split = np.random.default_rng(1).choice(3, len(user), p=[0.8, 0.1, 0.1])
    return write_dataset(tmp_path_factory.mktemp("page") / "d", user, item, rating, split, 120, 60, num_shards=3)


def all_ratings(dataset: Dataset, split: Split) -> tuple[np.ndarray, ...]:
    parts = [dataset.ratings(split, shard) for shard in range(len(dataset.shards("users")))]
    columns = ("user_index", "item_index", "rating")
    return tuple(np.concatenate([getattr(part, column) for part in parts]) for column in columns)


@pytest.fixture
def drawn(monkeypatch) -> dict[str, Figure]:
    """The figures as matplotlib has them, by name."""
    figures: dict[str, Figure] = {}

    def keep(draw: Draw, name: str, height: float) -> str:
        figures[name] = Figure(figsize=(svg.WIDE, height))
        draw(figures[name], False)
        return ""

    monkeypatch.setattr(dataset_figures, "drawing", keep)
    return figures


def test_bars_stack_the_ratings_of_each_value_and_split(dataset, drawn):
    dataset_figures.histogram(DatasetOverview.read(dataset))

    containers = {bars.get_label(): bars for bars in drawn["histogram"].axes[0].containers}
    top = 0.0
    for split in SPLITS:
        values, counts = np.unique(all_ratings(dataset, split)[2], return_counts=True)
        bars = {bar.get_x() + bar.get_width() / 2: bar for bar in containers[split] if bar.get_height()}
        assert [round(value, 6) for value in bars] == values.tolist()
        assert [bar.get_height() for bar in bars.values()] == counts.tolist()
        top += counts[-1]
        assert bars[max(bars)].get_y() + bars[max(bars)].get_height() == top


def test_curves_fall_from_the_most_active_and_leave_out_who_has_none(dataset, drawn):
    overview = DatasetOverview.read(dataset)
    dataset_figures.activity(overview)

    user, item, _ = all_ratings(dataset, "train")
    for line, codes, size in zip(drawn["activity"].axes[0].lines, (user, item), (120, 60), strict=True):
        falling = np.sort(np.bincount(codes, minlength=size))[::-1]
        shown = falling[falling > 0]
        assert line.get_ydata().tolist() == shown[line.get_xdata() - 1].tolist()
        assert line.get_xdata()[0] == 1
        assert 0.95 * len(shown) < line.get_xdata()[-1] <= len(shown)
        assert overview.activity[line.get_label()].num_cold == size - len(shown) > 0
        assert overview.activity[line.get_label()].median == np.median(falling)


def test_cells_hold_the_share_of_pairs_of_their_shards(dataset, drawn):
    dataset_figures.density(DatasetOverview.read(dataset))

    user, item, _ = all_ratings(dataset, "train")
    edges = [[0, *(shard.stop for shard in dataset.shards(side))] for side in ("users", "items")]
    counts, _, _ = np.histogram2d(user, item, edges)
    pairs = np.outer(np.diff(edges[0]), np.diff(edges[1]))
    image = drawn["density"].axes[0].images[0].get_array()
    np.testing.assert_array_equal(image.filled(0.0), counts / pairs)


def test_bars_of_balance_are_multiples_of_the_mean_shard(dataset, drawn):
    dataset_figures.shard_balance(dataset)

    for axes, side in zip(drawn["balance"].axes, ("users", "items"), strict=True):
        counts = np.array([shard.num_ratings for shard in dataset.shards(side)])
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], counts / counts.mean())


def test_many_different_ratings_are_counted_in_steps_whatever_the_shards():
    ratings = np.random.default_rng(0).uniform(0, 10, 5000).astype(np.float32)
    whole, parts = RatingCounts(1.0, 9.0), RatingCounts(1.0, 9.0)
    whole.add("train", ratings)
    for part in np.split(ratings, 100):
        parts.add("train", part)

    assert whole.in_steps
    assert parts == whole
    expected, edges = np.histogram(np.clip(ratings.astype(np.float64), 1, 9), NUM_STEPS, (1, 9))
    assert whole.values == pytest.approx(((edges[1:] + edges[:-1]) / 2).tolist())
    assert [whole.by_split["train"][value] for value in whole.values] == expected.tolist()


def test_a_page_needs_nothing_else_and_is_the_same_each_time(tmp_path):
    dataset = small_dataset(tmp_path / "<script>alert(1)", num_ratings=500, num_shards=2)
    for name in ("first", "second"):
        write_dataset_page(dataset, tmp_path / f"{name}.html")

    html = (tmp_path / "first.html").read_text(encoding="utf-8")
    page = Page(html)
    assert (tmp_path / "second.html").read_text(encoding="utf-8") == html
    assert page.tags.count("svg") == 2 * 4  # wide and narrow
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    outside = {link for link in page.links if not link.startswith("data:image/png;base64,")}
    assert {f"#{name}" for name in page.ids} >= outside
    assert "@import" not in html
    assert "#00000" not in html.partition("</style>")[2]
    assert f"{dataset.manifest.rows.kept:,} ratings" in page.text


def test_a_dataset_without_a_train_rating_in_a_shard_is_drawn(tmp_path):
    held_out = np.array([2, 2, 0, 0])
    users, items = np.array([0, 1, 2, 3]), np.array([1, 1, 0, 0])
    dataset = write_dataset(tmp_path / "d", users, items, np.full(4, 3.0), held_out, num_shards=2)

    write_dataset_page(dataset, tmp_path / "page.html")

    assert "4 ratings" in Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
