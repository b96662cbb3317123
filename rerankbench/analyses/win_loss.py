"""Which queries the reranker helped and which it hurt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from rerankbench.analyses.analysis import AnalysisContext
from rerankbench.errors import ConfigError, key_of, nearest
from rerankbench.tracking.records import AnalysisResult


@dataclass(frozen=True, kw_only=True)
class WinLoss:
    """Queries won, tied and lost against the first stage, and those that changed most, with their top documents.

    measure: one of `measures.names`; null is the first of them. queries: how many are listed. documents: how many top
    documents of each are listed.
    """

    measure: str | None = None
    queries: Annotated[int, Ge(0)] = 20
    documents: Annotated[int, Ge(0)] = 3

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Raises ConfigError for a measure that is not among those of the run."""
        names = context.measures.names
        measure = self.measure or names[0]
        if measure not in names:
            raise ConfigError(key_of(self, "measure"), f"is not in measures.names; {nearest(measure, names)}")
        values = [value for value in context.per_query if value.measure == measure]
        differences = [value.difference for value in values]
        wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        texts = {query.id: query.text for query in context.benchmark.queries}
        rows = []
        for value in sorted(values, key=lambda value: (-abs(value.difference), value.query))[: self.queries]:
            tops = (
                " ".join(document for document, _ in run.get(value.query, [])[: self.documents])
                for run in (context.first_stage, context.run)
            )
            rows.append([value.query, texts[value.query], value.first_stage, value.reranked, value.difference, *tops])
        return AnalysisResult(
            figures={"wins": wins, "ties": len(values) - wins - losses, "losses": losses},
            columns=["query", "text", "first_stage", "reranked", "difference", "first_stage_top", "reranked_top"],
            rows=rows,
        )
