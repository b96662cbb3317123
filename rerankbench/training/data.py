"""The queries of a training: train, dev and test sets of a benchmark, with what the first stage finds for them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.config.build import build
from rerankbench.errors import ConfigError
from rerankbench.profiling import Clock
from rerankbench.retrievers.first_stage import retrieve
from rerankbench.store import Store
from rerankbench.training.groups import Group
from rerankbench.training.recipe import Recipe
from rerankbench.training.sources import Source, candidate_groups
from rerankbench.types import Qrels, Query

SPLITS = ("train", "dev", "validation", "test")


@dataclass(frozen=True)
class Sets:
    """train: benchmarks with their weights, the recipe's own first. dev: None for no dev queries. split: of test.

    kept: queries held out from other training sets, by the set's name, measured after each stage.
    """

    train: Sequence[tuple[Benchmark, float]]
    dev: Benchmark | None
    test: Benchmark
    split: str
    kept: Mapping[str, Benchmark] = field(default_factory=dict)

    @property
    def held_out(self) -> list[Query]:
        """The queries that must not be trained on."""
        sets = [*([self.dev] if self.dev else []), self.test, *self.kept.values()]
        return [query for benchmark in sets for query in benchmark.queries]

    def retrieved(
        self, retriever: Any, store: Store, clock: Clock, name: str, recipe: Recipe
    ) -> tuple[list[Source], list[Group], dict[str, tuple[list[Group], Qrels]]]:
        """The training sets with their first-stage runs, and the dev and kept queries with their candidates."""

        def candidates(benchmark: Benchmark) -> list[Group]:
            first_stage, _, _ = retrieve(benchmark, retriever, store, clock, name)
            return candidate_groups(benchmark, first_stage, recipe.depth)

        sources = []
        for benchmark, weight in self.train:
            first_stage, _, _ = retrieve(benchmark, retriever, store, clock, name)
            sources.append(Source(benchmark, first_stage, weight))
        kept = {source: (candidates(benchmark), benchmark.qrels) for source, benchmark in self.kept.items()}
        return sources, candidates(self.dev) if self.dev is not None else [], kept


def load_sets(node: Mapping[str, Any], recipe: Recipe, seed: int) -> Sets:
    """Load the benchmark's training, dev and test queries, and the recipe's other training sets.

    node: the checked benchmark node, which names the test split. Raises ConfigError for a split that does not exist.
    """
    if recipe.split == node["split"]:
        raise ConfigError("recipe.split", f"{recipe.split!r} is also what the trained reranker is measured on")
    test: Benchmark = build(node, "benchmark").load()
    train: list[tuple[Benchmark, float]] = []
    kept: dict[str, Benchmark] = {}
    if recipe.weight:
        train.append((_load(node, recipe.split, recipe.queries, "recipe.split"), recipe.weight))
    for index, source in enumerate(recipe.sources):
        if not hasattr(source.get("benchmark"), "load"):
            raise ConfigError(f"recipe.sources[{index}]", "must have a benchmark node (and may have weight and dev)")
        loaded: Benchmark = source["benchmark"].load()
        if source.get("dev"):
            kept[loaded.name], loaded = _held_out(loaded, int(source["dev"]), seed)
        train.append((loaded, float(source.get("weight", 1.0))))
    if not train:
        raise ConfigError("recipe.weight", "is 0 and there are no other sources: nothing to train on")
    dev: Benchmark | None = None
    if recipe.dev_queries and recipe.dev_split is not None:
        dev = _load(node, recipe.dev_split, recipe.dev_queries, "recipe.dev_split")
    elif recipe.dev_queries:
        dev, rest = _held_out(train[0][0], recipe.dev_queries, seed)
        train[0] = (rest, train[0][1])
    return Sets(train, dev, test, str(node["split"]), kept)


def _load(node: Mapping[str, Any], split: str, queries: int | None, key: str) -> Benchmark:
    """The benchmark at another split. An ir_datasets id names its split, so there the id's last part changes."""
    changed = {**node, "split": split, "queries": queries}
    parts = str(node.get("id", "")).split("/")
    if parts[-1] in SPLITS:
        changed["id"] = "/".join([*parts[:-1], split])
    try:
        loaded: Benchmark = build(changed, "benchmark").load()
    except ConfigError as error:
        if error.key not in ("benchmark.split", "benchmark.id"):
            raise
        problem = str(error).removeprefix(f"{error.key}: ")
        raise ConfigError(
            key, f"{problem}; recipe.split and recipe.dev_split choose (dev_split=null: of train)"
        ) from None
    return loaded


def _held_out(benchmark: Benchmark, count: int, seed: int) -> tuple[Benchmark, Benchmark]:
    """So many of its queries (at most a fifth), and the others."""
    count = min(count, len(benchmark.queries) // 5)
    chosen = set(random.Random(seed).sample(sorted(query.id for query in benchmark.queries), count))

    def only(keep: bool) -> Benchmark:
        queries = tuple(query for query in benchmark.queries if (query.id in chosen) is keep)
        return replace(benchmark, queries=queries, qrels={query.id: benchmark.qrels[query.id] for query in queries})

    if not chosen:
        raise ConfigError("recipe.dev_queries", f"only {len(benchmark.queries)} training queries: none can be held out")
    return only(True), only(False)
