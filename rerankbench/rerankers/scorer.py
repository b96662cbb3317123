"""A scorer answers requests: what the engine may ask of it, with what most scorers do by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rerankbench.rerankers.requests import Answer, Failure, Repaired, Request
from rerankbench.usage import Usage

Record = Callable[[Request, str | None, Any], None]
"""Takes a request, the prompt that it became, and the raw answer, for a person to read."""


class Scorer:
    """Answers batches of requests from any mixture of queries, in the order given.

    answers: the kind of request. reads: what an answer depends on, of `text`, `pictures`, `instruction`, `ids`,
    `first_stage` (ranks and scores) and `metadata.NAME` (of query and documents); the store keys answers by it.
    chunk: requests that are answered between two writes to the store. usage: what answering cost so far.
    """

    answers: ClassVar[Any]
    reads: ClassVar[frozenset[str]] = frozenset({"text"})
    chunk: ClassVar[int] = 512
    usage: Usage
    record: Record | None = None

    def answer(self, requests: Sequence[Any]) -> Sequence[Answer | Failure | Repaired]:
        """One answer for each request, in the same order."""
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """A hash of all that an answer depends on besides what it `reads`; None: answers are not stored."""
        return None

    def prepare(self, requests: Sequence[Any]) -> None:
        """Called with all requests of a round, chunk by chunk, also with those that the store answers.

        A scorer that caches vectors assigns batches here, so that a vector's last bits are the same in a run that
        resumes after a crash and in an undisturbed one.
        """

    def tokens(self, request: Any) -> int | None:
        """What the request will cost at most, prompt and answer; None where that is not known beforehand."""
        return None

    @property
    def models(self) -> Sequence[Any]:
        """The models that it asks, for the record of the run."""
        model = getattr(self, "model", None)
        return [] if model is None else [model]
