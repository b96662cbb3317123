"""The queries of a training: train, dev and test sets of a benchmark, with what the first stage finds for them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.config.build import build
from rerankbench.errors import ConfigError, key_of
from rerankbench.profiling import Clock
from rerankbench.retrievers.first_stage import retrieve
from rerankbench.store import Store
from rerankbench.training.groups import Group
from rerankbench.training.recipe import Recipe
from rerankbench.training.sources import Source, TrainingData, candidate_groups
from rerankbench.types import Query

SPLITS = ("train", "dev", "validation", "test")


@dataclass(frozen=True)
class Sets:
    """train: benchmarks with their weights, the configured one first. dev: None for no dev queries. split: of test.

    retention: queries held out from other training sets, by the set's name, measured after each stage.
    """

    train: Sequence[tuple[Benchmark, float]]
    dev: Benchmark | None
    test: Benchmark
    split: str
    retention: Mapping[str, Benchmark] = field(default_factory=dict)

    @property
    def held_out(self) -> list[Query]:
        """The queries that must not be trained on."""
        sets = [*([self.dev] if self.dev else []), self.test, *self.retention.values()]
        return [query for benchmark in sets for query in benchmark.queries]

    def retrieved(self, retriever: Any, store: Store, clock: Clock, name: str, recipe: Recipe) -> TrainingData:
        """The training sets with their first-stage runs, and the dev and retention queries with their candidates."""

        def candidates(benchmark: Benchmark) -> list[Group]:
            first_stage, _, _ = retrieve(benchmark, retriever, store, clock, name)
            return candidate_groups(benchmark, first_stage, recipe.depth)

        sources = []
        for benchmark, weight in self.train:
            first_stage, _, _ = retrieve(benchmark, retriever, store, clock, name)
            sources.append(Source(benchmark, first_stage, weight))
        retention = {source: (candidates(benchmark), benchmark.qrels) for source, benchmark in self.retention.items()}
        return TrainingData(
            sources=sources,
            dev=candidates(self.dev) if self.dev is not None else [],
            dev_qrels=self.dev.qrels if self.dev is not None else {},
            held_out=self.held_out,
            corpus=self.test.corpus,
            retention_sets=retention,
        )


def load_sets(node: Mapping[str, Any], recipe: Recipe, seed: int) -> Sets:
    """Load the benchmark's training, dev and test queries, and the recipe's other training sets.

    node: the checked benchmark node, which names the test split. Raises ConfigError for a split that does not exist.
    """
    if recipe.split == node["split"]:
        raise ConfigError(key_of(recipe, "split"), f"{recipe.split!r} is also what the trained reranker is measured on")
    test: Benchmark = build(node, "benchmark").load()
    train: list[tuple[Benchmark, float]] = []
    retention: dict[str, Benchmark] = {}
    if recipe.weight:
        train.append((_load(node, recipe.split, recipe.queries, key_of(recipe, "split")), recipe.weight))
    for index, source in enumerate(recipe.sources):
        key, weight = key_of(recipe, f"sources[{index}]"), float(source.get("weight", 1.0))
        if not hasattr(source.get("benchmark"), "load"):
            raise ConfigError(key, "must have a benchmark node (and may have weight and dev)")
        if weight < 0:
            raise ConfigError(f"{key}.weight", f"must be at least 0, got {weight}")
        loaded: Benchmark = source["benchmark"].load()
        if source.get("dev"):
            retention[loaded.name], loaded = _held_out(loaded, int(source["dev"]), seed, f"{key}.dev")
        train.append((loaded, weight))
    if not train:
        raise ConfigError(key_of(recipe, "weight"), "is 0 and there are no other sources: nothing to train on")
    dev: Benchmark | None = None
    if recipe.dev_queries and recipe.dev_split is not None:
        dev = _load(node, recipe.dev_split, recipe.dev_queries, key_of(recipe, "dev_split"))
    elif recipe.dev_queries:
        dev, rest = _held_out(train[0][0], recipe.dev_queries, seed, key_of(recipe, "dev_queries"))
        train[0] = (rest, train[0][1])
    return Sets(train, dev, test, str(node["split"]), retention)


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
        way = "recipe.split and recipe.dev_split choose (dev_split=null: of train)"
        raise ConfigError(key, f"{error.problem}; {way}") from None
    return loaded


def _held_out(benchmark: Benchmark, count: int, seed: int, key: str) -> tuple[Benchmark, Benchmark]:
    """`count` of its queries (at most a fifth), and the others. Raises ConfigError (with `key`) where that is none."""
    count = min(count, len(benchmark.queries) // 5)
    chosen = set(random.Random(seed).sample(sorted(query.id for query in benchmark.queries), count))

    def only(keep: bool) -> Benchmark:
        queries = tuple(query for query in benchmark.queries if (query.id in chosen) is keep)
        return replace(benchmark, queries=queries, qrels={query.id: benchmark.qrels[query.id] for query in queries})

    if not chosen:
        raise ConfigError(key, f"only {len(benchmark.queries)} training queries: none can be held out")
    return only(True), only(False)
