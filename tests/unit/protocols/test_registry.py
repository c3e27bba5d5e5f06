"""Families of one's own: what is wrong with one is told in a line, before any work, and a name imports nothing."""

from __future__ import annotations

import importlib.metadata
import sys
from textwrap import dedent

import pytest

from recsys_dist.errors import ConfigError
from recsys_dist.protocols import registry
from recsys_dist.training.config import TrainConfig, load_training

HEAD = """
from typing import Literal
import torch
from recsys_dist import ModelFamily, ModelSettings, PairFamily, PairSettings
"""
SETTINGS = """
class OwnSettings(PairSettings):
    kind: Literal["own"] = "own"
    factors: int = 2
"""
FAMILY = """
class Own(PairFamily[OwnSettings]):
    name, settings = "own", OwnSettings
    user_tables, item_tables = ("user.weight",), ("item.weight",)

    def build(self, settings, num_users, num_items, rating):
        module = torch.nn.ModuleDict()
        module["user"] = torch.nn.Embedding(num_users + 1, settings.factors)
        module["item"] = torch.nn.Embedding(num_items + 1, settings.factors)
        return module
"""


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch, tmp_path):
    """Nothing is known but what is installed, and modules are found in the working folder."""
    monkeypatch.setattr(registry, "_added", {})
    registry._load.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    registry._load.cache_clear()
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def write(tmp_path, name: str, text: str) -> None:
    (tmp_path / f"{name}.py").write_text(dedent(HEAD + SETTINGS) + text)


WRONG = {
    "no module": ("", "own_nowhere:Own", r"own_nowhere cannot be imported: ModuleNotFoundError: No module named"),
    "a module that fails": ("\n1 / 0\n", "{}:Own", r"cannot be imported: ZeroDivisionError: division by zero"),
    "no class": ("", "{}:Own", r"the module own_\w+ has no class Own"),
    "no family": ("\nclass Own:\n    pass\n", "{}:Own", r"Own is not a subclass of recsys_dist\.ModelFamily"),
    "not a class": ("\nOwn = 3\n", "{}:Own", r"Own is not a subclass"),
    "no methods": (
        "\nclass Own(ModelFamily[OwnSettings]):\n    name, settings = 'own', OwnSettings\n",
        "{}:Own",
        r"does not implement export, scorer, trainer",
    ),
    "no build": (
        "\nclass Own(PairFamily[OwnSettings]):\n    name = 'own'\n",
        "{}:Own",
        r"does not implement build",
    ),
    "no name": (
        FAMILY.replace('name, settings = "own", OwnSettings', "settings = OwnSettings"),
        "{}:Own",
        r"`name`",
    ),
    "no settings": (
        FAMILY.replace('name, settings = "own", OwnSettings', 'name, settings = "own", dict'),
        "{}:Own",
        r"`settings` is not a subclass of recsys_dist\.ModelSettings",
    ),
    "another kind": (
        FAMILY.replace('name, settings = "own"', 'name, settings = "other"'),
        "{}:Own",
        r"default `kind` 'own'",
    ),
    "a taken name": (
        FAMILY.replace('"own", OwnSettings', '"mf", OwnSettings').replace(
            "class Own(", "OwnSettings.model_fields['kind'].default = 'mf'\nclass Own("
        ),
        "{}:Own",
        r"the name 'mf' is taken by recsys_dist\.families\.mf\.family:MatrixFactorization",
    ),
    "no colon": (FAMILY, "{}", r"is not of the form MODULE:CLASS"),
    "needs arguments": (
        FAMILY + "\n    def __init__(self, size):\n        self.size = size\n",
        "{}:Own",
        r"cannot be constructed without arguments: TypeError",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_family_is_told_in_one_line(tmp_path, case):
    text, spec, told = WRONG[case]
    name = f"own_{case.replace(' ', '_')}"
    if text or spec.startswith("{}"):
        write(tmp_path, name, text)
    with pytest.raises(ConfigError, match=told) as refused:
        registry.add_family(spec.replace("{}", name))
    assert "\n" not in str(refused.value)
    assert spec.replace("{}", name) in str(refused.value)


def config(tmp_path, kind: str, *overrides: str) -> TrainConfig:
    (tmp_path / "own.yaml").write_text(f"model: {{kind: '{kind}'}}\n")
    return load_training(tmp_path / "own.yaml", ["dataset=d", "run_dir=r", *overrides])


def test_a_configuration_may_name_one_and_what_is_saved_holds_its_name_alone(tmp_path):
    write(tmp_path, "own_family", FAMILY)
    found = config(tmp_path, "own_family:Own", "model.factors=7")
    assert found.model.model_dump()["factors"] == 7
    saved = found.model_dump(mode="json")
    assert saved["model"]["kind"] == "own"
    assert TrainConfig.model_validate(saved) == found


def test_a_file_names_one_by_its_class_again(tmp_path):
    write(tmp_path, "own_family", FAMILY)
    found = config(tmp_path, "own_family:Own")
    assert registry.name_for_configuration(found.family) == "own_family:Own"
    assert registry.name_for_configuration(registry.family_named("mf")) == "mf"


def test_a_wrong_setting_of_one_is_named_with_what_is_allowed(tmp_path):
    write(tmp_path, "own_family", FAMILY)
    with pytest.raises(ConfigError, match=r"unknown key 'model\.factor'; allowed here: kind, .*factors"):
        config(tmp_path, "own_family:Own", "model.factor=7")
    with pytest.raises(ConfigError, match=r"model\.factors: Input should be a valid integer"):
        config(tmp_path, "own_family:Own", "model.factors=seven")


def test_what_a_checkpoint_says_imports_nothing(tmp_path):
    write(tmp_path, "own_evil", "\nraise AssertionError('imported')\n")
    tree = {"dataset": "d", "run_dir": "r", "model": {"kind": "own_evil:Own"}}
    with pytest.raises(Exception, match=r"'own_evil:Own' is not one of autorec, .*mf"):
        TrainConfig.model_validate(tree)
    with pytest.raises(ConfigError, match=r"MODEL is of the family 'own_evil:Own', which is not installed"):
        registry.known_family("own_evil:Own", of="MODEL")
    assert "own_evil" not in sys.modules


def test_an_installed_package_brings_its_families(tmp_path, monkeypatch):
    write(tmp_path, "own_family", FAMILY)
    point = importlib.metadata.EntryPoint("own", "own_family:Own", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    registry._installed.cache_clear()
    try:
        assert {"mf", "own"} <= set(registry.names())
        assert registry.family_named("own").name == "own"
    finally:
        registry._installed.cache_clear()


def test_the_same_family_may_be_named_twice_and_another_one_of_its_name_not(tmp_path):
    write(tmp_path, "own_family", FAMILY)
    write(tmp_path, "own_other", FAMILY)
    registry.add_family("own_family:Own")
    registry.add_family("own_family:Own")
    with pytest.raises(ConfigError, match=r"the name 'own' is taken by own_family:Own"):
        registry.add_family("own_other:Own")
