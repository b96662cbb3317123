"""A reranker: how deep, which strategy asks, which scorer answers, and what it may cost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Request, Strategy
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.wrappers.passages import Passages
from rerankbench.rerankers.wrappers.wrapper import Wrapper
from rerankbench.types import Document, Query, Run


@dataclass(frozen=True, kw_only=True)
class Reranker:
    """Reranks the top `depth` candidates of each query (null: all) and keeps the tail below them in its order.

    passages: score a long document passage by passage. wrappers: what is around the scorer besides, by any name, the
    last one outermost. max_requests, max_tokens: what one query may cost (null: no limit); a strategy that would exceed
    it stops with its best order so far.
    """

    strategy: Strategy
    scorer: Scorer | None = None
    depth: Annotated[int, Ge(0)] | None = None
    passages: Passages | None = None
    wrappers: Mapping[str, Wrapper] = field(default_factory=dict)
    max_requests: Annotated[int, Ge(1)] | None = None
    max_tokens: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if self.scorer is None:
            return
        for name, wrapper in self._wrappers().items():
            if self.scorer.answers not in (wrapper.wraps, Request) and wrapper.wraps is not Request:
                wanted, answered = wrapper.wraps.__name__, self.scorer.answers.__name__
                raise ConfigError(name, f"wraps a scorer of {wanted} requests, but this one answers {answered}")

    @functools.cached_property
    def wrapped_scorer(self) -> Scorer | None:
        """The scorer that the engine asks: `scorer` with its wrappers."""
        if self.scorer is None:
            return None
        return functools.reduce(lambda scorer, wrapper: wrapper.wrap(scorer), self._wrappers().values(), self.scorer)

    def _wrappers(self) -> dict[str, Wrapper]:
        """The wrappers by key, the innermost first."""
        named = {f"wrappers.{name}": wrapper for name, wrapper in self.wrappers.items()}
        return named if self.passages is None else {"passages": self.passages, **named}


class Composed(Protocol):
    """A reranker made of rerankers."""

    @property
    def depth(self) -> int | None:
        """How many candidates of each query go in; None for all."""
        ...

    def rerank(
        self,
        rerank: Callable[[AnyReranker, Sequence[Query], Run, Mapping[str, Document]], Run],
        queries: Sequence[Query],
        first_stage: Run,
        documents: Mapping[str, Document],
    ) -> Run:
        """The reranked run; `rerank` is the engine's, for the rerankers inside."""
        ...


AnyReranker = Reranker | Composed
