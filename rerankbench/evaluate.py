"""Evaluate: benchmark → retriever → reranker → measures → record. The whole program, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.config.build import build
from rerankbench.config.compose import Composed
from rerankbench.errors import ConfigError
from rerankbench.evaluation.cost import Clock, peak_cuda_memory_mb, peak_memory_mb, percentiles
from rerankbench.evaluation.measures import check_names
from rerankbench.evaluation.summary import summarize
from rerankbench.profiling import profiled
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.transcript import Transcript
from rerankbench.store import Store, content_hash
from rerankbench.tracking.config_record import resolved
from rerankbench.tracking.environment import environment
from rerankbench.tracking.run_folder import RunFolder, default_run_dir
from rerankbench.types import Document, Qrels, Run
from rerankbench.usage import Usage

log = logging.getLogger("rerankbench")


def evaluate(composed: Composed) -> Path:
    """Run one evaluation and return its run folder, which holds all there is to know about it.

    A folder that is finished with the same configuration is left as it is. Raises UserError for the user's mistakes.
    """
    parts, choices, config = composed.parts, composed.choices, composed.config.copy()
    check_names(parts["measures"]["names"])
    tracking = build(parts["tracking"], "tracking")
    retriever = build(parts["retriever"], "retriever")
    options = build(parts["benchmark"], "benchmark")
    name = parts["name"] or "-".join(choices[group] for group in ("benchmark", "retriever", "reranker"))
    path = Path(parts["run_dir"]) if parts["run_dir"] else default_run_dir(Path("runs"), name, datetime.now())
    config.name = name

    clock = Clock()
    with clock.phase("benchmark", f"loading benchmark {choices['benchmark']}"):
        benchmark: Benchmark = options.load()
    reranker = build(parts["reranker"], "reranker", benchmark=benchmark, folders=composed.folders)

    with RunFolder(path, resolved(config), parts["force"]) as folder:
        if folder.finished:
            log.info("%s is finished; force=true runs it again", path)
            tracking.log(path)  # in case it was killed before it was there
            return path
        store = Store(Path(parts["store"]["dir"]))
        transcript = Transcript(folder.path / "answers.jsonl") if parts["keep_answers"] else None
        with profiled(folder.path / "profile.txt" if parts["profile"] else None):
            log.info("%s: %d queries, split %s", benchmark.name, len(benchmark.queries), options.split)
            first_stage, documents, absent = retrieve(benchmark, retriever, store, clock, choices["retriever"])
            with clock.phase("rerank", f"reranking with {choices['reranker']}"):
                engine = Engine(store, transcript)
                run = engine.rerank(reranker, benchmark.queries, first_stage, documents)
            with clock.phase("measure", "measuring"):
                missing = {**benchmark.missing, **absent, **counted(engine)}
                metrics, rows = summarize(
                    parts["measures"]["names"], benchmark.qrels, first_stage, run, benchmark.threshold, parts["seed"],
                    missing,
                )  # fmt: skip
        store.close()

        folder.write_run(run, tag=name)
        folder.write_per_query(rows)
        folder.write_json(
            "environment.json", {**environment(), **provenance(benchmark, options.split, engine, choices)}
        )
        folder.write_json("cost.json", cost(clock, engine, first_stage, reranker.depth))
        folder.write_json("metrics.json", metrics)
    tracking.log(path)
    return path


def retrieve(
    benchmark: Benchmark, retriever: Any, store: Store, clock: Clock, name: str
) -> tuple[Run, dict[str, Document], dict[str, int]]:
    """The first-stage run, its documents, and how many candidates and judged documents the corpus lacks."""
    with clock.phase("retrieve", f"retrieving with {name}"):
        key = run_key(benchmark, retriever.fingerprint())
        first_stage, stored = store.run(key, lambda: retriever.retrieve(benchmark, store))
        if stored:
            log.info("first-stage run reused from the store")
    with clock.phase("documents", "reading the candidates' texts"):
        documents, absent = fetch(benchmark, first_stage)
    return without(first_stage, documents), documents, absent


def run_key(benchmark: Benchmark, retriever: str) -> str:
    """What a first-stage run depends on: corpus, queries, given candidates, retriever."""
    queries = [(query.id, query.text) for query in benchmark.queries]
    return content_hash("run", benchmark.corpus.fingerprint(), queries, benchmark.candidates, retriever)


def fetch(benchmark: Benchmark, first_stage: Run) -> tuple[dict[str, Document], dict[str, int]]:
    """The candidates' documents in one pass over the corpus, and how many candidates and judged documents it lacks."""
    candidates = {document for ranking in first_stage.values() for document, _ in ranking}
    judged = {document for grades in benchmark.qrels.values() for document in grades}
    found = benchmark.corpus.fetch(candidates | judged)
    absent = {
        "candidates_not_in_corpus": len(candidates - found.keys()),
        "judged_documents_not_in_corpus": len(judged - found.keys()),
    }
    if candidates and not candidates & found.keys():
        raise ConfigError("retriever", "no candidate is a document of the corpus; are the ids of another collection?")
    return {document: found[document] for document in candidates & found.keys()}, absent


def without(run: Run, documents: Mapping[str, Document]) -> Run:
    """The run with the documents that exist."""
    return {query: [pair for pair in ranking if pair[0] in documents] for query, ranking in run.items()}


def counted(engine: Engine) -> dict[str, int]:
    """What went wrong while reranking."""
    return {
        "failed_answers": engine.counts.failures.total(),
        "repaired_answers": engine.counts.repairs.total(),
        "queries_out_of_budget": engine.counts.budget_stops,
        "queries_with_constant_scores": engine.counts.constant_scores,
    }


def provenance(benchmark: Benchmark, split: str, engine: Engine, choices: Mapping[str, str]) -> dict[str, Any]:
    """The data and the models that the run used."""
    described = {"name": benchmark.name, "split": split, "description": dict(benchmark.description)}
    described["fingerprint"] = content_hash(benchmark.corpus.fingerprint(), _judgments(benchmark.qrels))
    networks: list[Any] = [getattr(scorer, "model", None) for scorer in engine.scorers]
    models = [network.described() for network in networks if hasattr(network, "described")]
    answered = [scorer.fingerprint() for scorer in engine.scorers]
    return {"benchmark": described, "scorers": answered, "models": models, "choices": dict(choices)}


def _judgments(qrels: Qrels) -> list[Any]:
    return sorted((query, sorted(grades.items())) for query, grades in qrels.items())


def cost(clock: Clock, engine: Engine, first_stage: Run, depth: int | None) -> dict[str, Any]:
    """The content of cost.json."""
    documents = sum(len(ranking[:depth]) for ranking in first_stage.values())
    counts = engine.counts
    used = [scorer.usage.as_dict() for scorer in engine.scorers] or [Usage().as_dict()]
    return {
        "seconds": clock.report(),
        "documents": documents,
        "documents_per_second": round(documents / max(clock.seconds["rerank"], 1e-9), 1),
        "requests": counts.requests,
        "rounds": counts.rounds,
        "cache_hits": counts.cache_hits,
        "parse_failures": counts.failures.total(),
        "failures": dict(sorted(counts.failures.items())),
        "repairs": dict(sorted(counts.repairs.items())),
        **{name: sum(usage[name] for usage in used) for name in used[0]},
        "query_seconds": percentiles(list(counts.query_seconds.values())),
        "peak_memory_mb": peak_memory_mb(),
        "peak_cuda_memory_mb": peak_cuda_memory_mb(),
    }
