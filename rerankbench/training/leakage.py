"""Texts that are equal but for case, white space and the like: held-out queries in training, copies of positives."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Literal

from rerankbench.errors import ConfigError
from rerankbench.types import Query


def text_hash(text: str) -> bytes:
    """A hash (16 bytes) that compatible characters, case, white space and punctuation at the end do not change."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.blake2b((plain.rstrip(" .?!。") or plain).encode(), digest_size=16).digest()


def leaked(train: Sequence[Query], held_out: Sequence[Query]) -> list[Query]:
    """The training queries whose text is that of a held-out query."""
    known = {text_hash(query.text) for query in held_out}
    return [query for query in train if text_hash(query.text) in known]


def check(
    train: Sequence[Query], held_out: Sequence[Query], duplicates: Literal["error", "drop"], source: str, key: str
) -> list[Query]:
    """The queries that may be trained on, in order.

    key: that of `duplicates`. Raises ConfigError if a query is held out, unless `duplicates` is `drop`.
    """
    leaks = leaked(train, held_out)
    if leaks and duplicates == "error":
        shown = f"{len(leaks)} of {len(train)} training queries of {source}, such as {leaks[0].text[:80]!r}"
        raise ConfigError(key, f"{shown}, are queries of dev or test, too; {key}=drop leaves them out of training")
    dropped = {query.id for query in leaks}
    return [query for query in train if query.id not in dropped]
