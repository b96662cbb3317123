"""The dev measure that chooses a checkpoint is the nDCG@10 of the ranking, what was not found included."""

from __future__ import annotations

import math

import pytest

from rerankbench.errors import ConfigError, UserError
from rerankbench.models.model import Model
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.training.groups import Group
from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.sampling import GroupOptions
from rerankbench.training.stages.supervised import Supervised, mean_ndcg
from rerankbench.types import Document, Query


def _group(name: str, *labels: float, elsewhere: int = 0) -> Group:
    """Candidates with these labels, and `elsewhere` relevant documents that the first stage did not find."""
    size = len(labels)
    found = {f"{name}-{i}" for i, label in enumerate(labels) if label > 0}
    return Group(
        query=Query(name, name),
        documents=tuple(Document(f"{name}-{i}", "") for i in range(size)),
        labels=labels,
        judged=(True,) * size,
        ranks=tuple(range(1, size + 1)),
        scores=(0.0,) * size,
        positives=frozenset(found | {f"{name}-x{i}" for i in range(elsewhere)}),
    )


def test_the_order_of_the_scores_is_measured() -> None:
    group = _group("q", 0, 1, 0)
    assert mean_ndcg([group], [[0.0, 2.0, 1.0]]) == pytest.approx(1.0)
    assert mean_ndcg([group], [[2.0, 0.0, 1.0]]) == pytest.approx(1 / math.log2(4))
    assert mean_ndcg([group], [[1.0, 1.0, 1.0]]) == pytest.approx(1 / math.log2(3)), "ties keep the order"
    other = _group("p", 1, 0, 0)
    assert mean_ndcg([group, other], [[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]) == pytest.approx((1 + 1 / 2) / 2)


def test_a_relevant_document_that_was_not_found_counts() -> None:
    ideal = 1 + 1 / math.log2(3)
    assert mean_ndcg([_group("q", 1, 0, elsewhere=1)], [[1.0, 0.0]]) == pytest.approx(1 / ideal)
    assert mean_ndcg([_group("q", 0, 0, elsewhere=1)], [[1.0, 0.0]]) == 0.0


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(UserError, match=r"nan.*query q"):
        mean_ndcg([_group("p", 1, 0), _group("q", 1, 0)], [[1.0, 0.0], [1.0, math.nan]])


def test_whole_batches_need_embeddings() -> None:
    stage = Supervised(groups=GroupOptions(in_batch=True), loss=LocalizedContrastive())
    model = Model(path="x")
    stage.check(BiEncoder(model=model))
    with pytest.raises(ConfigError, match="in_batch"):
        stage.check(CrossEncoder(model=model))
    Supervised(groups=GroupOptions(), loss=LocalizedContrastive()).check(CrossEncoder(model=model))
