"""Whatever a model writes, what comes out is a permutation of what went in: every strategy, every generating scorer."""

from __future__ import annotations

from itertools import pairwise as pairs_of
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.options import groups
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorers.choice import Choice
from rerankbench.rerankers.scorers.group_scores import GroupScores
from rerankbench.rerankers.scorers.permutation import GeneratedPermutation
from rerankbench.rerankers.scorers.preference import Preference
from rerankbench.rerankers.scorers.reasoning_choice import ReasoningChoice
from rerankbench.rerankers.scorers.reasoning_relevance import ReasoningRelevance
from rerankbench.rerankers.strategies import early_exit, groupwise, listwise, pairwise, setwise, text_prf, tournament
from rerankbench.rerankers.strategies.insert_scores import InsertScores
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Document, Query
from tests.rerankers.scorers.asked import Said, hostile

LONG = ["[1] > " * 2000, "x" * 10_000, "\u0663 > \u0661 > \u0662", "I like passage 2 best", "[2] > [2] > [77]", ""]
STRATEGIES: dict[str, list[Any]] = {
    "pairwise": [pairwise.AllPairs(), pairwise.HeapSort(k=3), pairwise.BubbleSort(k=3)],
    "setwise": [setwise.HeapSort(k=3, children=2), setwise.HeapSort(votes=3), setwise.BubbleSort(k=3, votes=2)],
    "reasoning": [setwise.HeapSort(k=3, children=19)],
    "listwise": [listwise.SlidingWindow(window=4, stride=3, passes=2), listwise.OneShot(),
                 tournament.Tournament(rounds=2), InsertScores(strategy=listwise.SlidingWindow(), scale="z")],
    "groupwise": [groupwise.Groups(group_size=3, rounds=2), groupwise.Groups(group_size=None)],
    "pointwise": [ScoreAll(), early_exit.EarlyExit(k=2, alpha=0.5, beta=2), text_prf.TextPRF(depth=2)],
}  # fmt: skip
SCORERS: dict[str, tuple[str, Any]] = {
    "pairwise": ("prp", lambda model, prompt: Preference(model=model, prompt=prompt, mode="generate")),
    "setwise": ("setwise", lambda model, prompt: Choice(model=model, prompt=prompt, mode="generate")),
    "reasoning": ("rank_r1", lambda model, prompt: ReasoningChoice(model=model, prompt=prompt)),
    "listwise": ("rankgpt", lambda model, prompt: GeneratedPermutation(model=model, prompt=prompt)),
    "groupwise": ("grouprank", lambda model, prompt: GroupScores(model=model, prompt=prompt)),
    "pointwise": ("rank1", lambda model, prompt: ReasoningRelevance(model=model, prompt=prompt)),
}


def _prompt(name: str) -> Any:
    file: Path = groups()["prompt"][name]
    return build(check(OmegaConf.to_container(OmegaConf.load(file)), "prompt"), "prompt")


@pytest.mark.parametrize(
    ("paradigm", "strategy"),
    [(paradigm, strategy) for paradigm, some in STRATEGIES.items() for strategy in some],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@settings(max_examples=30)
@given(texts=st.lists(st.one_of(hostile, st.sampled_from(LONG)), min_size=1, max_size=6), n=st.integers(0, 9))
def test_the_output_is_a_permutation_of_the_input(paradigm: str, strategy: Any, texts: list[str], n: int) -> None:
    name, scorer = SCORERS[paradigm]
    documents = {f"d{i}": Document(f"d{i}", f"text {i} [{i}]") for i in range(n)}
    run = {"q": [(f"d{i}", float(n - i)) for i in range(n)]}
    model: Any = Said(texts=texts)
    engine = Engine()
    reranker = Reranker(strategy=strategy, scorer=scorer(model, _prompt(name)))
    ranking = engine.rerank(reranker, [Query("q", "what")], run, documents)["q"]
    assert sorted(document for document, _ in ranking) == sorted(documents)
    assert all(a[1] >= b[1] for a, b in pairs_of(ranking))
    assert engine.counts.failures.total() + engine.counts.repairs.total() <= engine.counts.requests
