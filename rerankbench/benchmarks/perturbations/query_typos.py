"""Typing mistakes in queries: letters inserted, deleted, substituted, swapped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.types import Query

Kind = Literal["insert", "delete", "substitute", "swap"]


@dataclass(frozen=True, kw_only=True)
class QueryTypos:
    """Each letter of a query is the place of a mistake with probability `rate`.

    kinds: the mistakes, each as likely. seed: a query's mistakes depend on it and the query's id alone. A query of
    which nothing would be left stays as it is. After Zhuang & Zuccon, EMNLP 2021 (arXiv 2108.12139).
    """

    rate: Annotated[float, Interval(ge=0, le=1)] = 0.1
    kinds: Annotated[Sequence[Kind], MinLen(1)] = ("insert", "delete", "substitute", "swap")
    seed: int = 0

    def apply(self, benchmark: Benchmark) -> Benchmark:
        """The benchmark with the mistakes in its queries."""
        return replace(benchmark, queries=tuple(map(self._mistyped, benchmark.queries)))

    def _mistyped(self, query: Query) -> Query:
        chance = random.Random(f"{self.seed}\t{query.id}")
        letters, place = list(query.text), 0
        while place < len(letters):
            if letters[place].isalpha() and chance.random() < self.rate:
                place += self._mistake(letters, place, chance)
            place += 1
        text = "".join(letters)
        return query.with_text(text) if text.strip() else query

    def _mistake(self, letters: list[str], place: int, chance: random.Random) -> int:
        """Change the letters in place; how many places further the next letter is now."""
        kind = chance.choice(self.kinds)
        if kind == "insert":
            letters.insert(place, chance.choice(ascii_lowercase))
            return 1
        if kind == "delete":
            del letters[place]
            return -1
        if kind == "substitute":
            letters[place] = chance.choice(ascii_lowercase)
            return 0
        if place + 1 < len(letters):
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        return 1
