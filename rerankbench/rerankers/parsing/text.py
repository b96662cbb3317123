"""The part of an answer that is parsed: without reasoning, digits in ASCII, and of a long text only the end.

The parsers of this package are pure functions that never raise, whatever the text, and take linear time: their patterns
cannot backtrack (quantifiers are possessive or bounded). The kind of a failure is a phrase that also names its counter.
"""

from __future__ import annotations

import re
import unicodedata

from rerankbench.rerankers.requests import Failure

LIMIT = 20_000
"""Of a longer text only this many characters at its end are parsed; reasoning is removed before."""

_THINK = re.compile(r"<(/?)think>", re.IGNORECASE | re.ASCII)
_ANSWER = re.compile(r"<(/?)answer>", re.IGNORECASE | re.ASCII)
_PLAIN = str.maketrans("\u2018\u2019\u201c\u201d\u2010\u2011\u2012\u2013\u2014\u2212", "''\"\"------")


def without_reasoning(text: str) -> str | Failure:
    """What follows the last `</think>`, and of that the content of the last complete `<answer></answer>`.

    An `<answer>` without its end counts to the end of the text, for generation may have been stopped at the closing
    tag. A `<think>` without its end is a failure: the caller may close it and ask for the answer alone.
    """
    opened = closed = 0
    for tag in _THINK.finditer(text):
        if tag[1]:
            closed = tag.end()
        else:
            opened = tag.end()
    if opened > closed:
        return Failure("unclosed reasoning")
    start, end = closed, len(text)
    unpaired: int | None = None
    paired = False
    for tag in _ANSWER.finditer(text, closed):
        if not tag[1]:
            unpaired = tag.end()
        elif unpaired is not None:
            start, end, unpaired, paired = unpaired, tag.start(), None, True
    if unpaired is not None and not paired:
        start = unpaired
    return text[start:end]


def normalised(text: str) -> str:
    """Compatibility forms resolved (`⑩` → 10, `［` → [), decimal digits of every script, quotes and dashes made ASCII.

    `isdigit` would be the wrong test: it holds for `➀`, on which `int` raises.
    """
    if text.isascii():
        return text
    # In pieces, for normalising sorts runs of combining marks in quadratic time.
    pieces = (text[start : start + 1000] for start in range(0, len(text), 1000))
    text = "".join(unicodedata.normalize("NFKC", piece) for piece in pieces).translate(_PLAIN)
    return "".join(c if (digit := unicodedata.decimal(c, None)) is None else str(digit) for c in text)


def cleaned(text: str) -> str | Failure:
    """The part of `text` that is parsed, or why there is none."""
    answer = without_reasoning(text)
    if isinstance(answer, Failure):
        return answer
    return normalised(answer[-LIMIT:]).strip()[-LIMIT:] or Failure("empty")
