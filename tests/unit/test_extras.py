"""How to install an extra: from the checkout, or where there is only a wheel its packages."""

from pathlib import Path

import pytest

from recsys_dist import extras


@pytest.mark.parametrize(("is_here", "place"), [(True, "."), (False, str(extras.ROOT))])
def test_in_a_checkout_it_is_installed_from_there(monkeypatch, tmp_path, is_here, place):
    monkeypatch.chdir(extras.ROOT if is_here else tmp_path)

    assert extras.how_to_install("report") == f"pip install -e '{place}[report]'"
    assert "matplotlib>=3.10" in extras.requirements()["report"]


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (
            ["numpy>=2.1", "matplotlib>=3.10; extra == 'report'", 'jinja2>=3.1; extra == "report"'],
            "pip install 'matplotlib>=3.10' 'jinja2>=3.1'",
        ),
        (None, "pip install 'recsys-dist[report]'"),
    ],
)
def test_without_a_checkout_its_packages_are_named(monkeypatch, tmp_path, listed, told):
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    monkeypatch.setattr(extras, "requires", lambda _name: listed)

    assert extras.how_to_install("report") == told


def test_only_one_module_says_how_to_install_an_extra():
    """A package that is not published, or a checkout, is not where every reader has this program from."""
    package = Path(extras.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    naming = [name for name, text in texts.items() if "install recsys-dist[" in text or "install -e" in text]
    assert naming == ["extras.py"]
