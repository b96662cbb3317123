"""Samplers of negatives: they draw documents for a query, never one of its known positives.

The generator is seeded by query and epoch. A sampler with too few documents returns fewer, none of them twice.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.types import Query


@dataclass(frozen=True, slots=True)
class Context:
    """What a sampler knows about one query.

    ranked, scores: the whole first-stage list, best first. grades: the judgments. positives: the relevant documents.
    known_positives: those, their copies by text, and partly relevant documents: none of them is a negative. excluded:
    those and documents without text. teacher: another model's scores, None without a teacher; only documents that it
    scored are drawn. pool: documents drawn at random from the corpus, for all queries.
    """

    query: Query
    ranked: tuple[str, ...]
    scores: tuple[float, ...]
    grades: Mapping[str, int]
    positives: tuple[str, ...]
    known_positives: frozenset[str]
    excluded: frozenset[str]
    teacher: Mapping[str, float] | None = None
    pool: tuple[str, ...] = ()

    def allowed(self, ids: Iterable[str]) -> list[str]:
        """Those that may be drawn, in order."""
        excluded, teacher = self.excluded, self.teacher
        if teacher is None:
            return [document for document in ids if document not in excluded]
        return [document for document in ids if document not in excluded and document in teacher]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a context must hold: the first-stage list to `depth`, `pool` random documents, a teacher's scores."""

    depth: int = 0
    pool: int = 0
    teacher: bool = False


class Sampler(Protocol):
    """A configured sampler of negatives."""

    def needs(self) -> Needs:
        """What its contexts must hold."""
        ...

    def refused(self, context: Context) -> int:
        """How many documents it leaves out as false negatives."""
        ...

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` different documents, none of them excluded."""
        ...


class Uniform(ABC):
    """Draws uniformly without replacement from the documents that are eligible."""

    def needs(self) -> Needs:
        """Nothing but judgments."""
        return Needs()

    def refused(self, context: Context) -> int:
        """None."""
        return 0

    @abstractmethod
    def eligible(self, context: Context) -> list[str]:
        """The documents to draw from, in first-stage order."""

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` of the eligible."""
        ids = self.eligible(context)
        return rng.sample(ids, min(count, len(ids)))


@dataclass(frozen=True, kw_only=True)
class TopK(Uniform):
    """From the first-stage top k (localized negatives: Gao et al., arXiv 2101.08751)."""

    k: Annotated[int, Ge(1)] = 50

    def needs(self) -> Needs:
        """The top k."""
        return Needs(depth=self.k)

    def eligible(self, context: Context) -> list[str]:
        """The top k."""
        return context.allowed(context.ranked[: self.k])


@dataclass(frozen=True, kw_only=True)
class Window(Uniform):
    """From first-stage ranks `first` to `last`, counted from 1: hard, but rarely false negatives."""

    first: Annotated[int, Ge(1)] = 10
    last: int = 100

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ConfigError("last", f"must be at least first={self.first}, got {self.last}")

    def needs(self) -> Needs:
        """The list down to `last`."""
        return Needs(depth=self.last)

    def eligible(self, context: Context) -> list[str]:
        """The documents of these ranks."""
        return context.allowed(context.ranked[self.first - 1 : self.last])


@dataclass(frozen=True, kw_only=True)
class Bottom(Uniform):
    """From the last m of the first-stage top k, of a shorter list its last m (DUQGen, arXiv 2404.02489)."""

    m: Annotated[int, Ge(1)] = 8
    k: int = 100

    def __post_init__(self) -> None:
        if self.k < self.m:
            raise ConfigError("k", f"must be at least m={self.m}, got {self.k}")

    def needs(self) -> Needs:
        """The top k."""
        return Needs(depth=self.k)

    def eligible(self, context: Context) -> list[str]:
        """The last m."""
        return context.allowed(context.ranked[: self.k][-self.m :])


@dataclass(frozen=True, kw_only=True)
class Judged(Uniform):
    """From the documents that a person judged not relevant."""

    def eligible(self, context: Context) -> list[str]:
        """The documents of grade 0 or less."""
        return context.allowed(document for document, grade in context.grades.items() if grade <= 0)


@dataclass(frozen=True, kw_only=True)
class Random:
    """From the whole corpus: a pool of `pool` documents, drawn once with the seed and shared by all queries."""

    pool: Annotated[int, Ge(1)] = 10_000

    def needs(self) -> Needs:
        """The pool."""
        return Needs(pool=self.pool)

    def refused(self, context: Context) -> int:
        """None."""
        return 0

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` of the pool."""
        # As many more as may be excluded: what is left is still drawn uniformly.
        drawn = rng.sample(context.pool, min(len(context.pool), count + len(context.excluded)))
        return context.allowed(drawn)[:count]


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Each negative from one of the samplers, chosen by weight; where that one has too few, from another."""

    samplers: Sequence[Sampler] = field(default_factory=lambda: (TopK(), Random()))
    weights: Sequence[float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        if not self.samplers or len(self.samplers) != len(self.weights):
            problem = f"must be one for each sampler: {len(self.samplers)}, not {len(self.weights)}"
            raise ConfigError("weights", problem)
        if min(self.weights) < 0 or not sum(self.weights) > 0:
            raise ConfigError("weights", f"must not be negative, nor all 0; got {list(self.weights)}")

    def needs(self) -> Needs:
        """What any of them needs."""
        needs = [sampler.needs() for sampler in self.samplers]
        return Needs(max(one.depth for one in needs), max(one.pool for one in needs), any(one.teacher for one in needs))

    def refused(self, context: Context) -> int:
        """How many the strictest of them refuses."""
        return max(sampler.refused(context) for sampler in self.samplers)

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` of all together."""
        shares = Counter(rng.choices(range(len(self.samplers)), self.weights, k=count))
        drawn: dict[str, None] = {}

        def take(sampler: Sampler, share: int) -> None:
            """As many more are asked for as are drawn already: so the share is filled, however samplers overlap."""
            others = [d for d in sampler.draw(context, share + len(drawn), rng) if d not in drawn]
            drawn.update(dict.fromkeys(others[:share]))

        for index, share in sorted(shares.items()):
            take(self.samplers[index], share)
        for sampler, weight in zip(self.samplers, self.weights, strict=True):
            if weight and len(drawn) < count:
                take(sampler, count - len(drawn))
        return list(drawn)
