"""Two rerankers in two threads answer as each does alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rerankbench.prompt import Prompt
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorers.icr import ICR
from rerankbench.rerankers.scorers.permutation import GeneratedPermutation
from rerankbench.rerankers.scorers.yes_no import YesNo
from rerankbench.rerankers.strategies.listwise import OneShot, SlidingWindow
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.types import Document, Query, Run
from tests.models import toy_causal
from tests.models.toy_language_model import LIST, YES_NO, on_cpu, save_llama, texts

ICR_PROMPT = Prompt(
    messages=[{"content": "{% for d in documents %}[{{ d.label }}] {{ d.text }}\n{% endfor %}{{ query }}"}]
)


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], Reranker]]:
    """Makers of rerankers, so that each run loads its own network, in its thread."""
    folder: Path = tmp_path_factory.mktemp("models")
    llama, other = save_llama(folder / "llama"), toy_causal.save(folder / "toy")
    return {
        "yes_no": lambda: Reranker(strategy=ScoreAll(), scorer=YesNo(model=on_cpu(llama), prompt=YES_NO)),
        "permutation": lambda: Reranker(
            strategy=SlidingWindow(window=4, stride=2),
            scorer=GeneratedPermutation(model=on_cpu(llama), prompt=LIST),
        ),
        "icr": lambda: Reranker(strategy=OneShot(), scorer=ICR(model=on_cpu(other), prompt=ICR_PROMPT)),
    }


def _run(reranker: Reranker) -> Run:
    documents = {f"d{i}": Document(f"d{i}", text) for i, text in enumerate(texts(1, 12))}
    queries = [Query("q0", "what is red"), Query("q1", "roses of the garden")]
    first_stage = {query.id: [(key, 1.0 / (i + 1)) for i, key in enumerate(documents)] for query in queries}
    return Engine().rerank(reranker, queries, first_stage, documents)


@pytest.mark.parametrize("pair", [("yes_no", "icr"), ("permutation", "yes_no"), ("icr", "icr")])
def test_threads_do_not_change_each_others_answers(rerankers: dict[str, Any], pair: tuple[str, str]) -> None:
    alone = [_run(rerankers[name]()) for name in pair]
    made = [rerankers[name]() for name in pair * 4]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(_run, made))
    assert runs == alone * 4
