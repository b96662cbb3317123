"""The labels of a prompt's documents, and where a text names one."""

from __future__ import annotations

import re
from functools import lru_cache

from rerankbench.rerankers.parsing.text import normalised

DIGITS = 4
"""A longer number names no document; `int` refuses very long ones."""

NOUN = r"(?i:\b(?:passage|document|doc|paragraph|candidate))"
DECORATION = r"[\s*_\"'`:#(\[]"
BEFORE = r"(?<![\w.'\u2044-])"
AFTER = r"(?![\w'\u2044]|\.(?:\d|[A-Za-z]\b)|-\w)"
"""A whole word or number: not in 3.5, U.S., X-ray, A's."""

_END = r"(?!\w|\.\d)"
_ALONE = r"(?=[^\S\n]*+(?:\n|\Z|[^\w\s%]))(?!\.(?:\d|[A-Za-z]\b)|-\w)"
_NOT_A_PRONOUN = r"(?!I\s++[a-z])"
_NOT_THOUSANDS = r"(?!\d{1,3}(?:,\d{3}){1,4}(?!\s*+[\d,>]))"


class Labels:
    """The names of the documents shown, in order: numbers, or words (letters, say) that differ by case.

    Patterns find what looks like a name, shown or not; calling gives the position of a name, -1 if it was not shown.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        names = [normalised(label).strip() for label in labels]
        self.numbers = all(name.isascii() and name.isdigit() for name in names)
        self._positions: dict[str, int] = {}
        for position, name in enumerate(names):
            self._positions.setdefault(self._plain(name), position)
        shown = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name) or "(?!)"
        name = r"\d++" if self.numbers else rf"(?:{shown}|[A-Z])"
        whole = rf"{BEFORE}{name}{AFTER}"
        joint = r"(?:,?+\s{0,4}and\b|[,>;&])"
        self.name = re.compile(name)
        # Passage 3; with a plural also: documents 3, 1 and 2.
        self.noun = re.compile(
            rf"{NOUN}s{DECORATION}{{0,4}}({name}{_END}(?:\s{{0,4}}{joint}\s{{0,4}}{name}{_END})*+)"
            rf"|{NOUN}{DECORATION}{{0,4}}({name}){_END}"
        )
        # 3 > 1 > 2. But 1,000 is one number.
        self.chain = re.compile(rf"{_NOT_THOUSANDS}{whole}(?:\s*+[>,]++\s*+{whole})++")
        # The answer begins with a name. A bare number or an unknown letter must stand alone: "3 of them", "E coli".
        bare = rf"{name}{_ALONE}" if self.numbers else rf"{_NOT_A_PRONOUN}(?:{shown}){AFTER}|{name}{_ALONE}"
        self.first = re.compile(rf"{DECORATION}*+(?:{NOUN}{DECORATION}*+({name}){_END}|({name})\s*+\]|({bare}))")
        # A name anywhere: [3], Passage 3; words also by themselves, if they were shown.
        anywhere = "(?!)()" if self.numbers else rf"{BEFORE}{_NOT_A_PRONOUN}({shown}){AFTER}"
        self.mention = re.compile(rf"\[\s{{0,4}}({name})\s{{0,4}}\]|{NOUN}{DECORATION}{{0,4}}({name}){_END}|{anywhere}")

    def _plain(self, name: str) -> str:
        return str(int(name)) if self.numbers and len(name) <= DIGITS else name

    def __call__(self, name: str) -> int:
        """The position of the document so named, -1 if none is."""
        return self._positions.get(self._plain(name), -1)


@lru_cache(maxsize=512)
def named(labels: tuple[str, ...]) -> Labels:
    """The `Labels` of these names: compiled once."""
    return Labels(labels)
