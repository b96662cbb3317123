"""What flows through the program, left to right; all of it frozen, so that nobody downstream can change it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from rerankbench.errors import DataError

Qrels = dict[str, dict[str, int]]
"""Judgments: query id → document id → grade."""

Run = dict[str, list[tuple[str, float]]]
"""A ranking of documents for each query: query id → [(document id, score)], best first."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture (PNG, JPEG, …): its bytes, or the path of a file that is read when it is needed."""

    source: bytes | Path

    @property
    def data(self) -> bytes:
        """The bytes. Raises DataError for a file that cannot be read."""
        if isinstance(self.source, bytes):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise DataError(self.source, f"cannot be read ({error.strerror or error})") from None

    @cached_property
    def key(self) -> str:
        """A hash of the bytes."""
        return hashlib.sha256(self.data).hexdigest()[:32]


Part = str | Picture


def content_key(parts: Iterable[Part]) -> str:
    """A hash (32 hex digits) of text and pictures in their order, the same in every process."""
    digest = hashlib.sha256()
    for part in parts:
        kind, content = ("t", part.encode()) if isinstance(part, str) else ("p", part.key.encode())
        digest.update(f"{kind}{len(content)}:".encode() + content)
    return digest.hexdigest()[:32]


@dataclass(frozen=True, slots=True, init=False)
class Content:
    """Text and pictures in their order, under an id."""

    id: str
    parts: tuple[Part, ...]
    metadata: Mapping[str, Any] = field(compare=False)
    _key: str = field(init=False, repr=False, compare=False)

    def __init__(self, id: str, parts: str | Iterable[Part], metadata: Mapping[str, Any] | None = None) -> None:
        write = object.__setattr__
        write(self, "id", id)
        write(self, "parts", (parts,) if isinstance(parts, str) else tuple(parts))
        write(self, "metadata", {} if metadata is None else metadata)
        write(self, "_key", "")

    @property
    def text(self) -> str:
        """The text parts, joined by a space."""
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            return self.parts[0]
        return " ".join(part for part in self.parts if isinstance(part, str))

    @property
    def key(self) -> str:
        """A hash of the parts, computed once."""
        if not self._key:
            object.__setattr__(self, "_key", content_key(self.parts))
        return self._key

    def with_text(self, text: str) -> Self:
        """The same with another text, in front of the pictures."""
        return replace(self, parts=(text, *(part for part in self.parts if not isinstance(part, str))))


@dataclass(frozen=True, slots=True, init=False)
class Document(Content):
    """A document: its chosen fields joined into one text (or text and pictures), and its other fields as metadata."""


@dataclass(frozen=True, slots=True, init=False)
class Query(Content):
    """A query as its collection gives it. instruction: what is wanted of an answer, for scorers that read one."""

    instruction: str

    def __init__(
        self,
        id: str,
        parts: str | Iterable[Part],
        instruction: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        Content.__init__(self, id, parts, metadata)
        object.__setattr__(self, "instruction", instruction)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document at its first-stage rank (from 0) with its first-stage score, which nothing later changes."""

    document: Document
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """A reranked list: the candidates best first, with scores that never increase."""

    candidates: tuple[Candidate, ...]
    scores: tuple[float, ...]
