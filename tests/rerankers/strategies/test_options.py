"""Options out of range are refused, with the key that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.rerankers.strategies import pairwise, setwise
from rerankbench.rerankers.strategies.early_exit import EarlyExit
from rerankbench.rerankers.strategies.groupwise import Groups
from rerankbench.rerankers.strategies.insert_scores import InsertScores
from rerankbench.rerankers.strategies.listwise import OneShot, SlidingWindow
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.strategies.text_prf import TextPRF
from rerankbench.rerankers.strategies.tournament import Tournament
from tests.configured import refused


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        (pairwise.HeapSort, {"k": 0}, "k"),
        (pairwise.BubbleSort, {"k": -1}, "k"),
        (setwise.HeapSort, {"k": 0}, "k"),
        (setwise.HeapSort, {"children": 0}, "children"),
        (setwise.HeapSort, {"votes": 0}, "votes"),
        (setwise.BubbleSort, {"k": 0}, "k"),
        (setwise.BubbleSort, {"children": 0}, "children"),
        (setwise.BubbleSort, {"votes": 0}, "votes"),
        (SlidingWindow, {"window": 10, "stride": 10}, "stride"),
        (SlidingWindow, {"stride": 0}, "stride"),
        (SlidingWindow, {"window": 1, "stride": 1}, "window"),
        (SlidingWindow, {"passes": 0}, "passes"),
        (Tournament, {"rounds": 0}, "rounds"),
        (Groups, {"group_size": 0}, "group_size"),
        (Groups, {"rounds": 0}, "rounds"),
        (Groups, {"retriever_weight": 1.0}, "retriever_weight"),
        (Groups, {"retriever_weight": -0.1}, "retriever_weight"),
        (EarlyExit, {"k": 0}, "k"),
        (EarlyExit, {"alpha": -0.1}, "alpha"),
        (EarlyExit, {"beta": 0}, "beta"),
        (EarlyExit, {"block": 0}, "block"),
        (TextPRF, {"depth": -1}, "depth"),
        (TextPRF, {"query_words": 0}, "query_words"),
        (TextPRF, {"stride": 0}, "stride"),
        (TextPRF, {"width": 0}, "width"),
        (TextPRF, {"method": "sw", "width": 300}, "width"),
        (InsertScores, {"strategy": {"_target_": ScoreAll}}, "strategy"),
        (InsertScores, {"strategy": {"_target_": OneShot}, "template": "{text} ({score})"}, "template"),
        (InsertScores, {"strategy": {"_target_": OneShot}, "template": "{text}"}, "template"),
        (InsertScores, {"strategy": {"_target_": OneShot}, "template": "{score}"}, "template"),
    ],
)
def test_options_out_of_range(kind: Any, options: dict[str, Any], key: str) -> None:
    assert refused(kind, **options) == key
