"""Training, dev and test queries are taken from their splits, and never overlap."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rerankbench.benchmarks.local import Local
from rerankbench.errors import ConfigError, tell_place
from rerankbench.profiling import Clock
from rerankbench.retrievers.bm25 import BM25
from rerankbench.store import Store
from rerankbench.training.data import Sets, load_sets
from rerankbench.training.recipe import Recipe
from tests.training.toy_collection import save_collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_collection(tmp_path_factory.mktemp("collection") / "toy", train=20, dev=6, test=8)


def _recipe(**options: Any) -> Recipe:
    stage = SimpleNamespace(adaptation=None, changes_network=True)
    recipe = Recipe(stages={"only": stage}, **options)  # type: ignore[dict-item]
    tell_place(recipe, "recipe")
    return recipe


def _sets(collection: Path, seed: int = 0, split: str = "test", **options: Any) -> Sets:
    node = {"_target_": Local, "path": str(collection), "split": split}
    return load_sets(node, _recipe(**options), seed)


def _ids(benchmark: Any) -> set[str]:
    return {query.id for query in benchmark.queries}


def test_each_set_has_its_split(collection: Path) -> None:
    sets = _sets(collection)
    (train, weight), *others = sets.train
    assert not others
    assert weight == 1.0
    assert _ids(train) == {f"train{i}" for i in range(20)}
    assert sets.dev is not None
    assert _ids(sets.dev) == {f"dev{i}" for i in range(6)}
    assert _ids(sets.test) == {f"test{i}" for i in range(8)}
    assert {query.id for query in sets.held_out} == _ids(sets.dev) | _ids(sets.test)


def test_queries_are_sampled(collection: Path) -> None:
    sets = _sets(collection, queries=5, dev_queries=2)
    assert len(sets.train[0][0].queries) == 5
    assert sets.dev is not None
    assert len(sets.dev.queries) == 2


def test_without_a_dev_split_training_queries_are_held_out(collection: Path) -> None:
    found = [_sets(collection, seed=seed, dev_split=None, dev_queries=3) for seed in (0, 0, 1)]
    for sets in found:
        train, dev = sets.train[0][0], sets.dev
        assert dev is not None
        assert len(dev.queries) == 3
        assert _ids(train) | _ids(dev) == {f"train{i}" for i in range(20)}
        assert not _ids(train) & _ids(dev)
        assert dev.qrels.keys() == _ids(dev)
        assert train.qrels.keys() == _ids(train)
    dev_ids = [_ids(sets.dev) for sets in found]
    assert dev_ids[0] == dev_ids[1] != dev_ids[2]
    assert len(_sets(collection, dev_split=None, dev_queries=100).dev.queries) == 4, "at most a fifth"  # type: ignore[union-attr]


def test_none_are_held_out_where_none_are_wanted(collection: Path) -> None:
    sets = _sets(collection, dev_queries=0)
    assert sets.dev is None
    assert {query.id for query in sets.held_out} == _ids(sets.test)


def test_other_training_sets_come_beside_or_instead(collection: Path, tmp_path: Path) -> None:
    other = save_collection(tmp_path / "other", train=10, seed=5)
    source = {"benchmark": Local(path=str(other), split="train"), "weight": 0.5, "dev": 2}
    sets = _sets(collection, sources=[source])
    assert [weight for _, weight in sets.train] == [1.0, 0.5]
    assert {name: len(kept.queries) for name, kept in sets.retention.items()} == {"other": 2}
    assert len(sets.train[1][0].queries) == 8
    assert not _ids(sets.train[1][0]) & _ids(sets.retention["other"])
    instead = _sets(collection, sources=[source], weight=0.0)
    assert [benchmark.name for benchmark, _ in instead.train] == ["other"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"split": "test"}, "recipe.split"),
        ({"recipe_split": "nowhere"}, "recipe.split"),
        ({"dev_split": "nowhere"}, "recipe.dev_split"),
        ({"weight": 0.0}, "recipe.weight"),
        ({"sources": [{"weight": 1.0}]}, "recipe.sources[0]"),
        ({"sources": [{"benchmark": Local(path=""), "weight": -1.0}]}, "recipe.sources[0].weight"),
        ({"dev_split": None, "queries": 4}, "recipe.dev_queries"),
    ],
)
def test_a_set_that_cannot_be_is_refused_by_its_key(collection: Path, options: dict[str, Any], key: str) -> None:
    given = {("split" if name == "recipe_split" else name): value for name, value in options.items()}
    with pytest.raises(ConfigError) as caught:
        load_sets(
            {"_target_": Local, "path": str(collection), "split": "test"},
            _recipe(**given),
            0,
        )
    assert caught.value.key == key


def test_the_first_stage_is_asked_for_every_set(collection: Path, tmp_path: Path) -> None:
    recipe = _recipe(depth=7)
    sets = _sets(collection)
    store = Store(tmp_path / "store")
    data = sets.retrieved(BM25(), store, Clock(), "bm25", recipe)
    store.close()
    assert [len(source.first_stage) for source in data.sources] == [20]
    assert not data.retention_sets
    assert data.dev_qrels.keys() == {group.query.id for group in data.dev}
    assert [len(group.documents) for group in data.dev] == [7] * 6
    for group in data.dev:
        assert group.ranks == (1, 2, 3, 4, 5, 6, 7)
        assert len(group.positives) == 10
