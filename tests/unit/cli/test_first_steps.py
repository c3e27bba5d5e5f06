"""What a newcomer types first: each mistake is one line with what was meant, or would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_dist.cli import main
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset

MISTAKES = [
    ("trian", "No such command 'trian'. Did you mean 'train'? See `recsys-dist --help`"),
    ("train --confg mf", "No such option: --confg (Possible options: --config)"),
    ("train", "train needs --config: the name of a shipped configuration such as mf"),
    ("merge", "Missing argument 'RUN_DIR'; see `recsys-dist merge --help`"),
    ("prepare r.csv", "needs --config; `recsys-dist inspect r.csv --output mine.yaml` proposes a configuration"),
    ("prepare", "`recsys-dist inspect FILE --output mine.yaml` proposes a configuration"),
    ("prepare -c r.csv", "For the file r.csv, `recsys-dist inspect r.csv --output mine.yaml` proposes"),
    ("prepare -c ./r.csv", "if it holds ratings, `recsys-dist inspect r.csv --output mine.yaml` proposes"),
    ("prepare -c p.yaml r.csv", "not of the form key.sub=value; for a path write input.paths=r.csv"),
    ("train -c mf data", "not of the form key.sub=value; for a path write dataset=data"),
    (
        "prepare -c pp.yaml",
        "cannot read the configuration pp.yaml: No such file or directory; did you mean p.yaml?",
    ),
    ("prepare -c no/p.yaml", "No such file or directory: there is no folder no"),
    ("train -c mff", "no shipped configuration has this name"),
    ("train -c autorec_itm", "did you mean autorec_item?"),
    ("train -c mf factors=8", "unknown key 'factors'; allowed here: dataset, "),
    ("train -c mf factors=8", "did you mean model.factors?"),
    ("train -c mf epochs=8", "did you mean training.epochs?"),
    ("train -c mf model.epochs=8", "did you mean training.epochs?"),
    ("train -c mf model.factor=8", "did you mean model.factors?"),
    ("train -c mf model.epochs=8 sed=1", "did you mean training.epochs? unknown key 'sed'"),
    ("train -c mf model.nose=8 model.factor=1", "did you mean model.noise for 'model.nose', model.factors for"),
    (
        "train -c mf model.kind=mff",
        "; did you mean mf?",  # other tests may have added kinds
    ),
    (
        "train -c mf model.noise=user",
        "Input should be 'auto', 'shared', 'users' or 'both', not 'user'",
    ),
    ("train -c mf model.noise=user", "did you mean users?"),
    ("train -c mf model=ease", "model: has keys of its own and takes no value; give them as model.kind=VALUE"),
    ("train -c mf training=3", "training: has keys of its own and takes no value; give them as training.epochs="),
    ("train -c mf split.test=0.2", "unknown key 'split'"),
    ("train -c mf split.test=0.2", "it is a key of `recsys-dist prepare`"),
    (
        "train -c p.yaml",
        "p.yaml is a configuration for `recsys-dist prepare` (it has the key input, and no",
    ),
    ("train -c prepare_csv", "not for `recsys-dist train`, which takes one such as --config mf"),
    ("verify-parity -c prepare_csv", "is a configuration for `recsys-dist prepare`"),
    ("prepare -c mf", "mf.yaml is a configuration for `recsys-dist train` (it has the key model, and no input)"),
    ("prepare -c p.yaml output=x split.kind=tim", "split.kind: 'tim' is not one of 'random', "),
    ("prepare -c p.yaml output=x split.kind=tim", "did you mean time?"),
    ("prepare -c p.yaml output=x split.kind=time split.by=hash", "split.by is a key of another split.kind"),
    ("prepare -c p.yaml output=x kind=time", "did you mean split.kind or cluster.kind?"),
    ("prepare -c p.yaml output=x input.paths=no/r.csv", "there is no file no/r.csv: there is no folder no"),
    ("prepare -c p.yaml output=x input.paths=r.cvs", "there is no file r.cvs; did you mean r.csv?"),
    (
        "train -c mf dataset=r.csv run_dir=x",
        "r.csv is a file, not a prepared dataset; `recsys-dist prepare`",
    ),
    ("train -c mf dataset=dta run_dir=x", "there is no folder dta; did you mean data?"),
    ("train -c mf dataset=model run_dir=x", "model is a model folder, not a prepared dataset"),
    ("train -c mf dataset=data run_dir=x start_from=data", "data is a prepared dataset, not a training run"),
    ("merge data -o x", "data is a prepared dataset, not a training run"),
    ("merge model -o x", "model is a model folder, not a training run"),
    ("report data -o x.html", "data is a prepared dataset, not a training run"),
    ("evaluate data --dataset data", "data is a prepared dataset, not a model folder"),
    ("evaluate model --dataset model", "model is a model folder, not a prepared dataset"),
    ("evaluate model --dataset data --split tset", "use test or valid; did you mean test?"),
    ("recommend r.csv --user u1", "r.csv is a file, not a model folder"),
    ("recommend model --user u1 --rank-by lowr", "did you mean lower?"),
    ("blend model model --dataset data -o x --for list", "did you mean lists?"),
    ("inspect nowhere", "there is no file nowhere"),
    ("inspect model --output x.yaml", "--output is for input files, but model is a model folder"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of ratings, its configuration, a dataset and a model."""
    root = tmp_path_factory.mktemp("place")
    dataset = small_dataset(root / "data")
    write_merged(mf_run(dataset), dataset, root / "model")
    (root / "r.csv").write_text("user,item,rating\nu,i,3\nv,j,4\n")
    (root / "p.yaml").write_text("input: {paths: r.csv, columns: {user: user, item: item, rating: rating}}\n")
    return root


@pytest.mark.parametrize(("command", "told"), MISTAKES)
def test_a_mistake_is_one_line_that_helps(place, monkeypatch, capsys, command, told):
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    with pytest.raises(SystemExit) as ended:
        main(command.split())

    # Commands may tell of the machine before, such as of busy cores.
    line = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert line.startswith("error: ")
    assert told in line
    assert sorted(place.iterdir()) == before


def test_without_arguments_the_program_shows_its_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 2
    assert "prepare" in capsys.readouterr().err
