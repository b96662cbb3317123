"""Rerankers in several threads: nothing that one does is seen by another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from rerankbench.library import TextReranker
from rerankbench.prompt import Prompt
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorers.icr import ICR
from rerankbench.rerankers.scorers.permutation import GeneratedPermutation
from rerankbench.rerankers.scorers.yes_no import YesNo
from rerankbench.rerankers.strategies.listwise import OneShot
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from tests.models.toy_language_model import LIST, YES_NO, on_cpu

SHOWN = Prompt(messages=[{"content": "{% for d in documents %}[{{ d.label }}] {{ d.text }}\n{% endfor %}{{ query }}"}])
LISTS = [
    (query, ["the cat", "a red mat", "roses of the garden", "stock fell", "a dog"]) for query in ("cat", "what fell")
]


def _rerankers(path: str) -> list[TextReranker]:
    """One that packs sequences, one that captures attention, and one that generates; each twice."""
    made = [Reranker(strategy=ScoreAll(), scorer=YesNo(model=on_cpu(path), prompt=YES_NO)) for _ in range(2)]
    made += [Reranker(strategy=OneShot(), scorer=ICR(model=on_cpu(path), prompt=SHOWN)) for _ in range(2)]
    made += [
        Reranker(strategy=OneShot(), scorer=GeneratedPermutation(model=on_cpu(path), prompt=LIST)) for _ in range(2)
    ]
    return [TextReranker(reranker) for reranker in made]


def test_rerankers_in_threads_answer_as_one_after_another(chat_model: str) -> None:
    expected = [reranker.rank_all(LISTS) for reranker in _rerankers(chat_model)]
    threaded = _rerankers(chat_model)
    together = Barrier(len(threaded))

    def work(reranker: TextReranker) -> list[object]:
        together.wait()
        return [reranker.rank_all(LISTS) for _ in range(5)]

    with ThreadPoolExecutor(len(threaded)) as threads:
        for found, wanted in zip(threads.map(work, threaded), expected, strict=True):
            assert found == [wanted] * 5
