"""Wins, ties and losses are counted by query, and those that changed most come first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerankbench.analyses.analysis import AnalysisContext, run_analyses
from rerankbench.analyses.win_loss import WinLoss
from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.config.build import build
from rerankbench.errors import ConfigError
from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.summary import summarize
from rerankbench.profiling import Clock
from rerankbench.rerankers.engine import Engine
from rerankbench.tracking.records import AnalysisResult
from rerankbench.tracking.run_folder import RunFolder
from rerankbench.types import Query

QRELS = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}, "q4": {"a": 1}}
BEST, SECOND, THIRD = ([(d, 0.0) for d in order] for order in ("abc", "bac", "bca"))
FIRST = {"q1": THIRD, "q2": SECOND, "q3": BEST, "q4": BEST}
RUN = {"q1": BEST, "q2": BEST, "q3": SECOND, "q4": BEST}


@pytest.fixture
def context(tmp_path: Path) -> AnalysisContext:
    measures = Measures(names=["mrr", "p@1"])
    queries = tuple(Query(name, f"text of {name}") for name in QRELS)
    benchmark = Benchmark("toy", queries, QRELS, MemoryCorpus([]))
    _, per_query = summarize(measures, QRELS, FIRST, RUN, 1, 0, {})
    reranker: Any = None
    return AnalysisContext(
        benchmark=benchmark, first_stage=FIRST, documents={}, reranker=reranker, engine=Engine(), run=RUN,
        per_query=per_query, measures=measures, seed=0, folder=tmp_path,
    )  # fmt: skip


def test_counts_and_what_changed_most(context: AnalysisContext) -> None:
    result = WinLoss(queries=2, documents=2).run(context)
    assert result.figures == {"wins": 2, "ties": 1, "losses": 1}
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    assert [row["query"] for row in rows] == ["q1", "q2"]
    assert rows[0]["text"] == "text of q1" and rows[0]["difference"] == pytest.approx(2 / 3)
    assert (rows[0]["first_stage_top"], rows[0]["reranked_top"]) == ("b c", "a b")


def test_another_measure_of_the_run_and_no_other(context: AnalysisContext) -> None:
    assert WinLoss(measure="p@1").run(context).figures == {"wins": 2, "ties": 1, "losses": 1}
    wrong = build({"_target_": WinLoss, "measure": "map"}, "analysis.win_loss")
    with pytest.raises(ConfigError, match=r"analysis\.win_loss\.measure: is not in measures\.names"):
        wrong.run(context)


class Pictured:
    """Writes a picture."""

    def run(self, context: AnalysisContext) -> AnalysisResult:
        picture = context.folder / "plot.png"
        picture.write_bytes(b"png")
        return AnalysisResult(pictures=[picture])


def test_results_are_written_into_the_run_folder(context: AnalysisContext, tmp_path: Path) -> None:
    clock = Clock()
    with RunFolder(tmp_path / "run", {}) as folder:
        run_analyses({"wins": WinLoss(), "pictured": Pictured()}, context, folder, clock)
    written = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run" / "analysis").rglob("*")}
    assert written == {"analysis/wins.json", "analysis/wins.csv", "analysis/pictured", "analysis/pictured.json",
                       "analysis/pictured/plot.png"}  # fmt: skip
    record = json.loads((tmp_path / "run" / "analysis" / "pictured.json").read_text())
    assert record["schema"] == 1 and record["pictures"] == ["analysis/pictured/plot.png"]
    table = (tmp_path / "run" / "analysis" / "wins.csv").read_text().splitlines()
    assert table[0].startswith("query,text,first_stage") and len(table) == 5
    assert "analysis" in clock.seconds
