"""Where negatives come from: samplers that draw documents for a query, none of them ever a known positive.

Each is redrawn from a generator seeded by query and epoch. One that runs short returns fewer, never one twice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rerankbench.errors import ConfigError
from rerankbench.types import Query


@dataclass(frozen=True, slots=True)
class Context:
    """What a sampler knows of one query.

    ranked, scores: the whole first-stage list, best first. grades: the judgments. positives: the relevant documents.
    never: positives, their copies by text, and partly relevant documents, which are no negatives. barred: those and
    documents without text. teacher: another model's scores, None without a teacher; what it did not score is not
    drawn. pool: documents drawn at random from the corpus, for all queries.
    """

    query: Query
    ranked: tuple[str, ...]
    scores: tuple[float, ...]
    grades: Mapping[str, int]
    positives: tuple[str, ...]
    never: frozenset[str]
    barred: frozenset[str]
    teacher: Mapping[str, float] | None = None
    pool: tuple[str, ...] = ()

    def allowed(self, ids: Iterable[str]) -> list[str]:
        """Those that may be drawn, in order."""
        barred, teacher = self.barred, self.teacher
        if teacher is None:
            return [document for document in ids if document not in barred]
        return [document for document in ids if document not in barred and document in teacher]


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be at hand: the first-stage list to `depth`, so many random documents, a teacher's scores."""

    depth: int = 0
    pool: int = 0
    teacher: bool = False


class Sampler(Protocol):
    """A configured sampler of negatives."""

    def needs(self) -> Needs:
        """What its contexts must hold."""
        ...

    def refused(self, context: Context) -> int:
        """How many documents its rule takes for false negatives."""
        ...

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` different documents, none of them barred."""
        ...


class Uniform:
    """Draws without replacement from the documents that are eligible, each as likely as the other."""

    def needs(self) -> Needs:
        """Nothing but judgments."""
        return Needs()

    def refused(self, context: Context) -> int:
        """None."""
        return 0

    def eligible(self, context: Context) -> list[str]:
        """The documents to draw from, in first-stage order."""
        raise NotImplementedError

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` of the eligible."""
        ids = self.eligible(context)
        return rng.sample(ids, min(count, len(ids)))


@dataclass(frozen=True, kw_only=True)
class TopK(Uniform):
    """From the first-stage top k (localized negatives: Gao et al., arXiv 2101.08751)."""

    k: int = 50

    def __post_init__(self) -> None:
        require_at_least(1, k=self.k)

    def needs(self) -> Needs:
        """The top k."""
        return Needs(depth=self.k)

    def eligible(self, context: Context) -> list[str]:
        """The top k."""
        return context.allowed(context.ranked[: self.k])


@dataclass(frozen=True, kw_only=True)
class Window(Uniform):
    """From first-stage ranks `first` to `last`, counted from 1: hard, but rarely false negatives."""

    first: int = 10
    last: int = 100

    def __post_init__(self) -> None:
        require_at_least(1, first=self.first)
        require_at_least(self.first, last=self.last)

    def needs(self) -> Needs:
        """The list down to `last`."""
        return Needs(depth=self.last)

    def eligible(self, context: Context) -> list[str]:
        """The documents of these ranks."""
        return context.allowed(context.ranked[self.first - 1 : self.last])


@dataclass(frozen=True, kw_only=True)
class Bottom(Uniform):
    """From the last m of the first-stage top k, of a shorter list its last m (DUQGen, arXiv 2404.02489)."""

    m: int = 8
    k: int = 100

    def __post_init__(self) -> None:
        require_at_least(1, m=self.m)
        require_at_least(self.m, k=self.k)

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
    """From the whole corpus: a pool of so many documents, drawn once with the seed and shared by all queries."""

    pool: int = 10_000

    def __post_init__(self) -> None:
        require_at_least(1, pool=self.pool)

    def needs(self) -> Needs:
        """The pool."""
        return Needs(pool=self.pool)

    def refused(self, context: Context) -> int:
        """None."""
        return 0

    def draw(self, context: Context, count: int, rng: random.Random) -> list[str]:
        """At most `count` of the pool."""
        # As many more as may be barred: what is left of them is still drawn uniformly.
        drawn = rng.sample(context.pool, min(len(context.pool), count + len(context.barred)))
        return context.allowed(drawn)[:count]


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Each negative from one of the samplers, chosen by weight; where that one has run short, from another."""

    samplers: Sequence[Sampler] = field(default_factory=lambda: (TopK(), Random()))
    weights: Sequence[float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        if not self.samplers or len(self.samplers) != len(self.weights):
            problem = f"must be as many as samplers: {len(self.samplers)}, not {len(self.weights)}"
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
            """Asked for as many more as are drawn already, a sampler has its share of others, however they overlap."""
            others = [d for d in sampler.draw(context, share + len(drawn), rng) if d not in drawn]
            drawn.update(dict.fromkeys(others[:share]))

        for place, share in sorted(shares.items()):
            take(self.samplers[place], share)
        for sampler, weight in zip(self.samplers, self.weights, strict=True):
            if weight and len(drawn) < count:
                take(sampler, count - len(drawn))
        return list(drawn)


def require_at_least(minimum: int, **options: int) -> None:
    """ConfigError for an option that is below `minimum`."""
    for name, value in options.items():
        if value < minimum:
            raise ConfigError(name, f"must be at least {minimum}, got {value}")
