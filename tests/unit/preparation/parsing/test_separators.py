"""A file with another separator than its settings say: the suspicion, and that there is none without a reason."""

from __future__ import annotations

import pytest

from recsys_dist.config import parse_settings
from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.parsing.layout import read_layout
from recsys_dist.preparation.settings.prepare import PrepareConfig

NAMES = {"user": "user", "item": "item", "rating": "rating"}
POSITIONS = {"user": 0, "item": 1, "rating": 2}


def refusal(path, text, separator, columns) -> str:
    path.write_text(text)
    tree = {"paths": str(path), "separator": separator, "header": columns is NAMES, "columns": columns}
    settings = parse_settings(PrepareConfig, {"input": tree, "output": "out"}, "test").input
    file = find_files("input.paths", [str(path)], settings)[0]
    with pytest.raises(DataError) as caught:
        read_layout(file, settings, columns, "input")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "separator", "columns", "hint"),
    [
        ("user;item;rating\nu;i;3\n", ",", NAMES, "; the separator seems to be ';': set 'input.separator=;'"),
        ("user\titem\trating\n", ",", NAMES, r"; the separator seems to be 'tab': set 'input.separator=\t'"),
        ("user,item,rating\n", "|", NAMES, "; the separator seems to be ',': set input.separator=,"),
        ('"user"|"item"|"rating"\n', ",", NAMES, "; the separator seems to be '|': set 'input.separator=|'"),
        ("u::i::3\nv::j::4\n", ",", POSITIONS, "; the separator seems to be '::': set input.separator=::"),
        ("u,i,3\nv,j,4\n", "::", POSITIONS, "; the separator seems to be ',': set input.separator=,"),
        ("member;film;stars\n", ",", NAMES, "; the separator seems to be ';': set 'input.separator=;'"),
        ("userid,item,rating\n", ",", NAMES, "; did you mean userid?"),
        ("Rating,item,user\n", ",", NAMES, "; did you mean Rating?"),
        ("who,what,rating\n", ",", NAMES, "who, what, rating"),
        ("u,i\nv,j\n", ",", POSITIONS, "have 2 fields between separators ','"),
    ],
)
def test_another_separator_or_a_similar_column_is_suspected(tmp_path, text, separator, columns, hint):
    told = refusal(tmp_path / "r.csv", text, separator, columns)

    assert told.endswith(hint)
    assert told.count("; the separator seems") == hint.count("; the separator seems")
