"""A score for each document of a group, as JSON and its many variants."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from rerankbench.rerankers.parsing.labels import DIGITS, NOUN
from rerankbench.rerankers.parsing.text import cleaned
from rerankbench.rerankers.requests import Failure, Repaired

_ID = re.compile(rf"\s*+(?:(?:{NOUN}|(?i:id))[\s_#-]*+)?+\[?+\s*+(\d++)\s*+\]?+\s*+")
_NUMBER = r"[-+]?+\d++(?:\.\d++)?+"
_NO_MORE = r"(?![\w\u2044]|\.\d)"
_NUMERIC = re.compile(rf"\s*+({_NUMBER})\s*+")
_ID_KEYS = frozenset({"id", "index", "label", "identifier", "doc", "docid", "doc_id", "document", "passage"})
_SCORE_KEYS = frozenset({"score", "rating", "relevance", "relevance_score", "grade", "value"})
_TRAILING_COMMA = re.compile(r",(?=\s*+[\]}])")
_THEN_A_COLON = re.compile(r"[\"'*`]{0,3}\s{0,8}:")
_QUOTE = r"[\"'*`]{0,3}"
# id : number, the id in brackets, after a noun, or where an entry begins, so that no time of day (12:30) is a score.
_PAIR = re.compile(
    rf"(?:\[\s{{0,4}}(\d++)\s{{0,4}}\]|{NOUN}[\s_#-]{{0,4}}(\d++)|(?:^|[{{,;\"'])[^\S\n]{{0,8}}(\d++))"
    rf"{_QUOTE}\s{{0,8}}:\s{{0,8}}{_QUOTE}({_NUMBER}){_NO_MORE}",
    re.MULTILINE,
)
# "id": 3, "score": 5
_ENTRY = re.compile(
    rf"\b(?i:{'|'.join(sorted(_ID_KEYS))}){_QUOTE}\s{{0,8}}:\s{{0,8}}[\"'\[]{{0,2}}(\d++)[\"'\]]{{0,2}}\s{{0,8}},\s{{0,8}}"
    rf"{_QUOTE}(?i:{'|'.join(sorted(_SCORE_KEYS))}){_QUOTE}\s{{0,8}}:\s{{0,8}}{_QUOTE}({_NUMBER}){_NO_MORE}"
)

Pair = tuple[int, Any]
"""A document's number, and the unparsed value of its score."""


class _Object(list[tuple[str, Any]]):
    """A JSON object as pairs, for its keys may repeat."""


def group_scores(text: str, n: int, low: float, high: float) -> list[float | None] | Repaired | Failure:
    """A score in low..high for each of the documents 1..n, None where the text has none for it.

    The last piece of JSON that scores a document is parsed: {"[1]": 5}, a list of n numbers, or a list of {id, score};
    where it is broken, `id : number` pairs. Booleans, NaN and infinities are no scores. Repairs are "duplicates" (the
    first counts), "out of range" (unknown ids are dropped, scores clipped) and "missing".
    """
    cleaned_text = cleaned(text)
    if isinstance(cleaned_text, Failure):
        return cleaned_text
    for pairs in _readings(cleaned_text, n):
        scores: list[float | None] = [None] * n
        duplicates = outside = False
        for number, written in pairs:
            if (score := _score(written)) is None:
                continue
            if not 1 <= number <= n:
                outside = True
            elif scores[number - 1] is not None:
                duplicates = True
            else:
                scores[number - 1] = min(max(score, float(low)), float(high))
                outside |= not low <= score <= high
        if any(score is not None for score in scores):
            repairs = {"duplicates": duplicates, "out of range": outside, "missing": None in scores}
            kind = "+".join(kind for kind, yes in repairs.items() if yes)
            return Repaired(scores, kind) if kind else scores
    return Failure("no scores")


def _score(written: Any) -> float | None:
    """A number, or a string that is one; `bool` is an `int` in Python and a refusal here."""
    if isinstance(written, str):
        match = _NUMERIC.fullmatch(written)
        written = float(match[1]) if match else None
    return written if isinstance(written, float) and math.isfinite(written) else None


def _readings(text: str, n: int) -> Iterator[list[Pair]]:
    """The ways to read a text, the likeliest first: JSON from the last piece to the first, then any pairs at all."""
    fenced = text.split("```")[1:-1:2]
    for piece in (*_balanced(fenced[-1] if fenced else ""), *_balanced(text)):
        yield _from_json(piece, n)
        yield _scanned(piece, _PAIR)
    yield _scanned(text, _PAIR)
    yield _scanned(text, _ENTRY)


def _balanced(text: str) -> list[str]:
    """The outermost balanced {…} and […], the last first; not those that a colon follows, such as a key "[1]":."""
    opened: list[int] = []
    pieces: list[tuple[int, int]] = []
    for bracket in re.finditer(r"[\[\]{}]", text):
        if bracket[0] in "[{":
            opened.append(bracket.start())
        elif opened and text[opened[-1]] + bracket[0] in ("[]", "{}"):
            start = opened.pop()
            while pieces and pieces[-1][0] > start:
                pieces.pop()
            pieces.append((start, bracket.end()))
        else:
            opened.clear()
    return [text[start:end] for start, end in reversed(pieces) if not _THEN_A_COLON.match(text, end)]


def _from_json(piece: str, n: int) -> list[Pair]:
    """The pairs that a piece of JSON states; none where it is not JSON, or states something else."""
    try:
        value = _loaded(piece)
    except (ValueError, RecursionError):
        return []
    if isinstance(value, _Object):
        return list(_numbered(value))
    if not isinstance(value, list) or any(type(item) is list for item in value):
        return []
    if any(isinstance(item, _Object) for item in value):
        return list(_numbered(_entry(item) for item in value if isinstance(item, _Object)))
    return list(enumerate(value, start=1)) if len(value) == n else []


def _loaded(piece: str) -> Any:
    def load(text: str) -> Any:
        # Integers as floats: `int` refuses very long ones. NaN and the infinities become no number.
        return json.loads(text, parse_int=float, parse_constant=lambda _: None, object_pairs_hook=_Object)

    try:
        return load(piece)
    except ValueError:
        return load(_TRAILING_COMMA.sub("", piece))


def _entry(item: _Object) -> tuple[str, Any]:
    """Id and score of {"id": …, "score": …}; no id where either is absent."""
    name = next((value for key, value in item if key.casefold() in _ID_KEYS), "")
    score = next((value for key, value in item if key.casefold() in _SCORE_KEYS), None)
    return (f"{name:.0f}" if isinstance(name, float) and name.is_integer() else str(name)), score


def _numbered(entries: Iterable[tuple[str, Any]]) -> Iterator[Pair]:
    """Entries whose key is an id: `[1]`, `1`, `doc 1`."""
    for key, written in entries:
        if match := _ID.fullmatch(key):
            yield _number(match[1]), written


def _scanned(text: str, pattern: re.Pattern[str]) -> list[Pair]:
    """The pairs of a text that is not JSON, by a pattern of which two groups match: number and score."""
    found = ([group for group in match.groups() if group] for match in pattern.finditer(text))
    return [(_number(number), float(score)) for number, score in found]


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= DIGITS else 0
