"""What README.md and docs/ name exists: commands, options, keys, files, Python, messages, links, figures."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import recsys_dist
from docs.site_builder.cli_page import cli_page, commands
from docs.site_builder.configuration_page import configuration_page
from docs.site_builder.hook import GENERATED
from docs.site_builder.messages_page import GAP, texts
from docs.site_builder.notebook_pages import notebook_pages
from docs.site_builder.pictures import IMAGES, PICTURES
from docs.site_builder.settings_keys import all_keys
from docs.site_builder.tables import with_tables
from recsys_dist.api.model import Model
from recsys_dist.config import load_settings
from recsys_dist.errors import ConfigError
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.shipped_configs import config_names, find_config
from recsys_dist.training.config import load_training
from tests.families.cases import know_example
from tests.support.job_commands import REPOSITORY
from tests.support.pages import Block, blocks, code_spans, links, page_paths, prose

BLOCKS = blocks()
PAGES = page_paths()
README, DOCS = REPOSITORY / "README.md", REPOSITORY / "docs"
MADE = {*GENERATED, *notebook_pages()}
MOST_LINES = 130
FILE = re.compile(
    r"(?<![\w/.~-])(?:launch|configs|docker|benchmarks|examples|tests|docs|recsys_dist)/[\w./-]*[\w/]"
)
KEY = re.compile(r"(?:model|training|checkpoint|input|items|ratings|split|shards|cluster)\.[a-z_.0-9]+(?==|$)")
OPTION = re.compile(r"--[a-z][a-z-]+")
OPTIONS_OF_OTHERS = {
    "--help",
    "--index-url",
    "--node-rank",
    "--rdzv-backend",
    "--logdir",
    "--version",
    "--install-completion",
}
FILE_ENDINGS = (".csv", ".dat", ".gz", ".py", ".json", ".yaml", ".parquet", ".faiss", ".usearch")
EXAMPLE = REPOSITORY / "examples" / "neumf.yaml"


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def commands_of(block: Block) -> Iterator[list[str]]:
    """The arguments of this program in a block of sh, whoever starts it."""
    for words in block.commands if block.language == "sh" else ():
        for place, word in enumerate(words):
            if word == "recsys-dist":
                yield words[place + 1 :]
            elif word == "launch/train.py":
                yield ["train", *words[place + 1 :]]
            elif words[place - 1 : place + 1] == ["-m", "recsys_dist"]:
                yield words[place + 1 :]


TYPED = [(block.name, words) for block in BLOCKS for words in commands_of(block)]
SPANS = [(name_of(page), span) for page in PAGES for span in code_spans(page)]


@pytest.mark.parametrize(
    "words", [words for _, words in TYPED], ids=[f"{where} {words[0]}" for where, words in TYPED]
)
def test_a_command_has_these_options_and_keys(words: list[str]) -> None:
    command = commands()[words[0]]
    context = command.make_context(words[0], list(words[1:]))
    if "config" in context.params:
        _check_settings(words[0], context.params["config"], context.params["overrides"] or [])


def _check_settings(command: str, config: str, overrides: list[str]) -> None:
    """Validate the settings; those of a file that only the reader has are read on top of a shipped one."""
    if command == "prepare":
        path = find_config(config if config in config_names() else "prepare_csv")
        load_settings(PrepareConfig, path, ["input.paths=a.csv", "output=out", *overrides])
        return
    know_example()
    shipped = config if config in config_names() or (REPOSITORY / config).is_file() else "mf"
    path = EXAMPLE if config == EXAMPLE.name else REPOSITORY / find_config(shipped)
    kind = ["model.kind=neumf"] if path == EXAMPLE else []
    load_training(path, ["dataset=a", "run_dir=b", *overrides, *kind])


def test_a_wrong_key_in_a_command_is_found() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        _check_settings("train", "mf", ["model.factor=3"])


def test_programs_of_the_checkout_that_a_block_starts_are_there() -> None:
    modules = [
        words[place + 1]
        for block in BLOCKS
        if block.language == "sh"
        for words in block.commands
        for place, word in enumerate(words[:-1])
        if word == "-m" and words[place + 1].startswith(("benchmarks.", "docs."))
    ]
    missing = [name for name in modules if not (REPOSITORY / f"{name.replace('.', '/')}.py").is_file()]
    assert modules
    assert not missing


def test_files_that_pages_name_are_there() -> None:
    named = {(name_of(page), name) for page in PAGES for name in FILE.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert not [(page, name) for page, name in named if not _is_there(page, name)]


def _is_there(page: str, name: str) -> bool:
    return (REPOSITORY / name).exists() or (REPOSITORY / page).parent.joinpath(name).exists()


def test_keys_within_sentences_exist() -> None:
    keys = all_keys()
    named = [(page, key) for page, span in SPANS for key in KEY.findall(span) if not key.endswith(FILE_ENDINGS)]
    # `model.predict` and the like are methods in Python.
    wrong = [(page, key) for page, key in named if key not in keys and not hasattr(Model, key.split(".")[1])]
    assert len(named) > 40
    assert not wrong


def test_options_within_sentences_exist() -> None:
    by_command = {name: _options(command) for name, command in commands().items()}
    every = set().union(*by_command.values()) | OPTIONS_OF_OTHERS
    wrong = []
    for page, span in SPANS:
        if "benchmarks" in page or "torchrun" in span:
            continue
        words = span.removeprefix("recsys-dist ").split()
        allowed = by_command.get(words[0], every) | {"--help"}
        wrong += [(page, span) for option in OPTION.findall(span) if option not in allowed]
    assert not wrong


def _options(command: Any) -> set[str]:
    return {name for one in command.params if one.param_type_name == "option" for name in _names(one)}


def _names(option: Any) -> list[str]:
    return [*option.opts, *option.secondary_opts]


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "python"], ids=lambda one: one.name)
def test_python_uses_names_and_arguments_that_exist(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rd":
            assert node.attr in recsys_dist.__all__
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_public(node.func):
            known = inspect.signature(getattr(recsys_dist, node.func.attr)).parameters
            assert {word.arg for word in node.keywords if word.arg} <= known.keys()


def _is_public(function: ast.Attribute) -> bool:
    return isinstance(function.value, ast.Name) and function.value.id == "rd"


@cache
def _all_texts() -> str:
    package = Path(recsys_dist.__file__).parent
    found = [text for path in package.rglob("*.py") for text in texts(ast.parse(path.read_text(encoding="utf-8")))]
    return "\n".join(found)


def test_messages_that_are_explained_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| (`.*?) \|", (REPOSITORY / "docs/operate/failures.md").read_text(encoding="utf-8"), re.M
    )
    pieces = [piece.strip() for row in rows for span in re.findall(r"`([^`]+)`", row) for piece in span.split(GAP)]
    assert len(pieces) > 20
    assert not [piece for piece in pieces if piece not in _all_texts()]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in links(page):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if DOCS in linked.parents and not linked.exists():
            assert linked.relative_to(DOCS).as_posix() in MADE, target
            continue
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_of_figures_are_those_of_their_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run python -m docs.site_builder.tables"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_those_of_their_figures(name: str) -> None:
    drawn = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert drawn == PICTURES[name](), "run python -m docs.site_builder.pictures"


def test_the_readme_is_one_screen() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_page_of_the_command_line_has_every_option() -> None:
    page = cli_page()
    missing = [name for command in commands().values() for name in _options(command) if name not in page]
    assert not missing


def test_the_page_of_the_configuration_describes_every_key_of_models() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \| (.*) \|$", configuration_page(), re.MULTILINE)
    described = {key for key, meaning in rows if meaning.strip()}
    models = {key.removeprefix("model.") for key in all_keys() if key.startswith("model.")}
    assert not models - described - {"kind"}
