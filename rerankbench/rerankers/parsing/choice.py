"""One answer out of a few: the best label of a set, or the better of two."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rerankbench.rerankers.parsing.labels import NOUN, Labels, named
from rerankbench.rerankers.parsing.text import cleaned
from rerankbench.rerankers.requests import Failure

_TIE = re.compile(rf"\W*+(?:an?\s++)?+(?:tie|tied|both|equal|equally)(?:\s++(?:relevant|equal|{NOUN}s))?+\W*+", re.I)
_NOUN_FIRST = re.compile(rf"\W*+{NOUN}\W++(?=\w)")


def choice(text: str, labels: Sequence[str]) -> int | Failure:
    """The index of the one label that the text names, or begins with; letters in upper case, as whole words.

    `B`, `[3]`, `**Passage B**.`; a number counts only in brackets, after such a noun, or where the text begins with it.
    """
    cleaned_text = cleaned(text)
    return cleaned_text if isinstance(cleaned_text, Failure) else _choice(cleaned_text, named(tuple(labels)))


def _choice(text: str, labels: Labels) -> int | Failure:
    if first := labels.first.match(text):
        chosen = labels(next(name for name in first.groups() if name is not None))
        return chosen if chosen >= 0 else Failure("unknown label")
    named_labels = {labels(next(name for name in match.groups() if name)) for match in labels.mention.finditer(text)}
    if len(named_labels) > 1:
        return Failure("several labels")
    if not named_labels:
        return Failure("no label")
    chosen = named_labels.pop()
    return chosen if chosen >= 0 else Failure("unknown label")


def preference(text: str, labels: Sequence[str]) -> float | Failure:
    """1 if the first of two labels is chosen, 0 if the second is, ½ if the answer is no more than a tie or both."""
    cleaned_text = cleaned(text)
    if isinstance(cleaned_text, Failure):
        return cleaned_text
    noun = _NOUN_FIRST.match(cleaned_text)
    if _TIE.fullmatch(cleaned_text, noun.end() if noun else 0):
        return 0.5
    chosen = _choice(cleaned_text, named(tuple(labels)))
    return chosen if isinstance(chosen, Failure) else float(chosen == 0)
