"""What an analysis is: it looks at a finished ranking and adds figures, a table, pictures to the run's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.records import QueryValues
from rerankbench.profiling import Clock
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.tracking.records import ANALYSES, AnalysisResult
from rerankbench.tracking.run_folder import RunFolder
from rerankbench.types import Document, Run


@dataclass(frozen=True, kw_only=True)
class AnalysisContext:
    """What an analysis may look at.

    documents: the candidates', by id. engine: that of the run; what an analysis asks through it is answered from the
    store where it can be, and does not count as the run's cost. per_query: the values of the measures. folder: for
    pictures, an empty folder of the analysis's own.
    """

    benchmark: Benchmark
    first_stage: Run
    documents: Mapping[str, Document]
    reranker: AnyReranker
    engine: Engine
    run: Run
    per_query: Sequence[QueryValues]
    measures: Measures
    seed: int
    folder: Path


class Analysis(Protocol):
    """A configured analysis."""

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """What the analysis finds. It may write pictures into `context.folder`."""
        ...


def run_analyses(analyses: Mapping[str, Analysis], context: AnalysisContext, folder: RunFolder, clock: Clock) -> None:
    """Run each, and write `analysis/<name>.json`, and its table as `analysis/<name>.csv`."""
    for name, analysis in analyses.items():
        own = folder.path / ANALYSES / name
        own.mkdir(parents=True, exist_ok=True)
        with clock.phase("analysis", f"analysis {name}"):
            result = analysis.run(replace(context, folder=own))
        folder.write_json(f"{ANALYSES}/{name}.json", result.to_json(folder.path))
        if result.columns:
            folder.write_table(f"{ANALYSES}/{name}.csv", result.columns, result.rows)
        with suppress(OSError):
            own.rmdir()  # unless there are pictures in it
