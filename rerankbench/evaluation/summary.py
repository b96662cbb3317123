"""First stage beside reranked: the content of `metrics.json` and the rows of `per_query.csv`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rerankbench.evaluation.measures import judged_at, per_query
from rerankbench.evaluation.significance import paired
from rerankbench.types import Qrels, Run

SCHEMA = 1


def summarize(
    names: Sequence[str],
    qrels: Qrels,
    first_stage: Run,
    reranked: Run,
    threshold: int,
    seed: int,
    missing: Mapping[str, int],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record of one evaluation, and a row (query, measure, first_stage, reranked, difference) for each value.

    names: measures. threshold: the grade from which a document is relevant in binary measures. missing: counts of
    what was odd or left out so far, kept beside those found here.
    """
    before = per_query(names, first_stage, qrels, threshold)
    after = per_query(names, reranked, qrels, threshold)
    measures = {
        name: {
            "first_stage": _mean(before[name].values()),
            "reranked": _mean(after[name].values()),
            **paired(list(before[name].values()), list(after[name].values()), seed),
        }
        for name in names
    }
    record = {
        "schema": SCHEMA,
        "queries": len(qrels),
        "measures": measures,
        "judged@10": {
            "first_stage": _mean(judged_at(first_stage, qrels).values()),
            "reranked": _mean(judged_at(reranked, qrels).values()),
        },
        "missing": {
            **missing,
            "queries_without_candidates": sum(not first_stage.get(query) for query in qrels),
            "queries_without_relevant": sum(
                max(grades.values(), default=0) < max(1, threshold) for grades in qrels.values()
            ),
        },
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
    return record, rows


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
