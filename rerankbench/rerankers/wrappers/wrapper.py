"""A scorer around another one: it changes requests before, or answers after, and forwards the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rerankbench.rerankers.requests import Answer, Failure, Repaired, Request
from rerankbench.rerankers.scorer import Record, Scorer
from rerankbench.store import content_hash


@dataclass(frozen=True, kw_only=True)
class Wrapper:
    """The options of a wrapped scorer, chosen in the configuration.

    wraps: the kind of request that a scorer must answer to be wrapped; by default any.
    """

    wraps: ClassVar[Any] = Request

    def wrap(self, scorer: Scorer) -> Scorer:
        """The scorer with this around it."""
        raise NotImplementedError


class WrappedScorer(Scorer):
    """A scorer with a wrapper's options around it; what a subclass does not change is as the inner scorer has it."""

    def __init__(self, scorer: Scorer, wrapper: Wrapper) -> None:
        self.scorer = scorer
        self.usage = scorer.usage
        self.wrapper = wrapper

    @property
    def answers(self) -> Any:
        """As the inner scorer."""
        return self.scorer.answers

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        """As the inner scorer."""
        return self.scorer.reads

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """As the inner scorer."""
        return self.scorer.chunk

    @property
    def record(self) -> Record | None:
        """The inner scorer's, which makes the prompts."""
        return self.scorer.record

    @record.setter
    def record(self, record: Record | None) -> None:
        self.scorer.record = record

    def answer(self, requests: Sequence[Any]) -> Sequence[Answer | Failure | Repaired]:
        """The inner scorer's answers."""
        return self.scorer.answer(requests)

    def fingerprint(self) -> str | None:
        """Of the inner scorer and the wrapper's options."""
        inner = self.scorer.fingerprint()
        return inner and content_hash(type(self).__name__, inner, dataclasses.asdict(self.wrapper))

    def prepare(self, requests: Sequence[Any]) -> None:
        """As the inner scorer."""
        self.scorer.prepare(requests)

    def tokens(self, request: Any) -> int | None:
        """As the inner scorer."""
        return self.scorer.tokens(request)

    @property
    def models(self) -> Sequence[Any]:
        """As the inner scorer."""
        return self.scorer.models
