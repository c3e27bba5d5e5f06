"""The commands: what they pass on, what they print, exit codes, and one line for every mistake."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recsys_dist.api.model import load_model
from recsys_dist.cli import main
from recsys_dist.cli.show.model import print_outcome
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import DataError, PeerError, TrainingError
from recsys_dist.inference.lists import write_whole
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset, write_dataset

ROOT = Path(__file__).resolve().parents[3]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def one_line_error(code: int, err: str) -> str:
    assert code == 2
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """A model folder and its dataset."""
    root = tmp_path_factory.mktemp("cli")
    dataset = small_dataset(root / "dataset")
    write_merged(mf_run(dataset), dataset, root / "model")
    return str(root / "model"), str(root / "dataset")


def test_evaluate_prints_a_table_and_writes_the_report(capsys, tmp_path, folders):
    model, dataset = folders
    code, out, _ = run(
        capsys, "evaluate", model, "--dataset", dataset, "--split", "valid", "--output", str(tmp_path / "r.json")
    )

    report = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert report["split"] == "valid"
    for figure in (
        report["rmse"],
        report["baselines"]["user_item_bias"]["mae"],
        report["ranking"]["cuts"][0]["ndcg"],
    ):
        assert f"{figure:.4f}" in out


def test_recommend_prints_one_list_per_user(capsys, tmp_path, folders):
    lists = load_model(folders[0]).recommend(["u1", "u2"], 4)

    code, out, _ = run(
        capsys,
        "recommend",
        folders[0],
        "--user",
        "u1",
        "-u",
        "u2",
        "--top",
        "4",
        "--output",
        str(tmp_path / "l.json"),
    )

    assert code == 0
    for recommended in lists:
        assert f"User {recommended.user_id}" in out
        for item in recommended.rows():
            assert item.title is None or item.title in out
            assert f"{item.score:.2f} ± {item.std:.2f}" in out
    assert [one["user_id"] for one in json.loads((tmp_path / "l.json").read_text())] == ["u1", "u2"]


@pytest.mark.parametrize("options", [[], ["--include-seen"]])
def test_lists_for_all_users_are_those_for_each(capsys, tmp_path, folders, options):
    import pyarrow.parquet as pq

    output = tmp_path / "lists.parquet"
    arguments = ["recommend", folders[0], "--all-users", "--top", "4", "--output", str(output), *options]
    code, out, _ = run(capsys, *arguments)

    assert code == 0
    assert "lines for 120 users" in out
    model = load_model(folders[0])
    users = model.user_ids.array.to_pylist()
    expected = [
        (one.user_id, rank, item_id, title, pytest.approx(score), pytest.approx(std))
        for one in model.recommend(users, 4, include_seen=bool(options))
        if one.stds is not None
        for rank, (item_id, title, score, std) in enumerate(
            zip(one.item_ids, one.titles, one.scores.tolist(), one.stds.tolist(), strict=True), start=1
        )
    ]
    table = pq.read_table(output)
    assert table.column_names == ["user_id", "rank", "item_id", "title", "score", "std"]
    assert [tuple(line.values()) for line in table.to_pylist()] == expected


def test_titles_are_shown_as_they_are(capsys, folders, monkeypatch):
    titles = load_model(folders[0]).titles.to_pylist()
    odd = [f"[red]:smile:[/] {row}\x1b[2J" for row in range(len(titles))]
    monkeypatch.setattr("recsys_dist.inference.catalog.Catalog.titles", property(lambda _self: _texts(odd)))

    code, out, _ = run(capsys, "recommend", folders[0], "--user", "u1", "--top", "1")

    assert code == 0
    assert "[red]:smile:[/]" in out
    assert "\x1b" not in out


def _texts(texts: list[str]):
    import pyarrow as pa

    return pa.array(texts)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["recommend", "MODEL", "--user", "u1", "--user", "nobody"], "unknown user 'nobody'"),
        (["recommend", "MODEL", "--user", "u1", "--include-seen", "--dataset", "x"], "contradict each other"),
        (["recommend", "MODEL", "--user", "u1", "--output", "lists.xml"], "must end in .json or .csv"),
        (["recommend", "MODEL"], "give --user ID, once or more, --like TITLE, or --all-users"),
        (["recommend", "MODEL", "--all-users"], "needs --output FILE.parquet"),
        (["recommend", "MODEL", "--all-users", "--output", "lists.csv"], "must end in .parquet"),
        (
            ["recommend", "MODEL", "--user", "u1", "--dataset", "nowhere"],
            "there is no folder nowhere; give a folder that `recsys-dist prepare` wrote",
        ),
        (
            ["recommend", "nowhere", "--user", "u1"],
            "there is no folder nowhere; give a folder that `recsys-dist merge` wrote",
        ),
        (["evaluate", "MODEL", "--dataset", "DATASET", "--split", "train"], "use test or valid"),
        (["evaluate", "MODEL", "--dataset", "DATASET", "--device", "warp"], "device 'warp' is not available"),
        (["evaluate", "MODEL", "--dataset", "DATASET", "--device", "meta"], "device 'meta' is not available"),
        (["evaluate", "MODEL", "--dataset", "DATASET", "--output", "no/r.json"], "there is no folder no"),
        (["evaluate", "MODEL", "--dataset", "nowhere", "--output", "MODEL"], "this is not a file"),
        (
            ["merge", "nowhere", "--output", "out"],
            "there is no folder nowhere; give a folder that `recsys-dist train` wrote",
        ),
        (["merge", "nowhere", "--output", "MODEL"], "exists already"),
        (
            ["report", "nowhere", "--output", "r.html"],
            "there is no folder nowhere; give a folder that `recsys-dist train` wrote",
        ),
        (["report", "nowhere", "--output", "no/r.html"], "there is no folder no"),
        (["train", "--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (["prepare", "--config", "CONFIG", "ouput=x"], "unknown key 'ouput'; allowed here: input, items"),
        (["train", "--config", "CONFIG", "seed"], "not of the form key.sub=value"),
        (["verify-parity", "--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (["verify-parity", "--config", "CONFIG", "--ranks", "2"], "give two or more to compare"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, folders, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.yaml").write_text("")
    names = {"MODEL": folders[0], "DATASET": folders[1], "CONFIG": "empty.yaml"}

    code, _, err = run(capsys, *(names.get(argument, argument) for argument in arguments))

    assert reason in one_line_error(code, err)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.yaml"]


@pytest.mark.parametrize(
    "arguments", [["recommend"], ["evaluate", "m"], ["fly"], ["recommend", "m", "--top", "0"]]
)
def test_a_wrong_command_line_exits_with_2(capsys, arguments):
    code, _, err = run(capsys, *arguments)

    assert code == 2
    assert "Traceback" not in err


def test_evaluate_says_what_the_model_was_trained_on(capsys, tmp_path, folders):
    dataset = Dataset.open(folders[1])
    parts = [dataset.ratings("train", shard) for shard in range(len(dataset.shards("users")))]
    user, item, rating = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user_index", "item_index", "rating")
    )
    write_dataset(tmp_path / "other", user, item, rating, np.where(np.arange(len(user)) < 500, 2, 0))

    code, out, _ = run(capsys, "evaluate", folders[0], "--dataset", str(tmp_path / "other"), "--allow-other-split")

    assert code == 0
    assert "Left out: 500 ratings of pairs that the model was trained on" in out


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_whole(path, "old")
    (tmp_path / "link.json").symlink_to(path)
    write_whole(tmp_path / "link.json", "new")
    monkeypatch.setattr("os.fsync", lambda _descriptor: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        write_whole(path, "torn")

    assert path.read_text() == "new"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.json", "report.json"]


@pytest.mark.parametrize(("run_dir", "told"), [("runs/my run", "merge 'runs/my run' --output"), ("a", "merge a ")])
def test_the_command_that_comes_next_can_be_pasted(capsys, run_dir, told):
    print_outcome("FINISHED", run_dir)

    assert told in capsys.readouterr().out


Outcome = enum.Enum("Outcome", ["FINISHED", "EARLY_STOPPED", "PREEMPTED"])


@contextmanager
def fake_train(monkeypatch: pytest.MonkeyPatch, outcome: object) -> Iterator[list]:
    """Stands for recsys_dist.training.run; `outcome` is returned or raised. Yields the configurations it gets."""
    module, given = ModuleType("recsys_dist.training.run"), []

    def train(config):
        given.append(config)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    vars(module)["train"] = train
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "recsys_dist.training.run", module)
        yield given


@pytest.mark.parametrize(("outcome", "code"), [("FINISHED", 0), ("EARLY_STOPPED", 0), ("PREEMPTED", 75)])
def test_train_tells_a_saved_run_by_its_exit_code(capsys, tmp_path, monkeypatch, outcome, code):
    config = tmp_path / "mf.yaml"
    config.write_text("model: {kind: mf}\ndataset: d\n")

    with fake_train(monkeypatch, Outcome[outcome]) as given:
        exit_code, out, _ = run(capsys, "train", "-c", str(config), "model.factors=7", "run_dir=runs/a")

    assert exit_code == code
    assert (given[0].model.factors, given[0].dataset, given[0].run_dir) == (7, "d", "runs/a")
    assert ("merge runs/a" in out) == (code == 0)


@pytest.mark.parametrize(("rank", "told"), [("0", True), ("1", False)])
def test_under_torchrun_the_first_rank_tells_and_the_agent_hears_from_all(
    capsys, tmp_path, monkeypatch, rank, told
):
    config = tmp_path / "mf.yaml"
    config.write_text("model: {kind: mf}\ndataset: d\nrun_dir: r\n")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))

    with fake_train(monkeypatch, TrainingError("rank 1: the loss is\nnot finite")):
        code, _, err = run(capsys, "train", "-c", str(config))

    assert code == 2
    assert err == ("error: rank 1: the loss is not finite\n" if told else "")
    recorded = json.loads((tmp_path / "error.json").read_text())["message"]
    assert "not finite" in recorded["message"]
    assert "File" not in recorded["extraInfo"]["py_callstack"]


@pytest.mark.parametrize(("rank", "local_rank", "told"), [("0", "0", True), ("2", "0", True), ("3", "1", False)])
def test_the_first_rank_of_each_node_tells_that_its_peers_are_gone(
    capsys, tmp_path, monkeypatch, rank, local_rank, told
):
    (tmp_path / "mf.yaml").write_text("model: {kind: mf}\ndataset: d\nrun_dir: r\n")
    ranks = {"RANK": rank, "LOCAL_RANK": local_rank, "TORCHELASTIC_ERROR_FILE": str(tmp_path / "error.json")}
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)

    with fake_train(monkeypatch, PeerError("no word from rank 1")):
        code, _, err = run(capsys, "train", "-c", str(tmp_path / "mf.yaml"))

    assert (code, err) == (2, "error: no word from rank 1\n" if told else "")


def test_one_of_several_ranks_leaves_without_the_end_of_the_interpreter(capsys, tmp_path, monkeypatch):
    (tmp_path / "mf.yaml").write_text("model: {kind: mf}\ndataset: d\nrun_dir: r\n")
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    for ranks in ("1", "2"):
        monkeypatch.setenv("WORLD_SIZE", ranks)
        with fake_train(monkeypatch, TrainingError("no")):
            assert run(capsys, "train", "-c", str(tmp_path / "mf.yaml"))[0] == 2

    assert codes == [2]


def test_without_an_agent_every_rank_tells(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)

    code, _, err = run(capsys, "train", "-c", str(tmp_path / "nowhere.yaml"))

    assert "nowhere.yaml" in one_line_error(code, err)


def test_a_defect_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "mf.yaml").write_text("model: {kind: mf}\ndataset: d\nrun_dir: r\n")

    with fake_train(monkeypatch, ZeroDivisionError()), pytest.raises(ZeroDivisionError):
        main(["train", "-c", str(tmp_path / "mf.yaml")])


def test_prepare_passes_the_settings_on_and_sums_up(capsys, tmp_path, monkeypatch):
    dataset = small_dataset(tmp_path / "dataset")
    module, given = ModuleType("recsys_dist.preparation.prepare"), []

    def prepare(config, progress, tell):
        given.append(config)
        tell("2 user ids are odd\x1b[2J")
        progress("parse", 1, 2)
        progress("parse", 2, 2)
        if len(given) > 1:
            raise DataError("ratings.dat: line 7 is odd")
        rows = {"read": dataset.manifest.rows.read + 5, "rejected": {"bad rating": 5}}
        return dataset.manifest.model_copy(update={"rows": dataset.manifest.rows.model_copy(update=rows)})

    vars(module)["prepare"] = prepare
    monkeypatch.setitem(sys.modules, "recsys_dist.preparation.prepare", module)
    config = tmp_path / "prepare.yaml"
    config.write_text("input: {paths: ratings.csv, columns: {user: u, item: i, rating: r}}\n")

    code, out, err = run(capsys, "prepare", "--config", str(config), "output=out")

    assert (code, given[0].output) == (0, "out")
    assert "2/2" in err
    told = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.splitlines() if "│" in line}
    assert told["rejected: bad rating"] == "5"
    assert told["rows kept"] == f"{dataset.manifest.rows.kept:,}"
    assert told["ratings to test"] == f"{dataset.manifest.num_ratings['test']:,}"
    assert out.splitlines()[-1] == "Note: 2 user ids are odd\N{REPLACEMENT CHARACTER}[2J"
    code, _, err = run(capsys, "prepare", "--config", str(config), "output=out")
    assert code == 2
    assert err.splitlines()[-1] == "error: ratings.dat: line 7 is odd"


@pytest.mark.parametrize("command", ["prepare", "train", "merge", "evaluate", "recommend", "report"])
def test_launch_files_are_the_commands_and_help_is_fast(tmp_path, command):
    """From a checkout, in any folder, without torch or Dask."""
    script = ROOT / "launch" / f"{command}.py"
    code = (
        "import atexit, runpy, sys\n"
        "heavy = {'torch', 'dask', 'pyarrow', 'numpy', 'matplotlib'}\n"
        "atexit.register(lambda: sys.stdout.write(f'heavy: {sorted(heavy & set(sys.modules))}'))\n"
        f"sys.argv = [{str(script)!r}, '--help']\n"
        f"sys.path.insert(0, {str(script.parent)!r})\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert f"Usage: {command}.py" in done.stdout
    assert done.stdout.endswith("heavy: []")
    assert len(script.read_text().splitlines()) <= 40
