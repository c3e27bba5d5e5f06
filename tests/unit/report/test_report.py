"""The page about a run: what it shows, that it needs nothing else, and one line for what cannot be shown."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import fsspec
import matplotlib as mpl
import pytest

from recsys_dist import load_model
from recsys_dist.cli import main
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.merging import merge
from recsys_dist.report.report import write_comparison, write_report
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import train
from tests.support.prepared import small_dataset
from tests.unit.report.html_page import Page


@dataclass(frozen=True)
class Trained:
    """A run of two epochs and the evaluation of its model."""

    run: Path
    evaluation: Path
    model: Path

    def metrics(self) -> list[dict]:
        return [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    root = tmp_path_factory.mktemp("report")
    small_dataset(root / "dataset", num_users=30, num_items=20, num_ratings=400, num_shards=2)
    tree = {"dataset": str(root / "dataset"), "run_dir": str(root / "run"), "device": "cpu"}
    model = {"kind": "mf", "factors": 2}
    train(TrainConfig.model_validate({**tree, "model": model, "training": {"epochs": 2}}), World.single())
    merge(str(root / "run"), str(root / "model"))
    load_model(str(root / "model")).evaluate(str(root / "dataset")).write(root / "report.json")
    return Trained(root / "run", root / "report.json", root / "model")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the run, to change."""
    return shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))


def written(run_dir: object, output: Path, evaluation: Path | None = None) -> str:
    write_report(str(run_dir), output, evaluation)
    return output.read_text(encoding="utf-8")


def log(run: Path, valid_rmse: list[float | None]) -> None:
    lines = [
        {"epoch": epoch, "train_rmse": 0.8, "valid_rmse": rmse, "ratings_per_s": 1e6, "seconds": 2.5}
        for epoch, rmse in enumerate(valid_rmse, 1)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_the_command_writes_a_page_with_all_numbers(trained, tmp_path, capsys):
    output = tmp_path / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(trained.run), "--evaluation", str(trained.evaluation), "--output", str(output)])
    assert not ended.value.code
    assert str(output) in capsys.readouterr().out.replace("\n", "")

    text = Page(output.read_text(encoding="utf-8")).text
    report = json.loads(trained.evaluation.read_text())
    best = min(trained.metrics(), key=lambda line: line["valid_rmse"])
    assert "Matrix factorization by EM, 2 factors" in text
    assert "2 of 2" in text
    assert f"best: {best['valid_rmse']:.4f} in epoch {best['epoch']}" in text
    assert text[text.index("model.factors") + 1] == "2"
    assert text[text.index("training.patience") + 1] == "null"
    for row, errors in {"mf": report, "global mean": report["baselines"]["global_mean"]}.items():
        start = text.index(row)
        expected = [f"{errors['rmse']:.4f}", f"{errors['mae']:.4f}", f"{errors['count']}"]
        assert text[start + 1 : start + 4] == expected
    start = text.index("log-loss")
    calibration = report["uncertainty"]
    shares = [f"{100 * share:.1f} %" for share in calibration["coverage"].values()]
    assert text[start - 5 : start - 1] == [f"{share} % intervals" for share in (50, 80, 90, 95)]
    scores = [f"{calibration[name]:.4f}" for name in ("nll", "log_loss")]
    assert text[start + 1 : start + 7] == [*shares, *scores]
    start = text.index("coverage")
    shown = ("recall", "precision", "ndcg", "map", "mrr", "hit_rate", "coverage")
    cuts = report["ranking"]["baselines"]["popularity"][0], report["ranking"]["cuts"][0]
    for place, cut in zip((start + 2, start + 11), cuts, strict=True):
        assert text[place : place + 8] == ["10", *(f"{cut[name]:.4f}" for name in shown)]
    segments = report["segments"]
    for title, part in (("train ratings of the item", "items"), ("rating", "ratings")):
        start = len(text) - 1 - text[::-1].index(title)  # the table; the figure before has the same words
        assert f"{segments[part][0]['errors']['rmse']:.4f}" in text[start : start + 12]


def test_the_page_says_what_the_search_tried_and_which_state_is_merged(run, tmp_path):
    lines: list[dict] = [
        {"epoch": epoch, "train_rmse": 0.9, "valid_rmse": rmse, "ratings_per_s": 1e6, "seconds": 1.0}
        for epoch, rmse in enumerate([0.7, 0.9, 0.8], 1)
    ]
    trial = {"settings": "lambda 5", "figure": "squared error", "value": 0.61, "limit": 0.6, "is_kept": False}
    lines[0] |= {"searching": True, "note": "lambda 5 reverted", "trials": [trial]}
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    text = Page(written(run, tmp_path / "report.html")).text

    place = text.index("1. lambda 5")
    assert text[place + 1 : place + 3] == ["0.6100", "0.6000"]
    assert text[text.index("lambda 5 reverted") - 1] == "1"
    assert (
        "Merge takes the state of epoch 3: 0.8000 is the lowest validation RMSE of 2 epochs. "
        "Epochs of the search are no candidates: what they try may be undone."
    ) in text


def test_examples_of_lists_are_those_of_the_model(trained, tmp_path):
    write_report(str(trained.run), tmp_path / "report.html", model_dir=str(trained.model))
    text = Page((tmp_path / "report.html").read_text()).text

    model = load_model(str(trained.model))
    headings = [part for part in text if part.startswith("User ") and part.endswith("train ratings")]
    assert len(headings) == 3
    for heading in headings:
        user_id = heading.split()[1].rstrip(",")
        after = text[text.index(heading) :]
        names = after[after.index("Recommended") + 1 : after.index("Recommended") + 5 : 2]
        assert names == model.recommend([user_id], 2)[0].titles


def test_lists_of_another_model_are_refused(trained, run, tmp_path):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("factors: 2", "factors: 3"))
    with pytest.raises(ConfigError, match=r"is not merged from .*: its settings differ"):
        write_report(str(run), tmp_path / "report.html", model_dir=str(trained.model))


def test_runs_are_compared_by_outcome_and_by_the_settings_that_differ(trained, run, tmp_path):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("factors: 2", "factors: 3"))
    log(run, [0.9, 0.8])
    output = tmp_path / "comparison.html"

    with pytest.raises(SystemExit) as ended:
        main(
            [
                "report",
                str(trained.run),
                str(run),
                "--evaluation",
                str(trained.evaluation),
                "--output",
                str(output),
            ]
        )

    assert not ended.value.code
    page = Page(output.read_text())
    text = page.text
    best = [min(line["valid_rmse"] for line in trained.metrics()), 0.8]
    for url, rmse in zip((trained.run, run), best, strict=True):
        place = text.index(str(url))
        assert f"{rmse:.4f}" in text[place : place + 8]
    report = json.loads(trained.evaluation.read_text())
    assert f"{report['rmse']:.4f}" in text[text.index(str(trained.run)) : text.index(str(run))]
    assert text[text.index("model.factors") :][:3] == ["model.factors", "2", "3"]
    assert "training.epochs" not in text
    assert not {"script", "link", "img"} & set(page.tags)


def test_the_report_of_several_models_serves_their_runs(trained, run, tmp_path):
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("factors: 2", "factors: 3"))
    alone = json.loads(trained.evaluation.read_text())
    other = json.loads(trained.evaluation.read_text()) | {"rmse": 0.1234}
    other["model"]["config"]["model"]["factors"] = 3
    blend = json.loads(trained.evaluation.read_text())
    blend["model"] |= {"kind": "blend", "config": {"model": {}}}
    several = tmp_path / "several.json"
    several.write_text(json.dumps({"reports": [alone, blend, other], "comparisons": []}))

    assert "0.1234" in Page(written(run, tmp_path / "one.html", several)).text
    write_comparison([str(trained.run), str(run)], tmp_path / "both.html", [several])
    text = Page((tmp_path / "both.html").read_text()).text
    assert {f"{alone['rmse']:.4f}", "0.1234"} <= set(text)

    several.write_text(json.dumps({"reports": [alone, blend], "comparisons": []}))
    with pytest.raises(ConfigError, match=r"several\.json evaluates 2 models, and none of them is that of"):
        write_report(str(run), tmp_path / "one.html", several)


def test_options_of_one_run_are_refused_for_several(trained, tmp_path, capsys):
    for options in (["--model", "m", str(trained.run)], ["--evaluation", "a.json", "--evaluation", "b.json"]):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(trained.run), *options, "--output", str(tmp_path / "x.html")])
        assert ended.value.code == 2
        assert "RUN_DIR" in capsys.readouterr().err


def test_plan_and_outcome_stand_side_by_side(trained, tmp_path):
    own = json.loads((trained.run / "plan.json").read_text())
    metrics = trained.metrics()
    planned = sum(own["ranks"][0]["memory"].values()) / 1e6
    text = Page(written(trained.run, tmp_path / "report.html")).text
    start = text.index("memory of the largest rank, MB")
    assert text[start + 1 : start + 3] == [f"{planned:,.4g}", f"{metrics[-1]['peak_memory_mb']:,.4g}"]
    start = text.index("seconds of an epoch")
    assert text[start + 1 : start + 3] == ["–", f"{metrics[1]['seconds']:,.4g}"]

    (tmp_path / "plan.json").write_text(json.dumps({**own, "epoch_seconds": 12.5}))
    write_report(str(trained.run), tmp_path / "report.html", plan=tmp_path / "plan.json")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert text[text.index("seconds of an epoch") + 1] == "12.5"


def test_a_run_without_a_plan_and_a_plan_of_another_model(trained, tmp_path, run):
    (run / "plan.json").unlink()
    assert "Plan and outcome" not in Page(written(run, tmp_path / "report.html")).text
    other = {**json.loads((trained.run / "plan.json").read_text()), "kind": "ials"}
    (tmp_path / "plan.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=r"plan.json plans a model of kind ials, but .* trains mf"):
        write_report(str(run), tmp_path / "report.html", plan=tmp_path / "plan.json")


def test_a_report_without_uncertainty_is_shown_without(trained, tmp_path):
    report = json.loads(trained.evaluation.read_text())
    report["uncertainty"] = None
    (tmp_path / "report.json").write_text(json.dumps(report))

    page = written(trained.run, tmp_path / "report.html", tmp_path / "report.json")

    assert "Uncertainty" not in page
    assert "hit rate" in page


def test_a_model_that_ranks_is_shown_by_its_lists(trained, tmp_path):
    report = json.loads(trained.evaluation.read_text())
    report |= {"predicts_ratings": False, "rmse": None, "mae": None, "baselines": {}, "uncertainty": None}
    report["ranking"]["relevant_from"] = None
    report["segments"]["ratings"] = []
    (tmp_path / "report.json").write_text(json.dumps(report))

    text = Page(written(trained.run, tmp_path / "report.html", tmp_path / "report.json")).text

    assert "Test nDCG" in text
    assert "Test RMSE" not in text
    assert any("all held-out items are relevant" in part for part in text)


def test_a_key_of_a_report_that_nobody_knows_is_named(trained, tmp_path):
    report = json.loads(trained.evaluation.read_text())
    report["ranking"]["accuracy"] = 0.5
    (tmp_path / "report.json").write_text(json.dumps(report))

    with pytest.raises(DataError, match=r"report\.json: ranking\.accuracy: Extra inputs are not permitted"):
        write_report(str(trained.run), tmp_path / "report.html", tmp_path / "report.json")


def test_a_page_needs_nothing_else(trained, tmp_path):
    page = Page(written(trained.run, tmp_path / "report.html", trained.evaluation))

    assert page.tags.count("svg") == 2 * 5  # wide and narrow
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert {f"#{name}" for name in page.ids} >= set(page.links)
    assert "@import" not in page.html
    # The figures take their colours from the page: light, dark and print.
    assert page.html.count("stroke: var(--train)") > 2
    assert "#00000" not in page.html.partition("</style>")[2]


def test_the_same_run_gives_the_same_bytes_whoever_draws(trained, tmp_path):
    first = written(trained.run, tmp_path / "first.html", trained.evaluation)
    with mpl.rc_context(
        {"xtick.direction": "in", "savefig.bbox": "tight", "svg.fonttype": "path", "svg.hashsalt": None}
    ):
        assert written(trained.run, tmp_path / "second.html", trained.evaluation) == first


def test_text_from_files_is_never_markup(run, tmp_path):
    odd = run.rename(tmp_path / "<script>alert(1)")
    (odd / "config.yaml").write_text((odd / "config.yaml").read_text().replace("cpu", "'<img src=x>&'"))
    page = Page(written(odd, tmp_path / "report.html"))

    assert {"script", "img"}.isdisjoint(page.tags)
    assert any(text.endswith("/<script>alert(1)") for text in page.text)
    assert "<img src=x>&" in page.text


def test_a_run_behind_a_url_gives_the_same_page(trained, tmp_path):
    url = f"memory://{tmp_path.name}/run"
    for name in ("config.yaml", "status.json", "metrics.jsonl", "plan.json"):
        fsspec.filesystem("memory").pipe_file(f"/{tmp_path.name}/run/{name}", (trained.run / name).read_bytes())

    page = written(url, tmp_path / "url.html")

    assert page.replace(url, str(trained.run)) == written(trained.run, tmp_path / "local.html")


@pytest.mark.parametrize(
    ("valid_rmse", "shown", "hidden"),
    [
        ([0.9, 0.85, 0.87, 0.85], "best: 0.8500 in epoch 4", "no validation ratings"),
        ([None, None], "The dataset has no validation ratings.", "best"),
        ([0.9], "best: 0.9000 in epoch 1", "no validation ratings"),
        ([], "No epoch is finished yet.", "training time"),
    ],
)
def test_whatever_there_is_of_a_run_is_shown(run, tmp_path, valid_rmse, shown, hidden):
    log(run, valid_rmse)
    text = Page(written(run, tmp_path / "report.html")).text

    assert shown in text
    assert not any(hidden in line.lower() for line in text)
    assert f"{len(valid_rmse)} of 2" in text


def test_an_early_stop_a_killed_run_and_a_failed_one_are_told_apart(run, tmp_path):
    for status, told in [
        ({"state": "finished", "step": 2, "outcome": "early_stopped"}, "stopped early"),
        ({"state": "running", "step": 0, "outcome": None}, "running, or killed"),
        (
            {"state": "failed", "step": 0, "outcome": None, "error": "a <peer> is gone"},
            "failed: a &lt;peer&gt; is",
        ),
    ]:
        (run / "status.json").write_text(json.dumps(status))
        assert told in written(run, tmp_path / "report.html")


def test_a_page_says_which_autorec_it_was(run, tmp_path):
    (run / "config.yaml").write_text(
        "{dataset: d, run_dir: r, model: {kind: autorec, orientation: users, hidden: 7}}"
    )
    assert "User-AutoRec, 7 hidden units" in written(run, tmp_path / "report.html")


def test_the_evaluation_of_another_model_is_refused(run, trained, tmp_path):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("factors: 2", "factors: 3"))
    with pytest.raises(ConfigError, match=r"report\.json evaluates another model than that of .*: model\.\w+ is"):
        write_report(str(run), tmp_path / "report.html", trained.evaluation)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("metrics.jsonl", '{"epoch": 1}\n', r"metrics\.jsonl, line 1: train_rmse: Field required"),
        ("status.json", "{", r"status\.json: Invalid JSON"),
        ("config.yaml", "a: [", r"config\.yaml is not valid YAML"),
        ("config.yaml", "", r"config\.yaml: configuration: Input should be a valid dictionary"),
        ("report.json", '{"rmse": 0.9}', r"report\.json: mae: Field required"),
    ],
)
def test_a_damaged_file_is_named(run, tmp_path, name, content, told):
    (run / name).write_text(content)
    evaluation = run / name if name == "report.json" else None
    with pytest.raises((DataError, ConfigError), match=told):
        write_report(str(run), tmp_path / "report.html", evaluation)


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_the_extra_the_error_says_what_to_install(run, tmp_path, monkeypatch, missing):
    for module in ("run.page", "run.figures", "run.evaluation_figures", "run.trials", "svg", "templates"):
        monkeypatch.delitem(sys.modules, f"recsys_dist.report.{module}", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=rf"{missing}.*; pip install -e '.*\[report\]'$"):
        write_report(str(run), tmp_path / "report.html")
