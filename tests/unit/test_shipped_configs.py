"""`--config NAME`: what a name stands for, and that neither it nor a file of that name wins in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_dist import shipped_configs
from recsys_dist.config import load_settings
from recsys_dist.errors import ConfigError
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.shipped_configs import config_names, find_config
from recsys_dist.training.config import TrainConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PLACES = {
    PrepareConfig: ["output=o", "input.paths=r.csv", "items.paths=i.csv"],
    TrainConfig: ["dataset=d", "run_dir=r"],
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_shipped_configuration_has_its_name():
    assert config_names() == sorted(path.stem for path in CONFIGS.iterdir())
    assert {"mf", "autorec_item", "prepare_csv"} <= set(config_names())
    assert all(find_config(name).samefile(CONFIGS / f"{name}.yaml") for name in config_names())


@pytest.mark.parametrize(("name", "kind"), [("mf", TrainConfig), ("prepare_movielens", PrepareConfig)])
def test_a_name_is_as_good_as_the_path(name, kind):
    by_path = load_settings(kind, CONFIGS / f"{name}.yaml", PLACES[kind])

    assert load_settings(kind, find_config(name), PLACES[kind]) == by_path


def test_an_installed_package_has_them_within(tmp_path, monkeypatch):
    (tmp_path / "package" / "configs").mkdir(parents=True)
    (tmp_path / "package" / "configs" / "mine.yaml").touch()
    monkeypatch.setattr(shipped_configs, "files", lambda _package: tmp_path / "package")

    assert config_names() == ["mine"]
    assert find_config("mine") == tmp_path / "package" / "configs" / "mine.yaml"


@pytest.mark.parametrize("path", ["./mf", "folder/mf", "mf.yaml", "mf.yml", "/mf", "no/such.yaml", "../mf"])
def test_with_a_separator_or_an_ending_it_is_a_path(path):
    assert find_config(path) == Path(path)


@pytest.mark.parametrize("name", ["mff", "MF", "", ".", "mf.json", "prepare"])
def test_an_unknown_name_is_answered_with_all_names(name):
    with pytest.raises(ConfigError) as refused:
        find_config(name)

    assert repr(name) in str(refused.value)
    assert f"{CONFIGS} holds autorec_item, autorec_user, ease, " in str(refused.value)
    assert ", ials, mf, prepare_csv" in str(refused.value)


@pytest.mark.parametrize("file", ["mine", "mine.yaml", "mine.yml"])
def test_a_file_without_a_path_is_no_name_and_the_refusal_tells_its_path(working_folder, file):
    (working_folder / file).touch()

    with pytest.raises(ConfigError, match=f"give its path: ./{file}$"):
        find_config("mine")


@pytest.mark.parametrize("file", ["mf", "mf.yaml", "mf.yml"])
def test_a_file_of_the_same_name_makes_the_name_ambiguous(working_folder, file):
    (working_folder / file).write_text("model: {kind: mf, factors: 3}\n")

    with pytest.raises(ConfigError) as refused:
        find_config("mf")

    # Both can be told apart by what the refusal says.
    assert f"write ./{file} for the file, or {CONFIGS / 'mf.yaml'} for the shipped one" in str(refused.value)
    assert find_config(f"./{file}").read_text() != find_config(str(CONFIGS / "mf.yaml")).read_text()


def test_a_folder_of_that_name_or_the_shipped_file_itself_is_no_second_meaning(working_folder, monkeypatch):
    (working_folder / "mf").mkdir()
    assert find_config("mf") == CONFIGS / "mf.yaml"

    monkeypatch.chdir(CONFIGS)
    assert find_config("mf").samefile(CONFIGS / "mf.yaml")
