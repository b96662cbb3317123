"""Train: benchmark → groups → stages → checkpoint → evaluation → record. The whole program, top to bottom."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.config.build import build
from rerankbench.config.compose import Composed
from rerankbench.errors import ConfigError
from rerankbench.evaluate import cost, counted, provenance, retrieve
from rerankbench.evaluation.cost import Clock
from rerankbench.evaluation.measures import check_names
from rerankbench.evaluation.significance import paired
from rerankbench.evaluation.summary import summarize
from rerankbench.profiling import profiled
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.trained import trained
from rerankbench.rerankers.transcript import Transcript
from rerankbench.store import Store
from rerankbench.tracking.config_record import resolved
from rerankbench.tracking.curves import draw
from rerankbench.tracking.environment import environment
from rerankbench.tracking.history import History
from rerankbench.tracking.run_folder import RunFolder, default_run_dir
from rerankbench.training.data import load_sets
from rerankbench.training.recipe import Recipe
from rerankbench.training.run import remove_stages, stage_figures, train_stages, trainable_scorer
from rerankbench.training.stages.stage import TrainedRun

log = logging.getLogger("rerankbench")


def train(composed: Composed) -> Path | None:
    """Train the reranker by the recipe, evaluate it, and return the run folder; None in all processes but the first.

    A folder that is finished with the same configuration is left as it is; an unfinished one goes on at its last
    checkpoint. Under torchrun every process calls this. Raises UserError for the user's mistakes.
    """
    parts, choices, config = composed.parts, composed.choices, composed.config.copy()
    names, seed = parts["measures"]["names"], parts["seed"]
    check_names(names)
    tracking = build(parts["tracking"], "tracking")
    retriever = build(parts["retriever"], "retriever")
    recipe: Recipe = build(parts["recipe"], "recipe")
    name = parts["name"] or "-".join(choices[group] for group in ("benchmark", "reranker", "recipe"))
    config.name = name
    first, path = _processes(Path(parts["run_dir"]) if parts["run_dir"] else None, name)
    if not first:
        log.setLevel(logging.ERROR)  # one process tells what happens

    clock = Clock()
    with clock.phase("benchmark", f"loading benchmark {choices['benchmark']}"):
        sets = load_sets(parts["benchmark"], recipe, seed)
    reranker = build(parts["reranker"], "reranker", benchmark=sets.test, folders=composed.folders)
    scorer = trainable_scorer(reranker, recipe)

    with _folder(path, resolved(config), parts["force"], first) as folder:
        if folder.finished:
            log.info("%s is finished; force=true runs it again", path)
            if first:
                remove_stages(path)
                tracking.log(path)  # in case it was killed before it was there
            return path if first else None
        store = Store(Path(parts["store"]["dir"]))
        history = History(path / "history.jsonl")
        if first and not parts["resume"]:
            remove_stages(path)
        data = sets.retrieved(retriever, store, clock, choices["retriever"], recipe)
        first_stage, documents, absent = retrieve(sets.test, retriever, store, clock, choices["retriever"])
        log.info("%s: %d test, %d dev queries", sets.test.name, len(sets.test.queries), len(data.dev))
        before = untrained(reranker, sets.test, first_stage, documents, store, names) if first else None

        with clock.phase("train", f"training by {choices['recipe']}"), profiled(
            path / "profile.txt" if parts["profile"] and first else None
        ):  # fmt: skip
            result = train_stages(
                recipe, scorer, data, store, path, seed, history.append, history.truncate, is_main_process=first
            )
        if not first:
            return None
        draw(history, path / "curves.png")

        best = trained(str(path), folders=composed.folders)
        with clock.phase("rerank", f"reranking with the trained {choices['reranker']}"):
            engine = Engine(store, Transcript(path / "answers.jsonl") if parts["keep_answers"] else None)
            run = engine.rerank(best, sets.test.queries, first_stage, documents)
        with clock.phase("measure", "measuring"):
            missing = {**sets.test.missing, **absent, **counted(engine)}
            metrics, rows = summarize(names, sets.test.qrels, first_stage, run, sets.test.threshold, seed, missing)
            metrics.update(beside(before, rows, names, seed))
            trained_run = TrainedRun(path, recipe.stages, sets.test, first_stage, documents, store, rows, seed)
            metrics.update(stage_figures(trained_run))
            metrics["training"] = {
                **result.summaries[-1],
                "dev_measure": "ndcg@10",
                "stages": result.summaries,
                "counts": result.counts,
            }
        store.close()

        folder.write_run(run, tag=name)
        folder.write_per_query(rows)
        folder.write_json("environment.json", {**environment(), **provenance(sets.test, sets.split, engine, choices)})
        folder.write_json("cost.json", cost(clock, engine, first_stage, best.depth))
        folder.write_json("metrics.json", metrics)
    remove_stages(path)  # the best checkpoint is kept; the way there is in the history
    tracking.log(path)
    return path


def untrained(
    reranker: Reranker, test: Benchmark, first_stage: Any, documents: Any, store: Store, names: Sequence[str]
) -> dict[str, dict[str, float]] | str:
    """Measure → query → value of the reranker as it is; where it cannot rank untrained, the reason."""
    from rerankbench.evaluation.measures import per_query

    try:
        log.info("measuring the untrained reranker")
        run = Engine(store).rerank(reranker, test.queries, first_stage, documents)
    except ConfigError as error:
        log.info("the untrained reranker is not measured: %s", error)
        return str(error)
    return per_query(names, run, test.qrels, test.threshold)


def beside(before: Any, rows: Sequence[Mapping[str, Any]], names: Sequence[str], seed: int) -> dict[str, Any]:
    """The trained reranker beside the untrained one, measure by measure, with paired tests."""
    if not isinstance(before, dict):
        return {"untrained": None, "untrained_reason": before}
    found: dict[str, Any] = {}
    for name in names:
        own = [row for row in rows if row["measure"] == name]
        old = [before[name][row["query"]] for row in own]
        found[name] = {"untrained": sum(old) / max(len(old), 1), **paired(old, [row["reranked"] for row in own], seed)}
    return {"untrained": found}


def _processes(path: Path | None, name: str) -> tuple[bool, Path]:
    """Whether this is the first process, and the run folder, which the first one chooses for all."""
    chosen = [path or default_run_dir(Path("runs"), name, datetime.now())]
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return True, chosen[0]
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
    broadcast_object_list(chosen)
    return bool(state.is_main_process), chosen[0]


class _Reader:
    """The run folder as the other processes see it: they write nothing."""

    def __init__(self, path: Path, finished: bool) -> None:
        self.path, self.finished = path, finished


@contextmanager
def _folder(path: Path, config: Mapping[str, Any], force: bool, first: bool) -> Iterator[Any]:
    """The run folder, held by the first process; the others learn from it whether there is anything to do."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with RunFolder(path, config, force) as folder:
            yield folder
        return
    from accelerate.utils import broadcast_object_list

    finished = [False]
    if not first:
        broadcast_object_list(finished)
        yield _Reader(path, finished[0])
        return
    with RunFolder(path, config, force) as folder:
        broadcast_object_list([folder.finished])
        yield folder
