"""Quotes and escapes as they come from the field: read rightly, or the line set aside with its reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.preparation.inspection.sniff import sniff
from recsys_dist.preparation.parsing.fields import cut_fields
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.lines import FINE, Lines
from recsys_dist.preparation.parsing.quoted_line import split_quoted
from recsys_dist.preparation.parsing.quotes import misquoted
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.input import InputSettings
from tests.field_cases.inspected import FIELD_CASES, command, inspected, parsed, write_lines
from tests.support.contents import contents
from tests.support.quoted import fields_of

STRAY, OPEN, ESCAPE = (reason.label for reason in (Reason.STRAY_QUOTE, Reason.QUOTE, Reason.ESCAPE))
BACKSLASH = {"separator": ";", "escape": "\\"}


def test_text_after_a_closing_quote_is_appended_to_nobody(tmp_path):
    good = tmp_path / "a.csv"
    good.write_bytes((FIELD_CASES / "after_quote.csv").read_bytes() + b'"u2","i1",3\n')
    assert parsed(good) == ([("u2", "i1", 3.0)], [(1, STRAY), (2, STRAY), (3, STRAY)])


def test_a_file_without_a_line_quoted_as_it_should_be_is_told(capsys):
    assert command("inspect", FIELD_CASES / "after_quote.csv") == 0
    assert "3 lines of the sample have a quote inside a field" in capsys.readouterr().out


def test_stray_quotes_in_most_lines_hide_no_separator(tmp_path, capsys):
    lines = [f'u{place},the "{place}" inch,{place % 5 + 1}' for place in range(30)]
    path = write_lines(tmp_path / "a.csv", [*lines, "v,plain,3", "w,plain,4"], header="user,item,rating")
    assert command("inspect", path) == 0
    output = capsys.readouterr().out
    assert 'separator: ","' in output
    assert "30 lines of the sample have a quote inside a field" in output
    assert "refused: stray quote in a field │ 30 " in " ".join(output.split()).replace("│ refused", "refused")


LINES = [
    ('"u","i",3', ("u", "i", 3.0)),
    ('"u""v","i",3', ('u"v', "i", 3.0)),
    ('"""u""","i",3', ('"u"', "i", 3.0)),
    ('"u,v","i",3', ("u,v", "i", 3.0)),
    ('"u","""",3', ("u", '"', 3.0)),
    ('"u",i,"3"', ("u", "i", 3.0)),
    ('"u ",i,3', ("u ", "i", 3.0)),
    ('"","i",3', "empty user id"),
    ('"u" ,i,3', STRAY),
    (' "u",i,3', STRAY),
    ('u"v,i,3', STRAY),
    ('u"v",i,3', STRAY),
    ('u"",i,3', STRAY),
    ('"u""",i"",3', STRAY),
    ('"u"",i,3', OPEN),
    ('"u,i,3', OPEN),
    ('u,i,3"', STRAY),
    ('u,i,"3', OPEN),
    ('u,"i"3,3', STRAY),
    ("'u','i',3", ("'u'", "'i'", 3.0)),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(("line", "expected"), LINES)
def test_a_line_is_what_its_quotes_say_wherever_it_stands(tmp_path, line, expected, line_end):
    path = tmp_path / "a.csv"
    for place in range(3):
        rows = ["a,b,1", 'c,"d,""e",2']
        rows.insert(place, line)
        # The last line may have no end.
        path.write_text(line_end.join(rows), newline="")
        kept, refused = parsed(path)
        around = [("a", "b", 1.0), ("c", 'd,"e', 2.0)]
        if isinstance(expected, tuple):
            assert (kept, refused) == ([*around[:place], expected, *around[place:]], [])
        else:
            assert (kept, refused) == (around, [(place + 1, expected)])


def test_an_open_quote_takes_no_other_line_with_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b,1\n"c,d,2\ne,f,3\ng,"h,4\ni,j,5\n')
    kept, refused = parsed(path)
    assert [row[0] for row in kept] == ["a", "e", "i"]
    assert refused == [(2, OPEN), (4, OPEN)]


def test_an_open_quote_at_the_end_of_the_file_hides_no_other_mistake(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b,1\nu,"i"x,3\nv,j,"')
    assert parsed(path) == ([("a", "b", 1.0)], [(2, STRAY), (3, OPEN)])


@pytest.mark.parametrize(("quote", "line"), [(None, 'u"v,"i",3'), ("'", "u\"v,'i',3")])
def test_quotes_are_text_where_they_are_none(tmp_path, quote, line):
    path = tmp_path / "a.csv"
    path.write_text(f"{line}\n")
    assert parsed(path, quote=quote) == ([('u"v', '"i"' if quote is None else "i", 3.0)], [])


def test_a_separator_of_several_characters_leaves_quotes_alone(tmp_path):
    path = tmp_path / "a.dat"
    path.write_text('u"::"i"::3\n')
    assert parsed(path, separator="::") == ([('u"', '"i"', 3.0)], [])


def test_the_first_line_may_quote_the_names(tmp_path):
    path = write_lines(tmp_path / "a.csv", ['"u",i,3'], header='"the ""user""","item, or so",rating')
    columns = {"user": 'the "user"', "item": "item, or so", "rating": "rating"}
    assert parsed(path, header=True, columns=columns) == ([("u", "i", 3.0)], [])


ESCAPED = [
    (r'"\"0743";i;7', ('"0743', "i", 7.0)),
    (r'"u\"";i;7', ('u"', "i", 7.0)),
    (r'"u\\";i;7', ("u\\", "i", 7.0)),
    (r'"u\\\"";i;7', (r"u\"", "i", 7.0)),
    (r'"u\;v";i;7', ("u;v", "i", 7.0)),
    (r"u\;v;i;7", ("u;v", "i", 7.0)),
    (r"u\"v;i;7", ('u"v', "i", 7.0)),
    (r"\u;i;7", ("u", "i", 7.0)),
    (r'"u""v\"";i;7', ('u"v"', "i", 7.0)),
    (r'"u\";i;7', OPEN),
    (r'"u\";"i";7', STRAY),
    (r'"u"\;i;7', STRAY),
    (r"u\;i;7", "wrong number of fields"),
    ("u;i;7\\", ESCAPE),
    ('u;"i";"7\\', ESCAPE),
    (r"u\;\"v;i;7", ('u;"v', "i", 7.0)),
    (r'u\;"v";i;7', STRAY),
]


@pytest.mark.parametrize(("line", "expected"), ESCAPED)
def test_an_escape_makes_text_of_the_next_character(tmp_path, line, expected):
    path = tmp_path / "a.csv"
    path.write_text(f'a;b;1\n{line}\nc;"d";2\n')
    kept, refused = parsed(path, **BACKSLASH)
    around = [("a", "b", 1.0), ("c", "d", 2.0)]
    if isinstance(expected, tuple):
        assert (kept, refused) == ([around[0], expected, around[1]], [])
    else:
        assert (kept, refused) == (around, [(2, expected)])


def test_an_escape_without_quotes(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('u\\\tv\t"i\\\\\t3\n')
    assert parsed(path, separator="\t", quote=None, escape="\\") == ([("u\tv", '"i\\', 3.0)], [])


@pytest.mark.parametrize(
    "changes", [{"escape": ","}, {"escape": '"'}, {"escape": "\\", "separator": "::"}, {"escape": "é"}]
)
def test_an_escape_that_cannot_be_one_is_named(changes):
    columns = {"user": 0, "item": 1, "rating": 2}
    with pytest.raises(ValueError, match="escape must be an ASCII character other than separator and quote"):
        InputSettings.model_validate({"header": False, "columns": columns, **changes})


def test_a_backslash_is_text_where_no_escape_is_set(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"u\\";i;3\nv\\;i;4\n')
    assert parsed(path, separator=";") == ([("u\\", "i", 3.0), ("v\\", "i", 4.0)], [])


def test_book_crossing_is_read_by_what_inspect_proposes(address, tmp_path):
    dataset = inspected(address, FIELD_CASES / "bx.csv", tmp_path, "split.kind=random", "split.test=0")
    assert {pair: value[0] for pair, value in contents(dataset).items()} == {
        ("1001", "000000001X"): 0.0,
        ("1002", "0000000029"): 5.0,
        ("1003", "0 0 0000000037"): 6.0,
        ("1004", '"0743'): 7.0,
        ("1005", "ÿ000000045"): 6.0,
        ("1006", "0000000053"): 8.0,
    }
    assert dataset.manifest.rows.rejected == {}


def test_no_escape_is_proposed_for_backslashes_that_are_text(tmp_path, capsys):
    lines = [f'"C:\\{number}\\";i{number};3' for number in range(20)]
    assert command("inspect", write_lines(tmp_path / "a.csv", lines, header="user;item;rating")) == 0
    assert "escape: " not in capsys.readouterr().out


signs = st.sampled_from(["a", '"', '"', ",", "\\", "é", "\n", '"x","', '","'])


@settings(max_examples=1500, deadline=None)
@given(st.lists(signs, max_size=30).map("".join), st.sampled_from(['"', None]), st.sampled_from(["\\", None]))
def test_all_lines_at_once_are_judged_as_a_loop_over_characters_judges_each(text, quote, escape):
    lines = Lines.of(text.encode(), "utf-8", is_first=True)
    reasons = misquoted(lines, ",", quote, escape)
    expected, kept = [], []
    for number in range(len(lines)):
        line = lines.data[lines.starts[number] : lines.stops[number]].decode()
        fields = fields_of(line, ",", quote, escape)
        expected.append(int(fields) if isinstance(fields, Reason) else FINE)
        assert split_quoted(line, ",", quote, escape) == (None if isinstance(fields, Reason) else fields)
        if line and not isinstance(fields, Reason) and len(fields) == 3:
            kept.append(fields)
    # A line may break both rules, and is refused for one of them.
    assert [reason == FINE for reason in reasons.tolist()] == [reason == FINE for reason in expected]
    layout = TextLayout(",", quote, "utf-8", False, 3, {"user": 0, "item": 1, "rating": 2}, escape=escape)
    columns = cut_fields(lines, layout, is_first=True).columns
    assert [list(row) for row in zip(*(columns[name].to_pylist() for name in columns), strict=True)] == kept


@pytest.mark.parametrize(
    ("header", "row", "separator"),
    [
        ("userId,title,rating", '{},"Film number 3 of all",4', ","),
        ("user,item,rating,created_at", "{},7,4,Wed Jan 01 13:08:00 +0000 2008", ","),
        ("user;item;rating;tags", "{};7;4;a,b,c,d,e", ";"),
        ("user,item,rating,path", "{},7,4,a::b::c::d::e", ","),
    ],
)
def test_a_header_of_known_names_tells_the_separator(tmp_path, header, row, separator):
    path = write_lines(tmp_path / "a.csv", [row.format(user) for user in range(60)], header)
    assert sniff("input.paths", str(path)).tree["separator"] == separator
