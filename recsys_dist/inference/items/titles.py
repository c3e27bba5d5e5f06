"""Finds items by their titles, whatever the case, the accents and the punctuation of the words.

In: the words of a person. Out: items by how well their titles match, and by number of train ratings if they match
equally well. The levels of a match, best first:

    the title itself                        Amélie (2001)
    its words                               amelie 2001
    its words without the year              amelie
    the same words in another order         the matrix            Matrix, The (1999)
    its words side by side in the title     toy story             Toy Story 2 (1999)
    its words anywhere in the title         story of toys         ...
    a part of the title                     toy sto               Toy Story (1995)
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from recsys_dist.plain_text import text_table

YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
APOSTROPHES = re.compile("['’`´]")
NO_WORD = re.compile(r"[\W_]+")
LEAST_ALIKE = 0.6
"""Similarity of a title to what was typed, from 0 to 1, that makes it a suggestion."""


class Match(IntEnum):
    """How well a title matches, best first."""

    TITLE = 0
    WORDS = 1
    WITHOUT_YEAR = 2
    OTHER_ORDER = 3
    PHRASE = 4
    ALL_WORDS = 5
    PART = 6


class FoundItems(NamedTuple):
    """Items found by title, best first."""

    ids: list[str]
    titles: list[str]
    is_match: bool
    """Whether the titles match; otherwise none does, and these are the most similar ones."""

    def __repr__(self) -> str:
        head = f"{len(self.ids)} titles" if self.is_match else f"no title matches; {len(self.ids)} similar titles"
        rows = [["id", "title"], *map(list, zip(self.ids, self.titles, strict=True))]
        return f"{head}\n{text_table(rows, numbers=0)}" if self.ids else head


@dataclass(frozen=True)
class _Title:
    """The words of a title."""

    words: str
    without_year: str
    in_order: tuple[str, ...]
    in_order_without_year: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> _Title:
        words, without_year = words_of(text), words_of(YEAR.sub("", text))
        return cls(words, without_year, _in_order(words), _in_order(without_year))


def words_of(text: str) -> str:
    """The words of a text in lower case, without accents and punctuation, with one blank between them.

    A text without a word, such as "...", is its own word.
    """
    letters = (sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    folded = APOSTROPHES.sub("", "".join(letters).casefold())
    return " ".join(NO_WORD.sub(" ", folded).split()) or text.casefold().strip()


def _in_order(words: str) -> tuple[str, ...]:
    return tuple(sorted(words.split()))


class TitleIndex:
    """The titles of a model's items; position = item index, None where unknown."""

    def __init__(self, titles: Sequence[str | None]) -> None:
        self._texts = titles
        self._titles = [None if text is None else _Title.of(text) for text in titles]

    def matches(self, text: str) -> list[tuple[Match, int]]:
        """Level and index of every item whose title matches, best first."""
        wanted, raw = _Title.of(text), text.strip()
        found = (
            (self._level(raw, wanted, str(self._texts[item]), title), item)
            for item, title in enumerate(self._titles)
            if title is not None
        )
        return sorted((level, item) for level, item in found if level is not None)

    def similar(self, text: str, n: int) -> list[int]:
        """The n items with the most similar titles, best first; fewer if few are similar."""
        items_of: dict[str, list[int]] = {}
        for item, title in enumerate(self._titles):
            if title is not None:
                items_of.setdefault(title.without_year, []).append(item)
        wanted = _Title.of(text).without_year
        close = difflib.get_close_matches(wanted, items_of, n, LEAST_ALIKE)
        return [item for words in close for item in items_of[words]][:n]

    @staticmethod
    def _level(raw: str, wanted: _Title, text: str, title: _Title) -> Match | None:
        has_all_words = set(wanted.in_order) <= set(title.in_order)
        if not has_all_words and wanted.words not in title.words:
            return None
        tests = (
            (Match.TITLE, raw == text),
            (Match.WORDS, wanted.words == title.words),
            (Match.WITHOUT_YEAR, wanted.words == title.without_year),
            (Match.OTHER_ORDER, wanted.in_order in {title.in_order, title.in_order_without_year}),
            (Match.PHRASE, f" {wanted.words} " in f" {title.words} "),
            (Match.ALL_WORDS, has_all_words),
        )
        return next((level for level, is_met in tests if is_met), Match.PART)
