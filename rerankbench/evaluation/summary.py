"""First stage beside reranked: what metrics.json and per_query.csv hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerankbench.evaluation.measures import judged_at, means, per_query
from rerankbench.evaluation.significance import paired
from rerankbench.types import Qrels, Run

Rows = list[dict[str, Any]]


def summarize(
    names: Sequence[str],
    qrels: Qrels,
    first_stage: Run,
    reranked: Run,
    threshold: int,
    seed: int,
    missing: Mapping[str, int],
) -> tuple[dict[str, Any], Rows]:
    """The content of metrics.json, and the rows of per_query.csv (query, measure, first_stage, reranked, difference)."""
    before = per_query(names, first_stage, qrels, threshold)
    after = per_query(names, reranked, qrels, threshold)
    mean_before, mean_after = means(before), means(after)
    judged = {name: judged_at(run, qrels) for name, run in (("first_stage", first_stage), ("reranked", reranked))}
    counts = {
        **missing,
        "queries_without_candidates": sum(not first_stage.get(query) for query in qrels),
        "queries_without_relevant": sum(all(g < threshold for g in grades.values()) for grades in qrels.values()),
    }
    metrics = {
        "schema": 1,
        "queries": len(qrels),
        "measures": {
            name: {
                "first_stage": mean_before[name],
                "reranked": mean_after[name],
                **paired([before[name][q] for q in qrels], [after[name][q] for q in qrels], seed),
            }
            for name in names
        },
        "judged@10": means(judged),
        "missing": counts,
    }
    rows = [
        {
            "query": query,
            "measure": name,
            "first_stage": before[name][query],
            "reranked": after[name][query],
            "difference": after[name][query] - before[name][query],
        }
        for query in qrels
        for name in names
    ]
    return metrics, rows
