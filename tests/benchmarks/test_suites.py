"""Suites make tables of what the benchmarks measure; the measuring itself is faked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commands import Finished
from benchmarks.memory import Ended, Peak, Setting
from benchmarks.opponents import Opponent, Training
from benchmarks.peers import Ours
from benchmarks.prepare import Timed as PreparationTimed
from benchmarks.scaling import Timed
from benchmarks.serving import Served, Times
from benchmarks.suites import accuracy, lists, memory, peers, prepare, serving, speed
from benchmarks.suites.suite import Measured, Options, millions, significant
from benchmarks.suites.trained import COLUMNS, Trained
from recsys_dist.errors import ConfigError

SVD = Opponent("Surprise SVD", "surprise", {"n_factors": 16}, "surprise")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    generator = tmp_path / "make_ratings.py"
    generator.touch()
    return Options(tmp_path, tmp_path / "data", generator)


def values(measured: Measured) -> dict[tuple[str, str], str]:
    return {(cell.row, cell.column): cell.value for cell in measured.cells}


def row(model: str, seed: int, **figures: float | None) -> dict[str, Any]:
    return {"model": model, "seed": seed, **figures}


def test_accuracy_is_the_mean_and_seconds_are_the_median_over_the_splits() -> None:
    rows = [
        row(
            "mf",
            seed,
            rmse=0.8 + seed / 10,
            ndcg=0.1,
            recall=0.2,
            seconds=10.0**seed,
            peak_mb=500.0,
            bias_rmse=0.9,
        )
        for seed in (0, 1, 2)
    ]
    rows.append(row("implicit 0.7.3 ALS, 64 factors, 5 epochs", 0, rmse=None, ndcg=0.3, recall=0.4, seconds=1.0))
    table = accuracy.table_of(rows, "Title")
    found = values(table)
    assert found["mf", "test RMSE"] == "0.9000"
    assert found["mf", "seconds of training"] == "10.0"
    assert found["mf", "memory"] == "0.500"
    assert found["user + item bias", "test RMSE"] == "0.9000"
    implicit = [cell for cell in table.cells if cell.row.startswith("implicit")]
    assert {cell.column for cell in implicit} == {"nDCG", "recall of min(relevant, 10)", "seconds of training"}
    assert {cell.versions for cell in implicit} == {"implicit 0.7.3"}


def test_a_blend_takes_the_seconds_of_its_parts_too() -> None:
    rows = [
        row(name, 0, seconds=second) for name, second in {"mf": 1.0, "autorec_item": 10.0, "ease": 5.0}.items()
    ]
    *_, blend = accuracy.with_parts([*rows, row("blend for ratings", 0, seconds=100.0)])
    assert blend["seconds"] == 111.0


def test_quick_trains_every_family_on_one_split(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def measure(split: Any, _work: Path, configs: Any) -> list[dict[str, Any]]:
        seen.append((split.data, split.seed))
        return [row(config, split.seed, rmse=1.0, seconds=2.0) for config in configs]

    monkeypatch.setattr(accuracy, "measure", measure)
    table = accuracy.quick(options)
    assert seen == [("movietweetings", 0)]
    assert {cell.row for cell in table.cells} == {"mf", "item-AutoRec", "user-AutoRec", "ials", "ease"}


def test_ml1m_says_which_file_it_lacks(options: Options) -> None:
    with pytest.raises(ConfigError, match=r"ml-1m/ratings.dat.gz: .*--data"):
        accuracy.ml1m(options)


def test_a_missing_generator_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.py: .*--generator"):
        Options(tmp_path, tmp_path, tmp_path / "none.py").require_generator()


class Seconds:
    """Stands for trainings: an epoch on so many ranks takes 1 s divided by their number."""

    @staticmethod
    def on(dataset: Path, ranks: int) -> Timed:
        return Timed(ranks, round(float(dataset.name) * 9e5), 10, 7)

    @staticmethod
    def train(timed: Timed, _dataset: Path, _run_dir: Path) -> None:
        timed.epoch_seconds.append([9.0, 1 / timed.ranks, 1 / timed.ranks])
        timed.peak_mb.append(1.0)


@pytest.fixture
def fake_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timed, "on", Seconds.on)
    monkeypatch.setattr(Timed, "train", Seconds.train)
    monkeypatch.setattr(speed, "prepared", lambda _work, size, _items, _generator: Path(str(size)))


@pytest.mark.usefixtures("fake_trainings")
def test_ranks_tells_seconds_and_efficiency(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "rank_counts", lambda: (1, 2, 4))
    found = {row: value for (row, _), value in values(speed.ranks(options)).items()}
    assert [found[name] for name in ("1 rank", "2 ranks", "4 ranks")] == ["1.00", "0.500", "0.250"]
    assert found["parallel efficiency of 4 ranks"] == "100 %"


@pytest.mark.usefixtures("fake_trainings")
def test_growth_divides_seconds_by_ratings(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "made", lambda *_: Path("tail"))
    monkeypatch.setattr(speed, "_add_long_tail", lambda *_: None)
    found = values(speed.growth(replace(options, sizes=(1, 10))))
    assert found["0.900 million, 7 items", "one rank"] == "1111"
    assert found["9.00 million, 7 items", "two ranks"] == "55.6"


def test_memory_is_that_of_the_largest_rank(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(setting: Setting, _dataset: Path, _name: str) -> Ended:
        is_whole = memory.LIMIT not in setting.overrides
        return Ended(0, 1.0, [Peak(10**9), Peak(3 * 10**9 if is_whole else 10**8)], "")

    monkeypatch.setattr(Setting, "train", train)
    monkeypatch.setattr(memory, "made", lambda path, *_: path)
    found = values(memory.memory(options))
    assert found["125,000", "mf"] == "3.00"
    assert found["2,000,000", f"mf, `{memory.LIMIT}`"] == "1.00"


def test_a_failed_training_has_no_memory(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Setting, "train", lambda *_: Ended(1, 1.0, [Peak()], "error: no room"))
    monkeypatch.setattr(memory, "made", lambda path, *_: path)
    with pytest.raises(ConfigError, match="no room"):
        memory.memory(options)


def test_lists_take_the_faster_way_of_implicit(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"recsys-dist": [1.0, 3.0, 2.0], "implicit": [{1000: 5.0, 10_000: 4.0}, {1000: 7.0, 10_000: 6.0}]}
    monkeypatch.setattr(lists, "set_up", lambda *_: Path("python"))
    monkeypatch.setattr(lists, "synthetic", lambda *_: Path("dataset"))
    monkeypatch.setattr(lists, "_model", lambda *_: Path("model"))
    monkeypatch.setattr(lists, "compare", lambda *_: seconds)
    found = values(lists.lists(options))
    assert found["mf, K=16", lists.OURS] == "2.00"
    assert found["mf, K=16", lists.THEIRS] == "5.00"


def test_peers_show_ours_on_the_way_and_at_its_end() -> None:
    ours = Ours([[1.0, 1.0, 2.0]], [9.0], [1], {1: 0.76, 2: 0.7530, 3: 0.7449})
    table = peers.table_of(ours, {SVD: [Training(32.0, 1.0, 40.0, 1, 0.7579)]}, "Title")
    found = values(table)
    assert found["mf, K=16, on the way", "seconds"] == "2.00"
    assert found["mf, K=16, at its end", "test RMSE"] == "0.7449"
    assert found["Surprise SVD, 16 factors", "seconds"] == "32.0"
    assert {cell.versions for cell in table.cells if cell.row.startswith("Surprise")} == {"surprise 1.1.5"}


def trained(epochs: list[float], rmse: float | None) -> Trained:
    ranking = {"cuts": [{"ndcg": 0.3}], "baselines": {"popularity": [{"ndcg": 0.1}]}}
    report = {"rmse": rmse, "ranking": ranking, "baselines": {"user_item_bias": {"rmse": 0.9}}}
    return Trained(Finished(12.34, [3 * 10**9, 10**9], ""), epochs, report)


def test_a_model_of_ratings_has_an_error_and_stands_beside_biases() -> None:
    table, one = Measured("Title", "model", COLUMNS), trained([9.0, 1.0, 3.0, 2.0], 0.8)
    one.baseline(table)
    one.row(table, "mf")
    expected = {"test RMSE": "0.8000", "nDCG": "0.3000", "seconds of training": "12.3", "an epoch": "2.00"}
    found = values(table)
    assert found["user + item bias", "test RMSE"] == "0.9000"
    assert {column: value for (name, column), value in found.items() if name == "mf"} == {
        **expected,
        "memory of a rank": "3.00",
    }


def test_a_model_of_lists_has_no_error_and_stands_beside_popularity() -> None:
    table, one = Measured("Title", "model", COLUMNS), trained([9.0], None)
    one.baseline(table)
    one.row(table, "ease")
    found = values(table)
    assert found["most rated", "nDCG"] == "0.1000"
    assert ("ease", "test RMSE") not in found
    assert ("ease", "an epoch") not in found


def test_prepare_tells_seconds_of_both_programs_and_memory_of_ours() -> None:
    timed = [
        PreparationTimed("recsys-dist", "csv", [3.0, 1.0, 2.0], [0.5]),
        PreparationTimed("DuckDB", "csv", [5.0], [4.0]),
    ]
    found = {column: value for (_, column), value in values(prepare.table_of(timed, "Title")).items()}
    assert found == {prepare.OURS: "2.00", prepare.THEIRS: "5.00", prepare.MEMORY: "0.500"}


def test_serving_counts_failures_and_takes_the_median_over_runs() -> None:
    runs = [Times([0.010] * 98 + [0.030, 0.040]), Times([0.020] * 100, ["status 500"]), Times([0.030] * 100)]
    table = serving.table_of(Served({"floor": runs, "lists": runs, "reload": runs}, 7), "Title")
    found = values(table)
    lists_row = serving.ROWS["lists"]
    assert found[lists_row, "median"] == "20.0"
    assert found[lists_row, "99th percentile"] == "30.0"
    assert found[lists_row, "failed"] == "1"
    assert found[serving.ROWS["reload"], "reloads"] == "7"


def test_figures_have_three_digits_and_no_exponent() -> None:
    assert [significant(value) for value in (0.0123, 0.54, 8.7, 1234.5)] == ["0.0123", "0.540", "8.70", "1234"]
    assert [millions(count) for count in (43_000, 24_500_000, 10**8)] == [
        "0.0430 million",
        "24.5 million",
        "100 million",
    ]
