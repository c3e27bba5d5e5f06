"""The commands over a merged model: what they pass on and print, and one line for every mistake."""

from __future__ import annotations

import csv
import json

import numpy as np
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


def test_recommend_lists_candidates_from_files_and_ids(capsys, folders, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("i3\ni4\n")
    (tmp_path / "out.csv").write_text("item_id,why\ni5,old\n")
    (tmp_path / "i7").write_text("i8\n")
    model, listed = load_model(folders["MF"]), tmp_path / "lists.json"
    items = ["i3", "i4", "i5", "i6", "i7", "i8", "i9"]
    options = ["--items", "ids.txt", "--items", "i5,i6,", "--items", "./i7", "--items", "i7,i9", "--exclude"]

    code, out, _ = run(capsys, *f"recommend {folders['MF']} -u u1 -o lists.json".split(), *options, "out.csv")

    (expected,) = model.recommend("u1", items=items, exclude=["i5"])
    assert code == 0
    assert [item["item_id"] for item in json.loads(listed.read_text())[0]["items"]] == expected.item_ids
    assert all(title in out for title in filter(None, expected.titles))
    code, _, err = run(capsys, *f"recommend {folders['MF']} -u u1 --items i7".split())
    assert (code, err) == (2, "error: --items i7: a file of this name is here; write ./i7 if you mean the file\n")


def test_recommend_for_all_users_lists_candidates_and_counts_users_without_any(capsys, folders, tmp_path):
    output, model = tmp_path / "lists.parquet", load_model(folders["AUTOREC"])

    code, out, err = run(
        capsys, *f"recommend {folders['AUTOREC']} --all-users --items i0,i1 -o".split(), str(output)
    )

    expected = model.recommend(model.user_ids.array, items=["i0", "i1"])
    num_empty = sum(not one.item_ids for one in expected)
    assert code == 0
    assert pq.read_table(output)["item_id"].to_pylist() == [item for one in expected for item in one.item_ids]
    assert f"lines for 120 users, {num_empty} of them without an unseen item in " in " ".join(out.split())
    assert num_empty > 0
    assert err.count("note: ") == 1


def test_an_empty_list_is_said(capsys, folders):
    model = load_model(folders["MF"])
    _, item = model.catalog.train_ratings.of_users(np.array([3]))

    code, out, _ = run(
        capsys, *f"recommend {folders['MF']} -u u3 -u u4 --items".split(), ",".join(model.item_ids.take(item))
    )

    assert code == 0
    assert "User u3: the list is empty: no item that it may contain is unseen" in out
    assert "User u4" in out


def test_recommend_for_a_new_user_who_likes_titles(capsys, folders, tmp_path):
    model, output = load_model(folders["MF"]), tmp_path / "lists.csv"
    expected = model.fold_in(["i12", "i7"], [5, 5]).recommend(4, exclude=["i9"])

    code, out, err = run(
        capsys,
        *("recommend", folders["MF"], "--like", "film 12", "--like", "i7", "--like", "Film 12", "--top", "4"),
        *("--exclude", "i9", "--output", str(output)),
    )

    assert code == 0
    assert "A new user who likes Film 12, Film 7\n" in out
    lines = list(csv.DictReader(output.read_text().splitlines()))
    assert [line["item_id"] for line in lines] == expected.item_ids
    assert [line["user_id"] for line in lines] == [""] * 4
    assert err == "note: a model of kind mf predicts ratings; kind ials or ease, or a blend, ranks items better\n"


def test_every_form_of_a_list_has_titles_and_deviations_where_the_model_has_them(capsys, folders, tmp_path):
    for kind in ("MF", "AUTOREC"):
        (expected,) = load_model(folders[kind]).recommend("u1", 3)
        arguments = ["recommend", folders[kind], "--user", "u1", "--top", "3", "--output"]
        _, out, _ = run(capsys, *arguments, str(tmp_path / "l.json"))
        run(capsys, *arguments, str(tmp_path / "l.csv"))
        run(capsys, *arguments[:2], "--all-users", "--top", "3", "--output", str(tmp_path / "l.parquet"))

        wanted = [(row.item_id, row.title, row.score, row.std) for row in expected.rows()]
        from_json = json.loads((tmp_path / "l.json").read_text())[0]["items"]
        from_csv = list(csv.DictReader((tmp_path / "l.csv").read_text().splitlines()))
        whole = pq.read_table(tmp_path / "l.parquet")
        of_user = [line for line in whole.to_pylist() if line["user_id"] == "u1"]
        assert [tuple(line.values()) for line in from_json] == wanted
        assert [
            (
                line["item_id"],
                line["title"] or None,
                float(line["score"]),
                float(line["std"]) if line["std"] else None,
            )
            for line in from_csv
        ] == wanted
        assert [(line["item_id"], line["title"]) for line in of_user] == [row[:2] for row in wanted]
        assert [round(line["score"], 4) for line in of_user] == [row[2] for row in wanted]
        assert ("std" in whole.column_names) == ("±" in out) == (kind == "MF")
        for item_id, title, score, std in wanted:
            assert all(text in out for text in (item_id, title or "", f"{score:.2f}"))
            assert std is None or f"{score:.2f} ± {std:.2f}" in out


def test_a_model_that_ranks_shows_scores_and_no_note(capsys, folders, monkeypatch):
    monkeypatch.setattr("recsys_dist.families.bilinear.scorer.BilinearForm.predicts_ratings", False)
    (expected,) = load_model(folders["AUTOREC"]).recommend("u1", 2)

    code, out, err = run(capsys, "recommend", folders["AUTOREC"], "--user", "u1", "--top", "2")

    assert (code, err) == (0, "")
    assert "score" in out
    assert "predicted" not in out
    assert all(f"{score:.4f}" in out for score in expected.scores.tolist())


def test_predict_writes_a_file_and_counts_the_unknown(capsys, folders, tmp_path):
    (tmp_path / "pairs.csv").write_text("who,what,note\nu1,i1,a\nnew,i2,b\nu3,none,c\nu4,none,d\n")
    output, model = tmp_path / "predicted.csv", load_model(folders["MF"])

    code, out, err = run(
        capsys,
        *("predict", folders["MF"], str(tmp_path / "pairs.csv"), "--output", str(output), "--std"),
        *("--user-column", "who", "--item-column", "what"),
    )

    rating, std = model.predict(["u1", "new", "u3", "u4"], ["i1", "i2", "none", "none"], return_std=True)
    lines = list(csv.DictReader(output.read_text().splitlines()))
    assert code == 0
    assert [line["note"] for line in lines] == ["a", "b", "c", "d"]
    np.testing.assert_allclose([float(line["predicted"]) for line in lines], rating, rtol=1e-6)
    np.testing.assert_allclose([float(line["std"]) for line in lines], std, rtol=1e-6)
    assert f"{output}: 4 pairs in " in out
    assert "pairs/s; without train ratings of the user: 1, of the item: 2" in out
    assert "error" not in err


def test_similar_finds_an_item_by_its_title(capsys, folders):
    _, by_title, _ = run(capsys, "similar", folders["MF"], "--title", "FILM 3", "--top", "2")
    _, by_id, _ = run(capsys, "similar", folders["MF"], "--item", "i3", "--top", "2")

    assert by_title == by_id
    assert "Items like Film 3 (i3)" in by_id


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
        (
            ["evaluate", "MF", "DATASET", "--dataset", "DATASET"],
            "not a model folder; train on it and merge the run",
        ),
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
        (["similar", "MF"], "give one of --item, --title and --user"),
        (["similar", "MF", "--item", "i1", "--user", "u1"], "give one of --item, --title and --user"),
        (["similar", "MF", "--item", "nothing"], "unknown item 'nothing'"),
        (["similar", "MF", "--title", "Film"], "54 titles match 'Film': 'Film 1' (id i1), "),
        (
            ["recommend", "MF", "--like", "Flim 12"],
            "no title matches 'Flim 12'; the most similar are 'Film 12' (id",
        ),
        (
            ["recommend", "MF", "--like", "Film 1", "--user", "u1"],
            "--like is for a new user, and does not go with",
        ),
        (
            ["recommend", "MF", "--like", "Film 1", "--dataset", "DATASET"],
            "--like is for a new user, and does not",
        ),
        (["recommend", "MF", "--like", "Film 1", "--all-users"], "--all-users does not go with --user, --like or"),
        (["recommend", "MF", "--user", "u1", "--items", "i1,x,y"], "unknown item 'x', 'y': "),
        (["recommend", "MF", "--user", "u1", "--items", "i1", "--items", "x"], "unknown item 'x': "),
        (["recommend", "MF", "--like", "Film 1", "--exclude", "x"], "unknown item 'x': "),
        (["recommend", "MF", "--all-users", "--output", "l.parquet", "--items", "x"], "unknown item 'x': "),
        (["recommend", "MF", "--user", "u1", "--items", ""], "the list of candidate items is empty"),
        (["recommend", "MF", "--user", "u1", "--items", "no/ids"], "--items: there is no file no/ids"),
        (["recommend", "MF", "--user", "u1", "--exclude", "ids.txt"], "--exclude: there is no file ids.txt"),
        (["predict", "MF", "pairs.csv", "--output", "p.csv"], "PAIRS: there is no file pairs.csv"),
        (["predict", "MF", "pairs.csv", "--output", "p.json"], "must end in .csv, .tsv or .parquet"),
        (["predict", "MF", "pairs.csv", "--output", "no/p.csv"], "there is no folder no"),
        (["predict", "AUTOREC", "pairs.csv", "--output", "p.csv", "--std"], "has no uncertainty"),
    ],
)
def test_a_mistake_is_one_line(capsys, folders, monkeypatch, tmp_path, arguments, reason):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *(folders.get(argument, argument) for argument in arguments))

    assert code == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert reason in err
    assert list(tmp_path.iterdir()) == []
