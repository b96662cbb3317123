"""Scores of a run that was cut off and goes on are those of an undisturbed one, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.store import Store
from rerankbench.types import Document, Query, Run
from tests.models.toy_model import on_cpu, save, texts


@pytest.mark.parametrize("kind", [BiEncoder, LateInteraction])
def test_a_memory_that_was_lost_leaves_no_trace(kind: Any, tmp_path: Path) -> None:
    class Small(kind):
        chunk = 16
        chunks = 0
        cut_at: int | None = None

        def answer(self, requests: Sequence[Any]) -> Any:
            if self.chunks == self.cut_at:
                raise RuntimeError("pulled the plug")
            self.chunks += 1
            return super().answer(requests)

    path = save(tmp_path / "net")
    read = texts(3, 60)
    documents = {f"d{i}": Document(f"d{i}", text) for i, text in enumerate(read[:50])}
    queries = [Query(f"q{i}", text) for i, text in enumerate(read[50:])]
    run: Run = {q.id: [(f"d{(i * 7 + j) % 50}", 1.0) for j in range(12)] for i, q in enumerate(queries)}

    def rerank(store: str, cut_at: int | None = None) -> tuple[Run, int]:
        scorer = Small(model=on_cpu(path))
        scorer.cut_at = cut_at
        engine = Engine(Store(tmp_path / store))
        ranked = engine.rerank(Reranker(strategy=ScoreAll(), scorer=scorer), queries, run, documents)
        return ranked, scorer.chunks

    whole, chunks = rerank("whole")
    assert chunks >= 5
    for cut_at in (1, 3):
        store = f"cut{cut_at}"
        with pytest.raises(RuntimeError, match="pulled the plug"):
            rerank(store, cut_at)
        assert rerank(store) == (whole, chunks - cut_at)
