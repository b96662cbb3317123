"""Evaluate: benchmark → retriever → reranker → measures → record. The whole program, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rerankbench.analyses.analysis import AnalysisContext, run_analyses
from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.perturbations.perturbation import perturbed
from rerankbench.config.build import build
from rerankbench.config.compose import Composed
from rerankbench.evaluation.cost import peak_cuda_memory_mb, peak_memory_mb, percentiles
from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.records import Cost, Metrics
from rerankbench.evaluation.summary import summarize
from rerankbench.profiling import Clock, profiled
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import AnyReranker
from rerankbench.rerankers.transcript import Transcript
from rerankbench.retrievers.first_stage import retrieve
from rerankbench.store import Store, content_hash
from rerankbench.tracking.config_record import resolved
from rerankbench.tracking.environment import environment
from rerankbench.tracking.records import Environment
from rerankbench.tracking.run_folder import RunFolder, default_run_dir
from rerankbench.types import Document, Run
from rerankbench.usage import Usage

log = logging.getLogger("rerankbench")


def evaluate(composed: Composed) -> Path:
    """Run one evaluation and return its run folder, which holds everything about it.

    A folder that is finished with the same configuration is left as it is. Raises UserError for the user's mistakes.
    """
    parts, choices = composed.parts, composed.choices
    config = named(composed, ("benchmark", "retriever", "reranker"))
    tracking, measures = build(parts["tracking"], "tracking"), configured_measures(parts)
    path = Path(parts["run_dir"]) if parts["run_dir"] else default_run_dir(Path("runs"), config.name, datetime.now())
    with RunFolder(path, resolved(config), parts["force"]) as folder:
        if folder.finished:
            log.info("%s is finished; force=true runs it again", path)
            tracking.log(path)  # in case the process was killed before it was logged
            return path
        clock = Clock()
        retriever = build(parts["retriever"], "retriever")
        with clock.phase("benchmark", f"loading benchmark {choices['benchmark']}"):
            loaded = build(parts["benchmark"], "benchmark").load()
            benchmark = perturbed(loaded, build(parts["perturbation"], "perturbation"))
        reranker = build(parts["reranker"], "reranker", benchmark=benchmark, folders=composed.folders)
        with folder.recording():
            store = Store(Path(parts["store"]["dir"]))
            with profiled(path / "profile.txt" if parts["profile"] else None):
                count, split = len(benchmark.queries), parts["benchmark"]["split"]
                log.info("%s: %d queries, split %s", benchmark.name, count, split)
                candidates = retrieve(benchmark, retriever, store, clock, choices["retriever"])
                evaluation = Evaluation(composed, folder, benchmark, *candidates, measures, store, clock)
                metrics, context = evaluation.rerank(reranker, choices["reranker"])
            evaluation.record(metrics, context)
            store.close()
    tracking.log(path)
    return path


def named(composed: Composed, groups: Sequence[str]) -> DictConfig:
    """The configuration with the run's name, made of the options of these groups where none is given."""
    config = composed.config.copy()
    config.name = composed.parts["name"] or "-".join(composed.choices[group] for group in groups)
    return config


def configured_measures(parts: Mapping[str, Any]) -> Measures:
    """The measures to report. Raises ConfigError for an unknown name."""
    measures: Measures = build({"_target_": Measures, **parts["measures"]}, "measures")
    return measures


@dataclass(frozen=True)
class Evaluation:
    """What it takes to rerank, measure and record, whatever the reranker.

    missing: counts of what the corpus lacks. clock: times the phases of the run.
    """

    composed: Composed
    folder: RunFolder
    benchmark: Benchmark
    first_stage: Run
    documents: Mapping[str, Document]
    missing: Mapping[str, int]
    measures: Measures
    store: Store
    clock: Clock

    def rerank(self, reranker: AnyReranker, label: str) -> tuple[Metrics, AnalysisContext]:
        """Rerank the first stage and measure both. label: of the reranker, for the log."""
        parts, benchmark = self.composed.parts, self.benchmark
        with self.clock.phase("rerank", f"reranking with {label}"):
            transcript = Transcript(self.folder.path / "answers.jsonl") if parts["keep_answers"] else None
            engine = Engine(self.store, transcript)
            run = engine.rerank(reranker, benchmark.queries, self.first_stage, self.documents)
        with self.clock.phase("measure", "measuring"):
            missing = {**benchmark.missing, **self.missing, **failure_counts(engine)}
            metrics, per_query = summarize(
                self.measures, benchmark.qrels, self.first_stage, run, benchmark.threshold, parts["seed"], missing
            )
        context = AnalysisContext(
            benchmark=benchmark,
            first_stage=self.first_stage,
            documents=self.documents,
            reranker=reranker,
            engine=engine,
            run=run,
            per_query=per_query,
            measures=self.measures,
            seed=parts["seed"],
            folder=self.folder.path,
        )
        return metrics, context

    def record(self, metrics: Metrics, context: AnalysisContext) -> None:
        """Run the analyses and write all records; `metrics.json`, which marks the run as finished, last."""
        composed, folder, engine = self.composed, self.folder, context.engine
        folder.write_run(context.run, tag=folder.config["name"])
        folder.write_per_query(context.per_query)
        spent = cost(self.clock, engine, self.first_stage, context.reranker.depth)
        run_analyses(build(composed.parts["analysis"], "analysis"), context, folder, self.clock)
        used = provenance(self.benchmark, composed.parts["benchmark"]["split"], engine)
        data = {**used, "choices": dict(composed.choices)}
        folder.write(Environment.from_json({**environment(), **data}))
        folder.write(replace(spent, seconds=self.clock.report()))
        folder.write(metrics)


def failure_counts(engine: Engine) -> dict[str, int]:
    """What went wrong while reranking."""
    return {
        "failed_answers": engine.counts.failures.total(),
        "repaired_answers": engine.counts.repairs.total(),
        "queries_out_of_budget": engine.counts.budget_stops,
        "queries_with_constant_scores": engine.counts.constant_scores,
    }


def provenance(benchmark: Benchmark, split: str, engine: Engine) -> dict[str, Any]:
    """The data and the models that the run used."""
    described = {"name": benchmark.name, "split": split, "description": dict(benchmark.description)}
    judgments = sorted((query, sorted(grades.items())) for query, grades in benchmark.qrels.items())
    changed = "perturbations" in benchmark.description
    queries = [[(query.id, query.text) for query in benchmark.queries]] if changed else []
    described["fingerprint"] = content_hash(benchmark.corpus.fingerprint(), judgments, *queries)
    models = [model.described() for scorer in engine.scorers for model in scorer.models]
    return {"benchmark": described, "scorers": [scorer.fingerprint() for scorer in engine.scorers], "models": models}


def cost(clock: Clock, engine: Engine, first_stage: Run, depth: int | None) -> Cost:
    """What the run cost."""
    documents = sum(len(ranking[:depth]) for ranking in first_stage.values())
    counts = engine.counts
    used = [scorer.usage.as_dict() for scorer in engine.scorers]
    return Cost(
        seconds=clock.report(),
        documents=documents,
        documents_per_second=round(documents / max(clock.seconds["rerank"], 1e-9), 1),
        requests=counts.requests,
        rounds=counts.rounds,
        cache_hits=counts.cache_hits,
        parse_failures=counts.failures.total(),
        failures=dict(sorted(counts.failures.items())),
        repairs=dict(sorted(counts.repairs.items())),
        usage=Usage(**{name: sum(usage[name] for usage in used) for name in Usage().as_dict()}),
        query_seconds=percentiles(list(counts.query_seconds.values())),
        peak_memory_mb=peak_memory_mb(),
        peak_cuda_memory_mb=peak_cuda_memory_mb(),
    )
