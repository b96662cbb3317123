"""Measures per query, with the field's names and trec_eval's definitions, computed by ranx."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rerankbench.errors import ConfigError, nearest
from rerankbench.types import Qrels, Run

_RANX = {
    "ndcg": "ndcg", "mrr": "mrr", "map": "map", "recall": "recall", "p": "precision", "precision": "precision",
    "success": "hit_rate", "hit_rate": "hit_rate", "r_precision": "r_precision", "f1": "f1", "bpref": "bpref",
}  # fmt: skip
_UNCUT = {"r_precision", "bpref"}
_MUST_CUT = {"p", "precision", "success", "hit_rate"}


def check_names(names: Sequence[str]) -> None:
    """Raises ConfigError for a measure that does not exist, naming the nearest one. Computes nothing."""
    if not names:
        raise ConfigError("measures.names", "names no measure")
    for name in names:
        match = re.fullmatch(r"([a-z0-9_]+?)(?:@([1-9]\d*))?", name)
        if match is None or match[1] not in _RANX:
            examples = {n if n in _UNCUT else f"{n}@10" for n in _RANX} | {n for n in _RANX if n not in _MUST_CUT}
            raise ConfigError("measures.names", f"no measure {name!r}; {nearest(name, examples)}")
        if match[2] and match[1] in _UNCUT:
            raise ConfigError("measures.names", f"{match[1]} takes no cut-off, got {name!r}")
        if not match[2] and match[1] in _MUST_CUT:
            raise ConfigError("measures.names", f"{name} needs a cut-off, such as {name}@10")


def per_query(names: Sequence[str], run: Run, qrels: Qrels, threshold: int = 1) -> dict[str, dict[str, float]]:
    """measure -> query id -> value, for every query of the judgments.

    A query that the run lacks or leaves empty has 0, and so has one without a relevant document, as in trec_eval.
    Binary measures take grades from `threshold` on as relevant; nDCG takes the grade as gain, negative grades as 0.
    """
    check_names(names)
    values = {name: dict.fromkeys(qrels, 0.0) for name in names}
    for graded in (True, False):
        wanted = [name for name in names if name.startswith("ndcg") == graded]
        gains = {
            q: {d: max(g, 0) if graded else int(g >= threshold) for d, g in grades.items()}
            for q, grades in qrels.items()
        }
        # ranx fails on empty rankings, on differing queries and on queries without relevant documents: their value is 0.
        queries = sorted(q for q in qrels if run.get(q) and any(gains[q].values()))
        if not wanted or not queries:
            continue
        from ranx import Qrels as RanxQrels
        from ranx import Run as RanxRun
        from ranx import evaluate

        ranked = {q: {d: float(len(run[q]) - i) for i, (d, _) in enumerate(run[q])} for q in queries}
        found = evaluate(
            RanxQrels({q: gains[q] for q in queries}),
            RanxRun(ranked),
            [_ranx_name(name) for name in wanted],
            return_mean=False,
        )
        for name in wanted:
            row = found if len(wanted) == 1 else found[_ranx_name(name)]
            values[name].update(zip(queries, map(float, row), strict=True))
    return values


def judged_at(run: Run, qrels: Qrels, k: int = 10) -> dict[str, float]:
    """query id -> the share of its top k documents that have a judgment; 0 for an empty list."""
    shares = {}
    for query, grades in qrels.items():
        top = [document for document, _ in run.get(query, [])[:k]]
        shares[query] = sum(document in grades for document in top) / len(top) if top else 0.0
    return shares


def means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """measure -> mean over queries."""
    return {name: sum(per.values()) / len(per) if per else 0.0 for name, per in values.items()}


def _ranx_name(name: str) -> str:
    base, _, cut = name.partition("@")
    return f"{_RANX[base]}@{cut}" if cut else _RANX[base]
