"""An order of documents as a listwise reranker generates it: `[3] > [1] > [2]` and its many variants."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rerankbench.rerankers.parsing.labels import NOUN, Labels, named
from rerankbench.rerankers.parsing.text import cleaned
from rerankbench.rerankers.requests import Failure, Repaired

_GROUP = re.compile(r"\[([^\[\]]*+)\]")
_BETWEEN = re.compile(r"[\s,;>=|\"'*`]+")
_A_NOUN = re.compile(rf"{NOUN}s?")
_BULLET = re.compile(r"\s*+[-+•]\s")
_NUMBERED = re.compile(r"\s*+\d{1,4}[.)](?=\s)")
_QUOTES = str.maketrans(dict.fromkeys("*`\"'", " "))


def permutation(
    text: str, n: int, labels: Sequence[str] | None = None, top: int | None = None
) -> list[int] | Repaired | Failure:
    """The indices 0..n-1, best first, of documents named "1".."n" or by `labels`.

    The first form that names a document shown is parsed: ids in brackets; `Passage 3`; a chain joined by `>`, then one
    joined by commas; a text of nothing but ids. Repairs are "duplicates" (the first counts), ids "out of range", "too
    many" where only the best `top` were asked for, and "missing" ones, which follow in the current order.
    """
    cleaned_text = cleaned(text)
    if isinstance(cleaned_text, Failure):
        return cleaned_text
    ids = named(tuple(map(str, range(1, n + 1))) if labels is None else tuple(labels)[:n])
    indices: list[int] = []
    looked_like_ids = False
    for form in _FORMS:
        indices = [ids(name) for name in form(cleaned_text, ids)]
        looked_like_ids |= bool(indices)
        if any(i >= 0 for i in indices):
            break
    else:
        return Failure("unknown label" if looked_like_ids else "no label")
    valid = [i for i in indices if i >= 0]
    distinct = list(dict.fromkeys(valid))
    wanted = n if top is None else max(0, min(top, n))
    repairs = {
        "duplicates": len(distinct) < len(valid),
        "out of range": len(valid) < len(indices),
        "too many": len(distinct) > wanted,
        "missing": len(distinct) < wanted,
    }
    best = dict.fromkeys(distinct[:wanted])
    order = [*best, *(i for i in range(n) if i not in best)]
    return Repaired(order, "+".join(kind for kind, yes in repairs.items() if yes)) if any(repairs.values()) else order


def _brackets(text: str, ids: Labels) -> list[str]:
    """All groups that hold nothing but ids, flattened: `[3]`, `[C]`, `[3, 1, 2]`, `[Passage 3]`."""
    names: list[str] = []
    for group in _GROUP.finditer(text):
        words = [word for word in _BETWEEN.split(group[1]) if word and not _A_NOUN.fullmatch(word)]
        if all(ids.name.fullmatch(word) for word in words):
            names += words
    return names


def _nouns(text: str, ids: Labels) -> list[str]:
    """`Passage 3`, `Document C`, `documents 3, 1 and 2`."""
    return [name for match in ids.noun.finditer(text) for name in ids.name.findall(match[1] or match[2])]


def _better_than(text: str, ids: Labels) -> list[str]:
    """`3 > 1 > 2`."""
    return _chains(text, ids, ">")


def _commas(text: str, ids: Labels) -> list[str]:
    """`3, 1, 2`."""
    return _chains(text, ids, "")


def _chains(text: str, ids: Labels, joint: str) -> list[str]:
    chains = (match[0] for match in ids.chain.finditer(text.translate(_QUOTES)))
    return [name for chain in chains if joint in chain for name in ids.name.findall(chain)]


def _nothing_else(text: str, ids: Labels) -> list[str]:
    """A text of ids and separators alone. A line's own number is dropped (`1. 3`) if the line holds another id."""
    names: list[str] = []
    for line in text.translate(_QUOTES).splitlines():
        if bullet := _BULLET.match(line):
            line = line[bullet.end() :]
        if (number := _NUMBERED.match(line)) and ids.name.search(line, number.end()):
            line = line[number.end() :]
        words = [stripped for word in _BETWEEN.split(line) if (stripped := word.strip(".:()"))]
        if not all(ids.name.fullmatch(word) for word in words):
            return []
        names += words
    return names


_FORMS: tuple[Callable[[str, Labels], list[str]], ...] = (_brackets, _nouns, _better_than, _commas, _nothing_else)
