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
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from recsys_dist.plain_text import text_table

YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
APOSTROPHES = re.compile("['’`´]")
NO_WORD = re.compile(r"[\W_]+")
ALIKE_TITLE, ALIKE_WORD = 0.6, 0.75
"""Similarity, from 0 to 1, at which a title or a word may be what was meant by another."""


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


def words_of(text: str) -> str:
    """The words of a text in lower case, without accents and punctuation, with one blank between them.

    A text without a word, such as "...", is its own word.
    """
    letters = text if text.isascii() else _without_accents(text)
    return " ".join(NO_WORD.sub(" ", APOSTROPHES.sub("", letters.casefold())).split()) or text.casefold().strip()


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


class TitleIndex:
    """The titles of a model's items; position = item index, None where unknown."""

    def __init__(self, titles: Sequence[str | None]) -> None:
        self._titles = titles
        self._words = [None if title is None else words_of(title) for title in titles]

    def matches(self, text: str) -> list[tuple[Match, int]]:
        """Level and index of every item whose title matches, best first."""
        raw, wanted = text.strip(), words_of(text)
        each = wanted.split()
        found = (
            (_level(raw, wanted, str(self._titles[item]), words), item)
            for item, words in enumerate(self._words)
            if words is not None and all(word in words for word in each)
        )
        return sorted((level, item) for level, item in found if level is not None)

    def similar(self, text: str, n: int) -> list[int]:
        """The n items with the most similar titles, best first; then those with the most similar words."""
        items_of: dict[str, list[int]] = {}
        for item, title in enumerate(self._titles):
            if title is not None:
                items_of.setdefault(words_of(YEAR.sub("", title)), []).append(item)
        wanted = words_of(YEAR.sub("", text))
        items = [item for words in _close(wanted, items_of, n, ALIKE_TITLE) for item in items_of[words]]
        items += [item for _, item in self.matches(self._respelled(wanted))]
        return list(dict.fromkeys(items))[:n]

    def _respelled(self, wanted: str) -> str:
        """The words with each replaced by the most similar one of all titles, if it is similar."""
        known = dict.fromkeys(word for words in self._words if words is not None for word in words.split())
        return " ".join((_close(word, known, 1, ALIKE_WORD) or [word])[0] for word in wanted.split())


def _close(text: str, among: Iterable[str], n: int, least: float) -> list[str]:
    return difflib.get_close_matches(text, among, n, least)


def _level(raw: str, wanted: str, title: str, words: str) -> Match | None:
    """The level at which the words of a title, which contain each wanted word or a part, match."""
    without_year = words_of(YEAR.sub("", title))
    has_all_words = set(wanted.split()) <= set(words.split())
    tests = (
        (Match.TITLE, raw == title),
        (Match.WORDS, wanted == words),
        (Match.WITHOUT_YEAR, wanted == without_year),
        (Match.OTHER_ORDER, sorted(wanted.split()) in (sorted(words.split()), sorted(without_year.split()))),
        (Match.PHRASE, f" {wanted} " in f" {words} "),
        (Match.ALL_WORDS, has_all_words),
        (Match.PART, wanted in words),
    )
    return next((level for level, is_met in tests if is_met), None)
