"""Train: benchmark → groups → stages → checkpoint → evaluation → record. The whole program, top to bottom."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rerankbench.analyses.analysis import AnalysisContext
from rerankbench.benchmarks.perturbations.perturbation import perturbed
from rerankbench.config.build import build
from rerankbench.config.compose import Composed
from rerankbench.errors import ConfigError, UserError
from rerankbench.evaluate import Evaluation, configured_measures, named
from rerankbench.evaluation.records import Composition, StageSummary, TrainingSummary
from rerankbench.evaluation.summary import compare
from rerankbench.profiling import Clock, profiled
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.trained import trained
from rerankbench.retrievers.first_stage import retrieve
from rerankbench.store import Store
from rerankbench.tracking.config_record import resolved
from rerankbench.tracking.curves import draw
from rerankbench.tracking.history import History
from rerankbench.tracking.run_folder import RunFolder, default_run_dir
from rerankbench.training.data import load_sets
from rerankbench.training.languages import composed as measured_compositions
from rerankbench.training.recipe import Recipe
from rerankbench.training.stages.stage import Training

log = logging.getLogger("rerankbench")

PerQuery = Mapping[str, Mapping[str, float]]
"""Measure → query id → value."""


def train(composed: Composed) -> Path | None:
    """Train the reranker by the recipe, evaluate it, and return the run folder; None in all processes but the first.

    A folder that is finished with the same configuration is left as it is; an unfinished one resumes from its last
    checkpoint. Under torchrun every process calls this. Raises UserError for the user's mistakes.
    """
    parts, choices = composed.parts, composed.choices
    config = named(composed, ("benchmark", "reranker", "recipe"))
    tracking = build(parts["tracking"], "tracking")
    is_main_process, path = _processes(Path(parts["run_dir"]) if parts["run_dir"] else None, config.name)
    if not is_main_process:
        log.setLevel(logging.ERROR)  # the first one reports for all
    with _open(path, resolved(config), parts["force"], is_main_process) as folder:
        if folder.finished:
            log.info("%s is finished; force=true runs it again", path)
            if is_main_process:
                _remove_stages(path)
                tracking.log(path)  # in case the process was killed before it was logged
            return path if is_main_process else None
        clock, measures = Clock(), configured_measures(parts)
        recipe: Recipe = build(parts["recipe"], "recipe")
        retriever = build(parts["retriever"], "retriever")
        with clock.phase("benchmark", f"loading benchmark {choices['benchmark']}"):
            sets = load_sets(parts["benchmark"], recipe, parts["seed"])
            test = perturbed(sets.test, build(parts["perturbation"], "perturbation"))
        reranker = trainable(build(parts["reranker"], "reranker", benchmark=test, folders=composed.folders))
        for stage in recipe.stages:
            stage.check(trainee_class(reranker.scorer))

        with folder.recording():
            if is_main_process and not parts["resume"]:
                _remove_stages(path)
            store = Store(Path(parts["store"]["dir"]))
            sources, dev, kept = sets.retrieved(retriever, store, clock, choices["retriever"], recipe)
            candidates = retrieve(test, retriever, store, clock, choices["retriever"])
            log.info("%s: %d test, %d dev queries", test.name, len(test.queries), len(dev))
            evaluation = Evaluation(composed, folder, test, *candidates, measures, store, clock)
            untrained = measure_untrained(reranker, evaluation) if is_main_process else None

            from transformers import set_seed

            set_seed(parts["seed"])  # what is new in the network is drawn from it
            history = History(path / "history.jsonl")
            training = Training(
                trainee=trainee_class(reranker.scorer)(reranker.scorer),
                sources=sources,
                dev=dev,
                dev_qrels=sets.dev.qrels if sets.dev is not None else {},
                kept=kept,
                held_out=sets.held_out,
                store=store,
                folder=path,
                seed=parts["seed"],
                device=_device(reranker.scorer),
                bf16="bfloat16" in str(reranker.scorer.model.torch_dtype),  # type: ignore[union-attr]
                record=history.append,
                forget=history.truncate if is_main_process else lambda stage, step: None,
                writes=is_main_process,
            )
            if hasattr(training.trainee, "fit"):
                training.trainee.fit(iter(test.corpus))
            profile = path / "profile.txt" if parts["profile"] and is_main_process else None
            with clock.phase("train", f"training by {choices['recipe']}"), profiled(profile):
                for number, stage in enumerate(recipe.stages):
                    stage.run(training, number)
            if not is_main_process:
                return None
            _save(training, path / "checkpoint")
            draw(history, path / "curves.png")

            best = trained(str(path), folders=composed.folders)
            metrics, context = evaluation.rerank(best, f"the trained {choices['reranker']}")
            with clock.phase("measure", "comparing with the untrained reranker"):
                rows = [asdict(values) for values in context.per_query]
                compositions = measured_compositions(
                    path, recipe.stages, test, context.first_stage, context.documents, store, rows, parts["seed"]
                )
            stages = [StageSummary.from_json(summary) for summary in training.summary]
            metrics = replace(
                metrics,
                training=TrainingSummary(last=stages[-1], stages=stages, counts=training.counts),
                compositions={name: Composition.from_json(one) for name, one in compositions.items()},
                **compare_with_untrained(untrained, context),
            )
            evaluation.record(metrics, context)
            store.close()
    _remove_stages(path)  # the best checkpoint is kept; how it came about is in the history
    tracking.log(path)
    return path


def trainable(reranker: Any) -> Reranker:
    """The reranker, if it has one scorer with a network that can be trained."""
    if not isinstance(reranker, Reranker) or not hasattr(reranker.scorer, "trainee"):
        raise ConfigError("reranker", "has no single network that a recipe could train; try reranker=bi_encoder")
    return reranker


def trainee_class(scorer: Any) -> Any:
    """The kind of Trainee that trains the scorer's network."""
    module, _, name = scorer.trainee.rpartition(".")
    return getattr(importlib.import_module(module), name)


def measure_untrained(reranker: Reranker, evaluation: Evaluation) -> PerQuery | str:
    """The values of the reranker before its training; where it cannot rank untrained, the reason."""
    test = evaluation.benchmark
    try:
        log.info("measuring the untrained reranker")
        engine = Engine(evaluation.store)
        run = engine.rerank(reranker, test.queries, evaluation.first_stage, evaluation.documents)
    except ConfigError as error:
        log.info("the untrained reranker is not measured: %s", error)
        return str(error)
    return evaluation.measures.per_query(run, test.qrels, test.threshold)


def compare_with_untrained(untrained: PerQuery | str | None, context: AnalysisContext) -> dict[str, Any]:
    """The fields of Metrics that compare the trained reranker with the untrained one, measure by measure."""
    if not isinstance(untrained, Mapping):
        return {"untrained_reason": untrained}
    after: dict[str, dict[str, float]] = {name: {} for name in untrained}
    for values in context.per_query:
        after[values.measure][values.query] = values.reranked
    found = {name: compare(before, after[name], context.seed) for name, before in untrained.items()}
    return {"untrained": found}


def _save(training: Training, folder: Path) -> None:
    """The checkpoint, whole or not at all."""
    from safetensors import SafetensorError

    building = folder.with_name(".checkpoint")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        training.trainee.save(building)
        for added in sorted(training.folder.glob("stages/*/added")):
            shutil.copytree(added, building, dirs_exist_ok=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(building, ignore_errors=True)
        raise UserError(f"the checkpoint cannot be written to {folder} ({str(error).splitlines()[0]})") from error
    shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)


def _remove_stages(path: Path) -> None:
    """Remove the checkpoints of the stages; renamed first, so that a kill leaves none that looks whole."""
    stages, old = path / "stages", path / ".stages"
    shutil.rmtree(old, ignore_errors=True)
    if stages.exists():
        stages.rename(old)
        shutil.rmtree(old, ignore_errors=True)


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


def _device(scorer: Any) -> Any:
    """Where this process trains: with several, each on a GPU of its own."""
    import torch

    device: torch.device = scorer.model.torch_device
    if device.type == "cuda" and device.index:
        way = f"CUDA_VISIBLE_DEVICES={device.index} model.device=auto"
        raise ConfigError("model.device", f"training takes the first GPU it sees: set {way}")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device


@dataclass(frozen=True)
class _Follower:
    """The run folder as the processes after the first see it: they write nothing."""

    path: Path
    finished: bool

    def recording(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()


@contextmanager
def _open(path: Path, config: Mapping[str, Any], force: bool, is_main_process: bool) -> Iterator[Any]:
    """The run folder, held by the first process; the others learn from it whether there is anything to do."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with RunFolder(path, config, force) as folder:
            yield folder
        return
    from accelerate.utils import broadcast_object_list

    finished = [False]
    if not is_main_process:
        broadcast_object_list(finished)
        yield _Follower(path, finished[0])
        return
    with RunFolder(path, config, force) as folder:
        broadcast_object_list([folder.finished])
        yield folder
