"""Rows from JSON Lines: what counts as an id, a rating and a time, and that both ways of reading agree."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.sources import MAX_LINE_BYTES
from recsys_dist.preparation.parsing.json_lines import columns as json_columns
from recsys_dist.preparation.parsing.json_lines.layout import KINDS, JsonLayout, read_json_layout
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.parsing.rows import parse_text
from recsys_dist.preparation.settings.input import InputSettings, TimestampFormat
from recsys_dist.preparation.settings.prepare import RatingRules

FIELDS = ("user", "item", "rating", "timestamp")
GOOD = '{"user": "a", "item": "x", "rating": 4, "timestamp": 10}'


def layout(**paths: str) -> JsonLayout:
    named = {**{field: field for field in FIELDS}, **paths}
    return JsonLayout("utf-8", {field: (tuple(path.split(".")), KINDS[field]) for field, path in named.items()})


def parse(
    data: str | bytes,
    places: JsonLayout | None = None,
    time: TimestampFormat = "number",
    rules: RatingRules | None = None,
):
    """Accepted rows as (line, user, item, rating, timestamp, nanos), and (line, reason) of the others."""
    data = data.encode() if isinstance(data, str) else data
    block = parse_text(data, places or layout(), rules or RatingRules(), True, None, time)
    rows, rejects = block.rows, block.rejects
    times = [0] * len(rows) if rows.timestamp is None else rows.timestamp.tolist()
    nanos = [0] * len(rows) if rows.nanos is None else rows.nanos.tolist()
    columns = (
        rows.line.tolist(),
        rows.user.to_pylist(),
        rows.item.to_pylist(),
        rows.rating.tolist(),
        times,
        nanos,
    )
    reasons = [Reason(code).label for code in rejects.reason]
    return list(zip(*columns, strict=True)), list(zip(rejects.line.tolist(), reasons, strict=True))


@pytest.fixture(params=["fast", "exact"])
def way(request, monkeypatch) -> Iterator[str]:
    """Read as usual, or without Arrow."""
    if request.param == "exact":
        monkeypatch.setattr(json_columns, "_read_fast", lambda *_: None)
    return request.param


def line(**values: str) -> str:
    """An object of a good row, with other values, as they stand in JSON."""
    usual = {"user": '"a"', "item": '"x"', "rating": "4", "timestamp": "10"}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in {**usual, **values}.items() if value) + "}"


IDS = {
    '"007"': "007",
    '" a "': " a ",
    '"7.0"': "7.0",
    "7": "7",
    "-7": "-7",
    "-0": "-0",
    "0": "0",
    "9007199254740993": "9007199254740993",
    "18446744073709551616": "18446744073709551616",
    "9" * 5000: "9" * 5000,
    '"NA"': "NA",
    '"null"': "null",
    '"\\u00df\\u2603"': "ß☃",
    '"\\ud83d\\ude00"': "😀",
    '"a\\tb\\/\\"\\\\"': 'a\tb/"\\',
    '"2018-07-07"': "2018-07-07",
}


@pytest.mark.parametrize("written", IDS)
@pytest.mark.usefixtures("way")
def test_an_id_is_its_text_or_its_digits(written):
    accepted, refused = parse(line(user=written, item=written))
    assert refused == []
    assert [row[1:3] for row in accepted] == [(IDS[written], IDS[written])]


BAD = {
    "": Reason.EMPTY_USER,
    '""': Reason.EMPTY_USER,
    "null": Reason.EMPTY_USER,
    "7.0": Reason.ID_TYPE,
    "1e3": Reason.ID_TYPE,
    "true": Reason.ID_TYPE,
    "false": Reason.ID_TYPE,
    "[1]": Reason.ID_TYPE,
    "{}": Reason.ID_TYPE,
    "NaN": Reason.ID_TYPE,
    "-Infinity": Reason.ID_TYPE,
    '"\\ud800"': Reason.ENCODING,
    '"a\\u0000"': Reason.NUL,
    '"a\\rb"': Reason.CARRIAGE_RETURN,
    '"a\\nb"': Reason.LINE_FEED,
    '7, "user": 8': Reason.REPEATED_KEY,
    '7, "user": null': Reason.REPEATED_KEY,
    "07": Reason.NOT_AN_OBJECT,
    "+7": Reason.NOT_AN_OBJECT,
    "'a'": Reason.NOT_AN_OBJECT,
    '"a\tb"': Reason.NOT_AN_OBJECT,
    '"\\x41"': Reason.NOT_AN_OBJECT,
}


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("written", BAD)
@pytest.mark.usefixtures("way")
def test_any_other_id_is_refused_alone_with_its_line_and_reason(written, place):
    bad = line(user=written)
    rows = {"first": [bad, GOOD, GOOD], "middle": [GOOD, bad, GOOD], "last": [GOOD, GOOD, bad]}[place]
    accepted, refused = parse("\r\n".join(rows))
    assert [row[1:5] for row in accepted] == [("a", "x", 4.0, 10)] * 2
    assert refused == [(rows.index(bad) + 1, BAD[written].label)]


RATINGS = {
    "4": 4.0,
    "4.5": 4.5,
    "-0.0": 0.0,
    "45e-1": 4.5,
    "4E0": 4.0,
    '"4.5"': 4.5,
    '"45e-1"': 4.5,
    "0.1": 0.10000000149011612,
    "16777217": 16777216.0,
}


@pytest.mark.parametrize("written", RATINGS)
@pytest.mark.usefixtures("way")
def test_a_rating_is_a_number_or_the_text_of_one(written):
    accepted, refused = parse(line(rating=written))
    assert (refused, [row[3] for row in accepted]) == ([], [RATINGS[written]])


@pytest.mark.parametrize(
    "written",
    [
        "",
        "null",
        "true",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "4e38",
        '""',
        '"NaN"',
        '"4,5"',
        "[4]",
        '{"a": 4}',
    ],
)
@pytest.mark.usefixtures("way")
def test_any_other_rating_is_refused(written):
    assert parse(GOOD + "\n" + line(rating=written))[1] == [(2, Reason.NOT_A_NUMBER.label)]


TIMES: dict[str, tuple[TimestampFormat, int, int]] = {
    "1252800000": ("number", 1252800000, 0),
    '"1252800000"': ("number", 1252800000, 0),
    "1588687728923": ("number", 1588687728923, 0),
    "1252800000.123456789": ("number", 1252800000, 123456789),
    "1.2528e9": ("number", 1252800000, 0),
    "-1.5": ("number", -2, 500000000),
    '"2018-07-07 22:09:11"': ("iso", 1531001351, 0),
    '"2018-07-07T22:09:11.5+02:00"': ("iso", 1530994151, 500000000),
    '"Thu Mar 22 18:57:54 -0700 2018"': ("ctime", 1521770274, 0),
    '"Thu Mar 22 18:57:54 2018"': ("ctime", 1521745074, 0),
    '"Sun Apr  1 00:00:00 +0000 2018"': ("ctime", 1522540800, 0),
    '"Sun Apr 1 00:00:00 UTC 2018"': ("ctime", 1522540800, 0),
}


@pytest.mark.parametrize("written", TIMES)
@pytest.mark.usefixtures("way")
def test_a_timestamp_is_a_number_or_a_text_as_in_text_files(written):
    time, whole, nanos = TIMES[written]
    accepted, refused = parse(line(timestamp=written), time=time)
    assert (refused, [row[4:] for row in accepted]) == ([], [(whole, nanos)])


@pytest.mark.parametrize(
    ("written", "time"),
    [
        *(("", "number"), ("null", "number"), ("true", "number"), ("NaN", "number"), ('"2018-07-07"', "number")),
        *(("9223372036854775808", "number"), ("[1]", "number"), ("1252800000", "iso"), ('"2018-02-30"', "iso")),
        *(('"Thu Feb 30 18:57:54 -0700 2018"', "ctime"), ('"Thu Mar 22 18:57:54 PST 2018"', "ctime")),
        *(('"2018-07-07 22:09:11"', "ctime"), ("", "ctime"), ('"Thu Mar 32 18:57:54 2018"', "ctime")),
    ],
)
@pytest.mark.usefixtures("way")
def test_any_other_timestamp_is_refused(written, time):
    reason = Reason.TIMESTAMP if time == "number" else Reason.DATE
    assert parse(line(timestamp=written), time=time) == ([], [(1, reason.label)])


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "[1]",
            "7",
            '"a"',
            "null",
            "u,i,4,1",
            " ",
            "{",
            GOOD[:-1],
            GOOD + ",",
            GOOD + GOOD,
            GOOD + "x",
            "[" + GOOD,
        ),
        *('{"user": "a",}', "{'user': 'a'}", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"),
    ],
)
@pytest.mark.usefixtures("way")
def test_a_line_that_is_no_object_is_refused_alone(bad):
    accepted, refused = parse(f"{GOOD}\n{bad}\n{GOOD}\n")
    assert [row[0] for row in accepted] == [1, 3]
    assert refused == [(2, Reason.NOT_AN_OBJECT.label)]


@pytest.mark.usefixtures("way")
def test_an_object_of_two_lines_beside_two_objects_in_a_line_is_no_way_to_hide():
    halves = GOOD.split(', "rating"')
    accepted, refused = parse("\n".join([halves[0] + ",", '"rating"' + halves[1], GOOD + GOOD]))
    assert accepted == []
    assert [number for number, _ in refused] == [1, 2, 3]


@pytest.mark.usefixtures("way")
def test_lines_are_read_as_those_of_text():
    long = line(note='"' + "x" * MAX_LINE_BYTES + '"')
    rows = ["", GOOD, "", line(user='"b\xff"'), long, line(user='"\0"'), GOOD + "\r", f"  {GOOD}\t"]
    data = b"\xef\xbb\xbf" + "\r\n".join(rows).encode("latin-1")
    accepted, refused = parse(data)
    assert [row[0] for row in accepted] == [2, 8]
    reasons = [Reason.ENCODING, Reason.LINE_LENGTH, Reason.NUL, Reason.CARRIAGE_RETURN]
    assert refused == [(number, reason.label) for number, reason in zip((4, 5, 6, 7), reasons, strict=True)]


@pytest.mark.usefixtures("way")
def test_what_is_not_asked_for_is_not_judged():
    rows = [
        line(note='"\\ud800"'),
        line(note="NaN"),
        line(note='1, "note": 2'),
        line(note='{"user": 1, "user": 2}'),
        line(note="1e999"),
        line(note="[]"),
        line(note='"' + "[" * 300 + '"'),
    ]
    assert parse("\n".join(rows)) == ([(n + 1, "a", "x", 4.0, 10, 0) for n in range(len(rows))], [])


@pytest.mark.usefixtures("way")
def test_keys_within_objects():
    places = layout(user="user.id", rating="review.stars.given", item="review.item")
    rows = [
        '{"user": {"id": 7, "name": "A"}, "review": {"item": "x", "stars": {"given": 3}}, "timestamp": 1}',
        '{"user": null, "review": {"item": "x", "stars": {"given": 3}}, "timestamp": 1}',
        '{"user": 7, "review": {"item": "x", "stars": {"given": 3}}, "timestamp": 1}',
        '{"user": {"id": {}}, "review": {"item": "x", "stars": {"given": 3}}, "timestamp": 1}',
        '{"user": {"id": 7}, "review": {"item": "x", "stars": 3}, "timestamp": 1}',
        '{"user": {"id": 7}, "user": {"id": 7}, "review": {"item": "x", "stars": {"given": 3}}, "timestamp": 1}',
    ]
    accepted, refused = parse("\n".join(rows), places)
    assert accepted == [(1, "7", "x", 3.0, 1, 0)]
    reasons = [Reason.EMPTY_USER, Reason.EMPTY_USER, Reason.ID_TYPE, Reason.NOT_A_NUMBER, Reason.REPEATED_KEY]
    assert refused == [(place + 2, reason.label) for place, reason in enumerate(reasons)]


@pytest.mark.usefixtures("way")
def test_a_column_within_another_one_is_read_line_by_line():
    rows = ['{"user": "a", "item": "x", "rating": 1}', '{"user": {"id": "a"}, "item": "x", "rating": 2}']
    places = JsonLayout(
        "utf-8", {"user": (("user",), "id"), "item": (("user", "id"), "id"), "rating": (("rating",), "number")}
    )
    assert parse("\n".join(rows), places) == ([], [(1, Reason.EMPTY_ITEM.label), (2, Reason.ID_TYPE.label)])


def find_layout(tmp_path, text: str, **columns: object) -> JsonLayout:
    (tmp_path / "a.jsonl").write_text(text)
    named = {"user": "user", "item": "item", "rating": "rating", **columns}
    settings_ = InputSettings.model_validate({"paths": "unused", "columns": named})
    (file,) = find_files("input.paths", [str(tmp_path / "a.jsonl")], settings_)
    return read_json_layout(file, settings_, dict(settings_.columns), "input")


def test_a_dot_leads_into_objects_unless_a_key_has_it(tmp_path):
    rest = '"item": 1, "rating": 2}\n'
    assert find_layout(tmp_path, '{"user": {"id": 1}, ' + rest, user="user.id").fields["user"][0] == ("user", "id")
    both = '{"user": {"id": 1}, "user.id": 2, ' + rest
    assert find_layout(tmp_path, both, user="user.id").fields["user"][0] == ("user.id",)


def test_a_key_that_is_nowhere_is_told_with_those_that_are(tmp_path):
    text = '{"usr": 1, "item": {"id": 1, "no": {}}, "rating": 2}\nnonsense\n{"when": 3}\n'
    with pytest.raises(DataError) as told:
        find_layout(tmp_path, text)
    assert str(told.value) == (
        f"input.columns.user: {tmp_path}/a.jsonl has no key 'user' in its first lines; its keys are: usr, "
        "item.id, rating, when"
    )


def test_positions_are_told_to_be_for_text(tmp_path):
    (tmp_path / "a.jsonl").write_text(GOOD)
    tree = {"paths": "unused", "header": False, "columns": {"user": 0, "item": 1, "rating": 2}}
    settings_ = InputSettings.model_validate(tree)
    (file,) = find_files("input.paths", [str(tmp_path / "a.jsonl")], settings_)
    with pytest.raises(
        DataError, match=r"input\.columns\.user is position 0, but .*a\.jsonl is JSON, whose columns"
    ):
        read_json_layout(file, settings_, dict(settings_.columns), "input")


json_text = st.text(st.characters(codec="utf-8"), max_size=4)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), json_text, st.integers(-3, 3), st.just(2**70)
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(json_text, inner, max_size=2)),
    max_leaves=4,
)
objects = st.fixed_dictionaries(
    {"user": st.one_of(st.integers(-1, 1), anything), "item": json_text},
    optional={
        "rating": st.one_of(st.floats(0, 5), anything),
        "timestamp": st.one_of(st.integers(), anything),
        "note": anything,
    },
)
texts = st.one_of(
    st.builds(json.dumps, objects, ensure_ascii=st.booleans()),
    st.sampled_from(
        [
            GOOD,
            GOOD + GOOD,
            GOOD[:-1],
            line(user="-0"),
            line(note="-NaN"),
            line(note="Inf"),
            line(note="-0"),
            "7",
            "",
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, max_size=6), st.sampled_from(["number", "iso"]))
def test_both_ways_of_reading_agree(rows, time):
    data = "\n".join(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_columns, "_read_fast", lambda *_: None)
        exact = parse(data, time=time)
    assert parse(data, time=time) == exact
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_columns, "PIECE_BYTES", 200)
        patch.setattr(json_columns, "LEAST_ROWS", 3)
        patch.setattr(json_columns, "PARTS", 3)
        assert parse(data, time=time) == exact


def test_arrow_reads_what_it_can(monkeypatch):
    """Otherwise the agreement above says nothing, and reading takes several times as long."""
    monkeypatch.setattr(json_columns, "_read_exactly", None)
    rows = [
        line(user=str(n), rating=str(n % 9 / 2), note='{"a": [1, "b"], "Inf": "Information: Inf"}')
        for n in range(99)
    ]
    assert len(parse("\n".join(rows))[0]) == 99
