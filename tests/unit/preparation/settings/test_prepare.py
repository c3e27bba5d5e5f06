from typing import Any

import pytest

from recsys_dist.config import load_settings, parse_settings
from recsys_dist.errors import ConfigError
from recsys_dist.preparation.settings.prepare import PrepareConfig

COLUMNS = {"user": "u", "item": "i", "rating": "r"}
GOOD: dict[str, Any] = {"input": {"paths": "a.csv", "columns": COLUMNS}, "output": "out"}


def changed(key, value):
    tree: dict[str, Any] = {**GOOD, "input": {**GOOD["input"]}}
    *path, last = key.split(".")
    node = tree
    for part in path:
        node[part] = dict(node.get(part, {}))
        node = node[part]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("input.path", "a.csv", r"unknown key 'input\.path'; allowed here: .*paths"),
        ("input.paths", [], r"key 'input\.paths' is required"),
        ("input.columns.user", 0, r"columns\.user is 0, but header: true needs names"),
        ("input.header", False, r"columns\.user is 'u', but header: false needs positions"),
        ("input.columns.item", "u", "columns names the same column twice"),
        ("input.encoding", "utf-16", r"input\.encoding: 'utf-16' is not an encoding that contains ASCII"),
        ("input.encoding", "nonsense", r"input\.encoding: 'nonsense' is not an encoding"),
        ("input.encoding", "hex", r"input\.encoding: 'hex' is not an encoding"),
        ("input.separator", "\n", r"input\.separator: must not contain a line end"),
        ("input.separator", "", r"input\.separator: .*at least 1 character"),
        ("input.quote", ",", r"input: quote needs a separator that is one different ASCII character"),
        (
            "input.columns",
            {"user": "u", "rating": "r"},
            r"input: columns\.item is required, except with layout: netflix",
        ),
        ("input.layout", "netflix", r"input: columns\.item cannot be set with layout: netflix"),
        ("input.max_bytes", 0, r"input\.max_bytes: .*greater than or equal to 1"),
        ("input.timestamp_format", "unix", r"input\.timestamp_format: .*'number', 'iso' or 'ctime'"),
        ("ratings.max_rejected", 2, r"ratings\.max_rejected: .*less than or equal to 1"),
        (
            "items",
            {"columns": {"item": "i", "title": "t"}, "max_fields": 2},
            "items: max_fields is for files without",
        ),
        ("ratings", {"min": 5, "max": 1}, r"ratings: min 5\.0 is not below max 1\.0"),
        ("ratings.min", float("nan"), r"ratings\.min: .*finite"),
        (
            "ratings.duplicates",
            "newest",
            r"ratings\.duplicates: .*'last', 'first', 'mean', 'sum', 'count' or 'error'",
        ),
        ("ratings.duplicates", "latest", r"ratings\.duplicates: 'latest' is not a rule; use 'last'"),
        ("ratings.min_user_ratings", 0, r"ratings\.min_user_ratings: .*greater than or equal to 1"),
        ("split", {"kind": "random", "test": 0.6, "valid": 0.4}, r"split: test \+ valid must be below 1"),
        ("split", {"kind": "files", "train": "a", "test": "b"}, r"input\.paths: with split\.kind: files"),
        ("split", {"kind": "files", "train": "a"}, r"key 'split\.test' is required"),
        ("split", {"kind": "leave_n_out", "test": 0.1}, r"split\.test: .*valid integer"),
        ("split", {"kind": "leave_n_out"}, r"split\.kind leave_n_out .* input\.columns\.timestamp; or .* to hash"),
        ("split", {"kind": "time"}, r"split\.kind time needs timestamps: set input\.columns\.timestamp$"),
        ("split", {"kind": "time", "test": 0.5, "valid": 0.5}, r"split: test \+ valid must be below 1"),
        (
            "split",
            {"kind": "users", "test": 0.5, "valid": 0.5},
            r"split: test \+ valid must be below 1 to leave u",
        ),
        ("split", {"kind": "users", "fold_in_share": 1}, r"split\.fold_in_share: .*less than 1"),
        (
            "split",
            {"kind": "time", "test": 0.5, "test_from": 9},
            r"split: test is a fraction and test_from a time",
        ),
        ("split", {"kind": "time", "test_from": 9, "valid_from": 9}, r"valid_from 9 is not before test_from 9"),
        ("shards.users", 0, r"shards\.users: .*greater than or equal to 1"),
        ("cluster.memory_limit", "much", r"cluster\.memory_limit: 'much' is neither auto nor a size such as 4GiB"),
        ("cluster.memory_limit", "64MiB", r"cluster\.memory_limit: '64MiB' is too little .* 128MiB or more"),
        ("cluster.memory_limit", 0, r"cluster\.memory_limit: 0 is too little"),
        ("cluster.kind", "address", "kind: address needs an address"),
        ("cluster.address", "localhost:8786", r"is not of the form tcp://host:port"),
        ("cluster.address", "tcp://10.0.0.1:8786", "plain tcp beyond this machine"),
        ("cluster.address", "tcp://dask.example.org:8786", "plain tcp beyond this machine"),
        ("cluster.address", "tls://10.0.0.1:8786", r"needs tls\.ca"),
    ],
)
def test_an_impossible_setting_is_one_line_that_names_it(key, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_settings(PrepareConfig, changed(key, value), "x.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"])
def test_an_address_alone_selects_the_kind(address):
    assert parse_settings(PrepareConfig, changed("cluster.address", address), "x").cluster.kind == "address"


def test_plain_tcp_beyond_loopback_has_to_be_asked_for():
    tree = changed("cluster", {"address": "tcp://10.0.0.1:8786", "insecure": True})
    assert parse_settings(PrepareConfig, tree, "x").cluster.address == "tcp://10.0.0.1:8786"


@pytest.mark.parametrize("name", ["movietweetings", "ml1m", "ml100k_u1", "movielens", "netflix", "csv", "tsv"])
def test_the_configs_lack_only_what_the_command_line_gives(name):
    paths = ["split.train=a", "split.test=b"] if name == "ml100k_u1" else ["input.paths=a"]
    path = f"configs/prepare_{name}.yaml"
    config = load_settings(PrepareConfig, path, [*paths, "output=out", "split.valid=0"])
    assert config.split.valid == 0
    joined = load_settings(PrepareConfig, path, [*paths, "output=out", "cluster.address=tcp://127.0.0.1:8786"])
    assert (config.cluster.kind, joined.cluster.kind) == ("local", "address")
    assert config.input.separator in {"::", "\t", ","}
    with pytest.raises(ConfigError, match="required"):
        load_settings(PrepareConfig, path, ["output=out"])
