"""One answer out of a few: the best label of a set, the better of two, true or false, a grade."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rerankbench.rerankers.parsing.labels import DIGITS, NOUN, Labels, named
from rerankbench.rerankers.parsing.text import cleaned
from rerankbench.rerankers.requests import Failure

_TIE = re.compile(rf"\W*+(?:an?\s++)?+(?:tie|tied|both|equal|equally)(?:\s++(?:relevant|equal|{NOUN}s))?+\W*+", re.I)
_NOUN_FIRST = re.compile(rf"\W*+{NOUN}\W++(?=\w)")
_INTEGER = re.compile(r"(?<![\w.\u2044])-?+\d++(?![\w\u2044]|\.\d)")


def choice(text: str, labels: Sequence[str]) -> int | Failure:
    """The index of the one label that the text names, or begins with; letters in upper case, as whole words.

    `B`, `[3]`, `**Passage B**.`; a number counts only in brackets, after such a noun, or where the text begins with it.
    """
    kept = cleaned(text)
    return kept if isinstance(kept, Failure) else _choice(kept, named(tuple(labels)))


def _choice(text: str, labels: Labels) -> int | Failure:
    if first := labels.first.match(text):
        chosen = labels(next(name for name in first.groups() if name is not None))
        return chosen if chosen >= 0 else Failure("unknown label")
    found = {labels(next(name for name in match.groups() if name)) for match in labels.mention.finditer(text)}
    if len(found) > 1:
        return Failure("several labels")
    if not found:
        return Failure("no label")
    chosen = found.pop()
    return chosen if chosen >= 0 else Failure("unknown label")


def preference(text: str, labels: tuple[str, str]) -> float | Failure:
    """1 if the first of two labels is chosen, 0 if the second is, ½ if the answer is no more than a tie or both."""
    kept = cleaned(text)
    if isinstance(kept, Failure):
        return kept
    noun = _NOUN_FIRST.match(kept)
    if _TIE.fullmatch(kept, noun.end() if noun else 0):
        return 0.5
    chosen = _choice(kept, named(labels))
    return chosen if isinstance(chosen, Failure) else float(chosen == 0)


def true_false(text: str, labels: tuple[str, str] = ("true", "false")) -> bool | Failure:
    """Whether the text holds the first of two words rather than the second, in any case; of both, the one it begins
    with."""
    kept = cleaned(text)
    if isinstance(kept, Failure):
        return kept
    yes, no = (label.strip().casefold() for label in labels)
    words: list[str] = re.findall(r"\w++", kept.casefold())
    found = {word for word in words if word in (yes, no)}
    if not found:
        return Failure("no label")
    if len(found) > 1 and words[0] not in found:
        return Failure("several labels")
    return (words[0] if words[0] in found else found.pop()) == yes


def rating(text: str, low: int, high: int) -> int | Failure:
    """The first integer of the text that lies on the scale low..high, both included."""
    kept = cleaned(text)
    if isinstance(kept, Failure):
        return kept
    numbers = [number[0] for number in _INTEGER.finditer(kept)]
    for number in numbers:
        if len(number.lstrip("-")) <= DIGITS and low <= int(number) <= high:
            return int(number)
    return Failure("unknown label" if numbers else "no label")
