"""One line for a person that names the key, whatever is wrong with a configuration."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from recsys_dist.config import Settings, load_settings
from recsys_dist.errors import ConfigError
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.settings.split import FilesSplit


class Red(Settings):
    kind: Literal["red"]
    depth: int = Field(default=3, ge=1)


class Blue(Settings):
    kind: Literal["blue"]
    width: float = 0.5


class Titles(Settings):
    paths: tuple[str, ...] = ()
    column: int | str = "title"


class Job(Settings):
    output: str
    model: Annotated[Red | Blue, Field(discriminator="kind")] = Red(kind="red")
    titles: Titles | None = None


def load(tmp_path: Path, text: str, *overrides: str) -> Job:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return load_settings(Job, path, overrides)


def test_overrides_replace_single_keys_and_make_missing_branches(tmp_path: Path) -> None:
    text = "output: a\nmodel: {kind: red, depth: 2}\ntitles:\n"

    job = load(tmp_path, text, "model.depth=7", "output=s3://bucket/x=y", "titles.paths=[a, b]")

    assert job == Job(output="s3://bucket/x=y", model=Red(kind="red", depth=7), titles=Titles(paths=("a", "b")))


@pytest.mark.parametrize("text", ["::", ": ", "a: b"])
def test_signs_that_yaml_reads_as_a_mapping_stay_a_text(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "model: {kind: red, depth: 2}\n", f"output={text}").output == text


PLAIN = [
    "|",
    "#",
    " ",
    "-",
    "~",
    "20240501",
    "007",
    "1.50",
    "1_000",
    "2024-05-01",
    "1:30",
    "a #b",
    "a, b",
    "no",
    "true",
]


@pytest.mark.parametrize("text", [*PLAIN, "[ab]*.csv", "{a,b}.csv", '"', "'", ""])
def test_a_text_stays_as_it_was_typed(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "output: a\n", f"output={text}").output == text


def test_a_value_in_quotes_or_brackets_is_yaml_and_backslash_t_is_a_tab(tmp_path: Path) -> None:
    job = load(tmp_path, "", 'output="a\\tb"', "titles={paths: ['007', b], column: 3}")

    assert (job.output, job.titles) == ("a\tb", Titles(paths=("007", "b"), column=3))
    assert load(tmp_path, "", "output=\\t").output == "\t"


@pytest.mark.parametrize(
    ("overrides", "job"),
    [
        (["output=7", "model.depth=7"], Job(output="7", model=Red(kind="red", depth=7))),
        (
            ["output=0.10", "model={kind: blue}", "model.width=1e-3"],
            Job(output="0.10", model=Blue(kind="blue", width=0.001)),
        ),
        (["output=8", "output=a", "titles.column=3"], Job(output="a", titles=Titles(column=3))),
        (["output=8", "titles.column=3", "titles=null"], Job(output="8")),
        (["output=8", "titles.column=03"], Job(output="8", titles=Titles(column="03"))),
    ],
)
def test_a_number_is_one_where_the_key_takes_one(tmp_path: Path, overrides: list[str], job: Job) -> None:
    assert load(tmp_path, "output: a\nmodel: {kind: red}\n", *overrides) == job


def test_positions_fractions_and_paths_of_a_preparation(tmp_path: Path) -> None:
    path = tmp_path / "prepare.yaml"
    path.write_text("input: {columns: {user: 0, item: 1, rating: 2}, header: false}\noutput: a\n")
    overrides = ["input.columns.timestamp=3", "split={kind: files, train: a, test: b}", "input.separator=|"]

    drawn = load_settings(PrepareConfig, path, [*overrides, "split.valid=0.1", "split.test=20240501"])

    assert (drawn.input.columns.timestamp, drawn.input.separator) == (3, "|")
    assert drawn.split == FilesSplit(kind="files", train=("a",), test=("20240501",), valid=0.1)
    for wrong in ("2024", "-1"):
        with pytest.raises(ConfigError, match=r"split\.valid"):
            load_settings(PrepareConfig, path, [*overrides, f"split.valid={wrong}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output: a\nmodel:\n  kind: red\noutput: b\n", r"job\.yaml line 4: duplicate key 'output'"),
        (
            "output: a\nmodel:\n  kind: red\n  depth: 2\n  depth: 3\n",
            r"job\.yaml line 5: duplicate key 'depth'",
        ),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("outptu=b", "unknown key 'outptu'; allowed here: output, model, titles"),
        ("model.width=1", "unknown key 'model.width'; allowed here: kind, depth"),
        ("titles.path=x", "unknown key 'titles.path'; allowed here: paths, column"),
        ("model.depth=0", "model.depth: Input should be greater than or equal to 1"),
        ("model.depth=deep", "model.depth: Input should be a valid integer"),
        ("model.kind=green", "model.kind: 'green' is not one of 'red', 'blue'"),
        ("model={depth: 1}", "key 'model.kind' is required"),
        ("titles.column=[1]", "titles.column: Input should be a valid string"),
        (
            "model={kind: red, kind: blue}",
            "override 'model={kind: red, kind: blue}' line 1: duplicate key 'kind'",
        ),
        ("output=null", "output: Input should be a valid string"),
        ("titles.paths=[1]", "titles.paths.0: Input should be a valid string"),
        ("output.folder=x", "override 'output.folder=x': 'output' is a value and has no keys below it"),
        ("output", "override 'output' is not of the form key.sub=value"),
        ("=x", "override '=x' is not of the form key.sub=value"),
        ("model..depth=1", "is not of the form key.sub=value"),
    ],
)
def test_a_wrong_override_names_its_key(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "output: a\nmodel: {kind: red}\n", override)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_unknown_keys_of_a_place_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "output: a\nmodel: {kind: red}\n", "a=1", "model.size=1", "b=2", "titles.where=x")

    told = str(caught.value).partition("job.yaml: ")[2].split("; ")
    assert told == [
        *("unknown key 'model.size'", "allowed here: kind, depth"),
        *("unknown key 'titles.where'", "allowed here: paths, column"),
        *("unknown keys 'a', 'b'", "allowed here: output, model, titles"),
    ]


def test_a_required_key_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml: key 'output' is required; .* output=VALUE"):
        load(tmp_path, "")


@pytest.mark.parametrize(
    "text", ["- a\n", "output: [\n", "output: a\x00\n", "!!python/object/apply:os.getcwd []\n"]
)
def test_what_is_no_plain_yaml_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml") as caught:
        load(tmp_path, text)

    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_settings(Job, tmp_path / "none.yaml")


def test_settings_cannot_be_changed_later(tmp_path: Path) -> None:
    job: Any = load(tmp_path, "output: a")

    with pytest.raises(ValueError, match="frozen"):
        job.output = "b"
