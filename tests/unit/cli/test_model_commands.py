"""The commands over a merged model: what they pass on and print, and one line for every mistake."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from recsys_dist import load_model
from recsys_dist.cli import main
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("commands")
    dataset = small_dataset(root / "dataset")
    write_merged(mf_run(dataset, noise="both"), dataset, root / "MF")
    write_merged(autorec_run(dataset, "items"), dataset, root / "AUTOREC")
    return {"MF": str(root / "MF"), "AUTOREC": str(root / "AUTOREC"), "DATASET": str(root / "dataset")}


@pytest.mark.parametrize(
    ("options", "order"),
    [
        (["--rank-by", "lower", "--confidence", "0.99"], {"rank_by": "lower", "confidence": 0.99}),
        (["--rank-by", "thompson", "--seed", "7"], {"rank_by": "thompson", "seed": 7}),
    ],
)
def test_recommend_ranks_as_it_is_told(capsys, folders, options, order):
    (expected,) = load_model(folders["MF"]).recommend("u1", 5, **order)
    (plain,) = load_model(folders["MF"]).recommend("u1", 5)

    code, out, _ = run(capsys, "recommend", folders["MF"], "--user", "u1", "--top", "5", *options)

    listed = [item for line in out.splitlines() for item in line.replace("│", " ").split() if item[:1] == "i"]
    assert code == 0
    assert [item for item in listed if item[1:].isdigit()] == expected.item_ids != plain.item_ids


def test_similar_prints_items_and_users(capsys, folders):
    model = load_model(folders["MF"])

    _, of_item, _ = run(capsys, "similar", folders["MF"], "--item", "i3", "--top", "2")
    _, of_user, _ = run(capsys, "similar", folders["MF"], "--user", "u3", "--top", "2")

    for out, similar in ((of_item, model.similar_items("i3", 2)), (of_user, model.similar_users("u3", 2))):
        for raw_id, title, cosine in zip(*similar, strict=True):
            assert all(text in out for text in (raw_id, title or "", f"{cosine:.4f}"))


def test_evaluate_prints_how_well_the_model_knows_its_errors(capsys, folders):
    _, known, _ = run(capsys, "evaluate", folders["MF"], "--dataset", folders["DATASET"], "--ranking-users", "0")
    _, unknown, _ = run(
        capsys, "evaluate", folders["AUTOREC"], "--dataset", folders["DATASET"], "--ranking-users", "0"
    )

    assert "Intervals of 50 / 80 / 90 / 95 % contain " in known
    assert "log-loss" in known
    assert "Intervals" not in unknown


def test_evaluate_says_what_was_allowed(capsys, folders, tmp_path):
    told = ["evaluate", folders["MF"], "--dataset", folders["DATASET"], "--ranking-users", "0"]
    code, out, _ = run(capsys, *told, "--split", "train", "--allow-train")
    assert code == 0
    assert "was trained on these ratings" in out
    other = small_dataset(tmp_path / "other", num_ratings=2000)
    told[3] = other.folder.url
    code, out, _ = run(capsys, *told, "--allow-other-split")
    assert code == 0
    assert "another split than the one that the model was trained on" in out
    assert "Left out: " in out


def test_evaluate_measures_at_every_cut_and_shows_segments_only_when_asked(capsys, folders, tmp_path):
    told = ["evaluate", folders["MF"], "--dataset", folders["DATASET"]]
    _, plain, _ = run(capsys, *told)
    code, out, _ = run(
        capsys, *told, "--top", "5,20", "--segments", "--per-user", str(tmp_path / "users.parquet"),
        "--output", str(tmp_path / "r.json"),
    )  # fmt: skip

    report = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert [cut["top"] for cut in report["ranking"]["cuts"]] == [5, 20]
    for cut in (*report["ranking"]["cuts"], *report["ranking"]["baselines"]["popularity"]):
        assert f"{cut['recall']:.4f}" in out
    assert "by train ratings of the item" in out
    assert f"{report['segments']['ratings'][0]['errors']['rmse']:.4f}" in out
    assert "by train ratings of the item" not in plain
    assert "popularity" in plain
    assert "ndcg@20" in pq.read_schema(tmp_path / "users.parquet").names


def test_evaluate_compares_several_models_with_the_first(capsys, folders, tmp_path):
    code, out, _ = run(
        capsys, "evaluate", folders["MF"], folders["AUTOREC"], "--dataset", folders["DATASET"],
        "--output", str(tmp_path / "r.json"),
    )  # fmt: skip

    compared = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert [report["model"]["url"] for report in compared["reports"]] == [folders["MF"], folders["AUTOREC"]]
    for name, found in compared["comparisons"][0]["differences"].items():
        assert name in out
        assert f"{found['low']:+.4f} to {found['high']:+.4f}" in out
    for report in compared["reports"]:
        assert f"{report['rmse']:.4f}" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["evaluate", "MF", "--dataset", "DATASET", "--top", "0"], "top 0 is not the length of a list"),
        (["evaluate", "MF", "--dataset", "DATASET", "--top", "5,5"], "top 5 is given twice"),
        (["evaluate", "MF", "--dataset", "DATASET", "--top", "all"], "top 'all' is not a list of whole numbers"),
        (["evaluate", "MF", "--dataset", "DATASET", "--per-user", "/tmp"], "the name must end in .parquet"),
        (["evaluate", "MF", "DATASET", "--dataset", "DATASET"], "it is not a model folder"),
        (
            ["recommend", "MF", "--user", "u1", "--rank-by", "best"],
            "rank_by 'best' is unknown; use mean, lower, t",
        ),
        (
            ["recommend", "MF", "--user", "u1", "--confidence", "2"],
            "confidence 2.0 is not a number between 0 and 1",
        ),
        (["recommend", "AUTOREC", "--user", "u1", "--rank-by", "lower"], "has no uncertainty"),
        (["evaluate", "MF", "--dataset", "DATASET", "--split", "train"], "split 'train' is not held out"),
        (["similar", "MF"], "give either --item or --user"),
        (["similar", "MF", "--item", "i1", "--user", "u1"], "give either --item or --user"),
        (["similar", "MF", "--item", "nothing"], "unknown item 'nothing'"),
    ],
)
def test_a_mistake_is_one_line(capsys, folders, arguments, reason):
    code, _, err = run(capsys, *(folders.get(argument, argument) for argument in arguments))

    assert code == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert reason in err
