"""All stages of a training, one after another, and the checkpoint that they leave."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError, UserError, key_of
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.trainable import TrainableScorer
from rerankbench.store import Store
from rerankbench.training.recipe import Recipe
from rerankbench.training.sources import TrainingData
from rerankbench.training.stages.stage import TrainedRun, TrainingContext

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingResult:
    """summaries: of the stages, in order. counts: what was dropped, missing or assumed in the training data."""

    summaries: list[dict[str, Any]]
    counts: dict[str, int]


def trainable_scorer(reranker: Any, recipe: Recipe) -> TrainableScorer:
    """The reranker's scorer. Raises ConfigError where it has no network, or none that every stage can train."""
    scorer = reranker.scorer if isinstance(reranker, Reranker) else None
    if not isinstance(scorer, TrainableScorer):
        problem = "has no single network that a recipe could train; try reranker=bi_encoder"
        raise ConfigError(key_of(reranker, "") or "reranker", problem)
    for stage in recipe.stages.values():
        stage.check(scorer)
    return scorer


def train_stages(
    recipe: Recipe,
    scorer: TrainableScorer,
    data: TrainingData,
    store: Store,
    folder: Path,
    seed: int,
    record: Callable[[Mapping[str, Any]], None],
    truncate_history: Callable[[int, int], None],
    is_main_process: bool,
) -> TrainingResult:
    """Train a copy of the scorer and write `folder/checkpoint`, complete or not at all.

    folder: that of the run. record, truncate_history: see TrainingContext. Under torchrun every process calls this.
    Raises UserError where the checkpoint cannot be written.
    """
    from transformers import set_seed

    (model,) = scorer.models
    set_seed(seed)  # new weights of the network are drawn from it
    context = TrainingContext(
        scorer=scorer.for_training(),
        data=data,
        names=list(recipe.stages),
        store=store,
        folder=folder,
        seed=seed,
        device=_device(model),
        bf16="bfloat16" in str(model.torch_dtype),
        record=record,
        truncate_history=truncate_history if is_main_process else lambda stage, step: None,
        is_main_process=is_main_process,
    )
    context.scorer.fit(data.corpus)
    for name, stage in recipe.stages.items():
        stage.run(context, name)
    if is_main_process:
        _write_checkpoint(context)
    return TrainingResult(context.summaries, context.counts)


def stage_figures(run: TrainedRun) -> dict[str, Any]:
    """What the stages add to `metrics.json`, by key; what several stages say under one key is one mapping."""
    figures: dict[str, Any] = {}
    for name, stage in run.stages.items():
        for key, values in stage.evaluate(name, run).items():
            if values:
                figures.setdefault(key, {}).update(values)
    return figures


def remove_stages(folder: Path) -> None:
    """Remove the stages' folders of a run; renamed first, so that a killed process leaves none that looks complete."""
    stages, old = folder / "stages", folder / ".stages"
    shutil.rmtree(old, ignore_errors=True)
    if stages.exists():
        stages.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _write_checkpoint(context: TrainingContext) -> None:
    """The network, and what the stages add to it."""
    from safetensors import SafetensorError

    folder = context.folder / "checkpoint"
    partial = folder.with_name(".checkpoint")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        context.scorer.save(partial)
        for added in (context.folder / "stages" / name / "added" for name in context.names):
            if added.is_dir():
                shutil.copytree(added, partial, dirs_exist_ok=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"the checkpoint cannot be written to {folder} ({str(error).splitlines()[0]})") from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _device(model: Any) -> torch.device:
    """Where this process trains: with several, each on its own GPU."""
    import torch

    device: torch.device = model.torch_device
    if device.type == "cuda" and device.index:
        way = f"CUDA_VISIBLE_DEVICES={device.index} model.device=auto"
        raise ConfigError(key_of(model, "device"), f"training takes the first GPU it sees: set {way}")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device
