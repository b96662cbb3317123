"""Fusion equals the sums written out, whatever ties the lists have and whichever of them are empty."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from rerankbench.retrievers.fusion import Fusion
from rerankbench.retrievers.none import NoRetriever
from rerankbench.store import Store
from rerankbench.types import Run
from tests.configured import refused
from tests.retrievers.toy import Given, toy


def _runs(queries: int) -> tuple[Run, Run, Run]:
    """Three runs with ties, over partly the same documents; some lists are empty."""
    draw = Random(1)
    runs: list[Run] = []
    for number in range(3):
        runs.append({})
        for query in range(queries):
            ids = draw.sample([f"d{i}" for i in range(12)], 0 if (query + number) % 4 == 0 else draw.randint(1, 9))
            scores = sorted((float(draw.randint(0, 3)) for _ in ids), reverse=True)
            runs[-1][f"q{query}"] = list(zip(ids, scores, strict=True))
    runs[0]["alone"], runs[1]["alone"], runs[2]["alone"] = [("x", 3.0), ("y", 3.0), ("z", 1.0)], [], []
    for run in runs:
        run["nobody"] = []
    return runs[0], runs[1], runs[2]


def _fused(method: str, tmp_path: Path, **options: int) -> tuple[tuple[Run, ...], Run]:
    runs = _runs(12)
    retriever = Fusion(retrievers={str(i): Given(run) for i, run in enumerate(runs)}, method=method, **options)  # type: ignore[arg-type]
    return runs, retriever.retrieve(toy({}, dict.fromkeys(runs[0], "x")), Store(tmp_path))


def test_reciprocal_ranks_are_summed(tmp_path: Path) -> None:
    runs, fused = _fused("rrf", tmp_path, rrf_k=7)
    assert fused["nobody"] == []
    for query, ranking in fused.items():
        expected: dict[str, float] = defaultdict(float)
        for run in runs:
            for rank, (document, _) in enumerate(run[query], 1):
                expected[document] += 1 / (7 + rank)
        assert dict(ranking) == pytest.approx(expected, abs=1e-12)
        assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)


@pytest.mark.parametrize("method", ["sum", "max", "mnz"])
def test_normalised_scores_are_folded(method: str, tmp_path: Path) -> None:
    runs, fused = _fused(method, tmp_path)
    for query, ranking in fused.items():
        found: dict[str, list[float]] = defaultdict(list)
        for run in runs:
            scores = [score for _, score in run[query]]
            for document, score in run[query]:
                found[document].append((score - min(scores)) / max(max(scores) - min(scores), 1e-9))
        fold = {"sum": sum, "max": max, "mnz": lambda parts: sum(parts) * len(parts)}[method]
        assert dict(ranking) == pytest.approx({d: fold(parts) for d, parts in found.items()}, abs=1e-12)


def test_borda_shares_the_points_left_among_the_documents_a_list_lacks(tmp_path: Path) -> None:
    first, second = {"q": [("a", 9.0), ("b", 8.0), ("c", 8.0)]}, {"q": [("d", 1.0)]}
    retriever = Fusion(retrievers={"one": Given(first), "two": Given(second)}, method="borda")
    fused = retriever.retrieve(toy({}, {"q": "x"}), Store(tmp_path))
    assert fused == {"q": [("a", 4 + 2), ("b", 3 + 2), ("d", 1 + 4), ("c", 2 + 2)]}


def test_k_cuts_the_fused_list_but_no_candidate_list(tmp_path: Path) -> None:
    runs = _runs(4)
    retrievers = {str(i): Given(run) for i, run in enumerate(runs)}
    queries = dict.fromkeys(runs[0], "x")
    cut = Fusion(retrievers=retrievers, k=2).retrieve(toy({}, queries), Store(tmp_path))
    assert max(map(len, cut.values())) == 2
    given = {query: list({d for run in runs for d, _ in run[query]}) for query in queries}
    whole = Fusion(retrievers=retrievers, k=2).retrieve(toy({}, queries, given), Store(tmp_path))
    assert {query: {d for d, _ in ranking} for query, ranking in whole.items()} == {q: set(d) for q, d in given.items()}


def test_ties_come_in_the_order_of_the_runs(tmp_path: Path) -> None:
    first, second = {"q": [("b", 1.0), ("a", 0.5)]}, {"q": [("a", 9.0), ("b", 8.0)]}
    fused = Fusion(retrievers={"one": Given(first), "two": Given(second)}).retrieve(
        toy({}, {"q": "x"}), Store(tmp_path)
    )
    assert [d for d, _ in fused["q"]] == ["b", "a"]


def test_fewer_than_two_retrievers_are_refused() -> None:
    node = {"_target_": NoRetriever}
    assert refused(Fusion, retrievers={"one": node}) == "retrievers"
    assert refused(Fusion, retrievers={"one": node, "two": node}, k=0) == "k"
