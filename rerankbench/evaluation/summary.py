"""First stage and reranked compared: what `metrics.json` and `per_query.csv` hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping

from rerankbench.evaluation.measures import Measures, judged_at
from rerankbench.evaluation.records import Comparison, Judged, Metrics, QueryValues
from rerankbench.evaluation.significance import paired
from rerankbench.types import Qrels, Run


def summarize(
    measures: Measures,
    qrels: Qrels,
    first_stage: Run,
    reranked: Run,
    threshold: int,
    seed: int,
    missing: Mapping[str, int],
) -> tuple[Metrics, list[QueryValues]]:
    """The record of one evaluation, and the values of each query and measure.

    threshold: the grade from which a document is relevant in binary measures. missing: counts of what was odd or left
    out so far, recorded with those found here.
    """
    before = measures.per_query(first_stage, qrels, threshold)
    after = measures.per_query(reranked, qrels, threshold)
    without_relevant = sum(max(grades.values(), default=0) < max(1, threshold) for grades in qrels.values())
    metrics = Metrics(
        queries=len(qrels),
        measures={name: compare(before[name], after[name], seed) for name in measures.names},
        judged=Judged(*(_mean(judged_at(run, qrels).values()) for run in (first_stage, reranked))),
        missing={
            **missing,
            "queries_without_candidates": sum(not first_stage.get(query) for query in qrels),
            "queries_without_relevant": without_relevant,
        },
    )
    values = [
        QueryValues(query, name, before[name][query], after[name][query], after[name][query] - before[name][query])
        for query in qrels
        for name in measures.names
    ]
    return metrics, values


def compare(
    before: Mapping[str, float],
    after: Mapping[str, float],
    seed: int,
    total: Callable[[Iterable[float]], float] = math.fsum,
) -> Comparison:
    """Means of two rankings and paired tests of their difference. before, after: query id → value, the same queries.

    total: adds the values up.
    """
    earlier, later = list(before.values()), [after[query] for query in before]
    first, second = (total(values) / max(len(values), 1) for values in (earlier, later))
    return Comparison(first, second, **paired(earlier, later, seed))


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
