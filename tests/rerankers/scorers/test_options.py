"""The rerankers of conf/reranker: their parts fit, can be swapped for others that fit, and know their labels."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.rerankers.asking import request_of
from rerankbench.rerankers.requests import Pairwise, Pointwise
from rerankbench.rerankers.scorers.prompted import Prompted
from tests.rerankers.scorers.asked import QUERIES, candidates

OURS = [
    "yes_no", "expected_rating", "query_likelihood", "qwen3", "monot5", "duot5", "prp_allpairs", "prp_heapsort",
    "prp_bubblesort", "setwise_heapsort", "setwise_bubblesort", "rankgpt", "tourrank", "first", "grouprank", "rank_r1",
    "rank1", "insertrank",
]  # fmt: skip
POINTWISE = ["yes_no", "expected_rating", "query_likelihood", "qwen3", "monot5", "rank1", "cross_encoder", "bi_encoder",
             "late_interaction", "oracle"]  # fmt: skip


def _built(name: str, *overrides: str) -> Any:
    parts = compose("eval", [f"reranker={name}", *overrides]).parts
    return build(parts["reranker"], "reranker", benchmark=None)


def _question(scorer: Prompted, n: int) -> Any:
    few = {Pointwise: 1, Pairwise: 2}
    return request_of(QUERIES[0], candidates(few.get(scorer.answers, n)), scorer.answers, top=2)


@pytest.mark.parametrize("name", OURS)
def test_parts_fit(name: str) -> None:
    reranker = _built(name)
    assert isinstance(reranker.scorer, Prompted)
    assert reranker.strategy.asks is reranker.scorer.answers  # type: ignore[attr-defined]
    assert (reranker.depth, reranker.max_requests, reranker.max_tokens) == (20, None, None)


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_rerankers_may_read_passages(name: str) -> None:
    reranker = _built(name, "reranker/passages=maxp", "reranker.max_requests=50")
    assert (reranker.passages.fold, reranker.max_requests) == ("max", 50)


@pytest.mark.parametrize("name", [*OURS, "identity"])
def test_any_reranker_may_have_a_budget(name: str) -> None:
    reranker = _built(name, "reranker.max_requests=50", "reranker.max_tokens=9000")
    assert (reranker.max_requests, reranker.max_tokens) == (50, 9000)


def test_the_oracle_stands_in_for_any_scorer() -> None:
    for name in ("setwise_heapsort", "prp_allpairs", "rankgpt", "grouprank", "rank1"):
        assert compose("eval", [f"reranker={name}", "reranker/scorer=oracle"]).config.reranker.scorer.noise == 0


def test_a_scorer_that_answers_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scorers that do: choice, oracle, reasoning_choice") as error:
        compose("eval", ["reranker=setwise_heapsort", "reranker/scorer=yes_no"])
    assert error.value.key == "reranker.scorer"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OURS if name not in ("qwen3", "monot5", "duot5")])
def test_smollm2_reads_every_prompt_and_knows_its_labels(name: str) -> None:
    reranker = _built(name, "model.dtype=float32", "model.device=cpu")
    scorer: Prompted = reranker.scorer
    lm: Any = scorer.language_model
    request = _question(scorer, 20)
    prompt = scorer.encode_prompt(request)
    assert len(prompt.documents) == len(request.candidates)
    if name == "rank1":
        prompt = lm.extended(prompt, "It is.", "\n</think>")
    labels = scorer.prompt.labels
    if name.startswith("setwise") or name == "first":
        labels = scorer.prompt.document_labels(20)
    if labels:
        assert len(set(lm.prompt_encoder.label_ids([prompt], labels)[0])) == len(labels)
