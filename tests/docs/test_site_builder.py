"""What the site makes of code and data."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.site_builder import figures
from docs.site_builder.figures import Figure, FigureTable
from docs.site_builder.hook import loaded_from_elsewhere
from docs.site_builder.markdown import table, text_of
from docs.site_builder.messages_page import messages
from docs.site_builder.settings_keys import model_sections, preparation_sections


class TestHook:
    @pytest.mark.parametrize(
        "tag",
        [
            '<script src="https://cdn.example/x.js">',
            '<img alt="" src="//example.org/x.png">',
            '<link rel="stylesheet" href="https://fonts.example/css">',
        ],
    )
    def test_finds_what_a_page_loads_from_elsewhere(self, tag: str) -> None:
        assert loaded_from_elsewhere(f"<p>{tag}</p>") == [tag]

    def test_lets_links_and_files_of_the_site_pass(self) -> None:
        page = '<a href="https://x.org">x</a><script src="assets/x.js"></script><link rel="next" href="https://x.org/">'
        assert not loaded_from_elsewhere(page)

    def test_typesets_formulas_as_mathml(self) -> None:
        pytest.importorskip("latex2mathml")
        from docs.site_builder.formulas import typeset

        html = typeset('<p><span class="arithmatex">\\(a &lt; b_u\\)</span></p>')
        assert "<math" in html
        assert "<msub>" in html
        assert "arithmatex" not in html


class TestFigures:
    FIGURE = Figure("mf", "RMSE", "1.2 to 1.4", "rating", "bash x.sh", "abc", "2026-11-30", "A")

    def test_come_back_as_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(figures, "FIGURES", tmp_path)
        written = FigureTable("Title", "model", ("RMSE",), (self.FIGURE,))
        written.write("one")
        assert FigureTable.read("one") == written

    def test_a_range_counts_as_its_middle(self) -> None:
        assert self.FIGURE.number == pytest.approx(1.3)

    @pytest.mark.parametrize("path", sorted(figures.FIGURES.glob("*.json")), ids=lambda path: path.stem)
    def test_all_say_where_they_come_from(self, path: Path) -> None:
        for figure in FigureTable.read(path.stem).figures:
            assert all([figure.value, figure.command, figure.commit, figure.date, figure.machine])


class TestMarkdown:
    def test_pipes_do_not_end_a_cell(self) -> None:
        assert table(["a"], [["x|y `x|y`"]]).splitlines()[-1] == "| x\\|y `x|y` |"

    def test_signs_of_markdown_lose_their_meaning_and_names_become_code(self) -> None:
        assert text_of("a*b of run_dir, --top") == "a\\*b of `run_dir`, `--top`"
        assert text_of("`a*b`") == "`a*b`"


class TestSettings:
    def test_a_text_below_a_field_is_its_description(self) -> None:
        sections = {section.name: section for section in [*preparation_sections(), *model_sections()]}
        keys = {key.name: key for key in sections["input"].keys}
        assert keys["block_bytes"].meaning.startswith("Bytes of input")
        assert keys["max_bytes"].values == "size such as 4GiB, null"
        assert {key.name: key.meaning for key in sections["ratings"].keys}["min"].startswith("Ratings outside")

    def test_every_kind_of_split_has_a_section(self) -> None:
        names = {section.name for section in preparation_sections()}
        assert {f"split, kind: {kind}" for kind in ("random", "leave_n_out", "time", "users", "files")} <= names


def test_messages_have_gaps_for_what_is_filled_in() -> None:
    assert (
        "ConfigError",
        "--output ...: this file exists and is not overwritten; give another name",
    ) in messages()["cli"]
