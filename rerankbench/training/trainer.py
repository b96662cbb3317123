"""Hugging Face's Trainer with what a stage adds to it, and one that trains on groups of candidates."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from rerankbench.errors import UserError
from rerankbench.training.adaptation.adaptation import AppliedAdaptation
from rerankbench.training.groups import Group, Groups
from rerankbench.training.loop import Loop
from rerankbench.training.module import StepStatistics, TrainingModule

log = logging.getLogger("rerankbench")

WEIGHTS, ADAPTATION, TRAINER_STATE = "module.safetensors", "adaptation.pt", "trainer_state.json"
DEV = "dev/ndcg@10"


class EpochSampler(torch.utils.data.Sampler[tuple[int, int]]):
    """(epoch, index) in an order drawn from seed and epoch alone: any process or restart draws the same.

    step: groups of a step. Groups beyond the whole steps of an epoch, different ones each time, are left out.
    """

    def __init__(self, size: int, seed: int, step: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.length = size - size % step if size >= step else size

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        for index in torch.randperm(self.size, generator=generator)[: self.length].tolist():
            yield self.epoch, index


class GroupDataset(torch.utils.data.Dataset[Group]):
    """Groups by (epoch, index)."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> Group:
        return self.groups.group(*key)


def arguments(folder: Path, loop: Loop, groups: int, seed: int, device: torch.device, bf16: bool) -> TrainingArguments:
    """The Trainer's options for a stage with `groups` groups an epoch, on the processes that there are."""
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    parts = loop.accumulation * processes
    if groups < processes:
        raise UserError(f"{groups} groups are too few for {processes} processes")
    batch = min(loop.batch_groups, groups)
    each = max(1, batch // parts)
    if each * parts != batch and batch == loop.batch_groups:
        raise UserError(f"recipe batch_groups={batch} does not divide by {processes} processes x {loop.accumulation}")
    steps = max(1, math.ceil(loop.epochs * max(1, groups // (each * parts))))
    steps = min(steps, loop.max_steps or steps)
    every = max(1, math.ceil(steps / loop.evaluations))
    options = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=each,
        gradient_accumulation_steps=loop.accumulation,
        max_steps=steps,
        learning_rate=loop.learning_rate,
        warmup_steps=round(loop.warmup * steps),
        lr_scheduler_type=loop.schedule,
        weight_decay=loop.weight_decay,
        max_grad_norm=loop.max_grad_norm,
        seed=seed,
        bf16=bf16,
        use_cpu=device.type == "cpu",
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        eval_strategy="no",
        logging_steps=max(1, min(10, every // 4)),
        logging_nan_inf_filter=False,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        ddp_find_unused_parameters=processes > 1,
        log_level="error",
    )
    _ = options.device  # which counts the GPUs
    options._n_gpu = min(options.n_gpu, 1)  # never nn.DataParallel: torchrun is the way to several GPUs
    return options


@dataclass
class StageHooks:
    """What a stage adds to its trainer.

    record: takes each log line. dev: ranks the dev queries and returns their measure; None for no dev queries.
    patience: evaluations without a better dev measure after which the training stops; None never.
    """

    adaptation: AppliedAdaptation
    record: Callable[[dict[str, float]], None] = lambda line: None
    dev: Callable[[], float] | None = None
    patience: int | None = None


class StageTrainerMixin:
    """The hooks of a stage, over any Trainer: `class GroupTrainer(StageTrainerMixin, Trainer)`.

    They measure dev before each checkpoint and stop early, write our log lines, refuse what is not finite, report a
    full disk in one line, and save and load network and adaptation.
    """

    module: torch.nn.Module
    args: Any
    state: Any
    control: Any
    accelerator: Any
    is_world_process_zero: Any

    def __init__(self, module: torch.nn.Module, hooks: StageHooks, **options: Any) -> None:
        self.module, self.hooks = module, hooks
        super().__init__(model=module, callbacks=[_Callback(self)], **options)  # type: ignore[call-arg]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self.remove_callback(ProgressCallback)  # type: ignore[attr-defined]
        self.since = time.perf_counter()
        """When the steps of the next log line began."""

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train to the end. From a checkpoint at which the training had ended only the weights are loaded."""
        if resume_from_checkpoint is not None:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE))
            if state.global_step >= self.args.max_steps or self._unimproved(state) is not None:
                self.state = state
                return self._load_from_checkpoint(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)  # type: ignore[misc]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The adaptation's, else AdamW with decay on matrices only."""
        rate, decay = self.args.learning_rate, self.args.weight_decay
        optimizer = self.hooks.adaptation.optimizer(rate, decay)
        if optimizer is None:
            trained = [p for p in self.hooks.adaptation.network.parameters() if p.requires_grad]
            groups: list[dict[str, Any]] = [
                {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay},
                {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
            ]
            optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)
        self.optimizer = optimizer
        return optimizer

    def step_figures(self) -> dict[str, float]:
        """What to log about the steps since the last line."""
        return {}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add figures of the steps since the last line to a line with a loss."""
        if "loss" in logs:
            logs = {**logs, **self.step_figures(), **self.hooks.adaptation.report()}
            self.since = time.perf_counter()
        super().log(logs)  # type: ignore[misc]

    def measure_dev(self) -> bool:
        """Rank the dev queries and log their measure; whether it is the best so far."""
        if self.hooks.dev is None:
            return False
        value, step = self.hooks.dev(), self.state.global_step
        self.log({DEV: value})
        log.info("step %d of %d: dev nDCG@10 %.4f", step, self.args.max_steps, value)
        if step > 0 and not self.hooks.adaptation.eligible_as_best:
            return False
        if self.state.best_metric is None or value > self.state.best_metric:
            self.state.best_metric, self.state.best_global_step = value, step
            return bool(step > 0)
        return False

    def require_finite(self, loss: torch.Tensor, what: str) -> None:
        """Raises UserError for a loss that is not finite; `what` says on which inputs."""
        if not bool(torch.isfinite(loss)):
            raise UserError(
                f"the loss is {float(loss.detach())} at step {self.state.global_step + 1}{what};"
                f" the last good checkpoint is kept in {self.args.output_dir}; a lower learning_rate is the usual cure"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """With the dev measure at this step, so that the best checkpoint is known. Raises UserError for a full disk."""
        began = time.perf_counter()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.module.parameters()):
            raise UserError(
                f"the weights are not finite any more after step {self.state.global_step}; the last good checkpoint is"
                f" kept in {self.args.output_dir}; a lower learning_rate is the usual cure"
            )
        self.measure_dev()
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            partial = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(partial, ignore_errors=True)  # it would keep the disk full
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            way = "earlier ones are kept: free some space and run the same command again"
            raise UserError(f"the checkpoint cannot be written to {self.args.output_dir} ({reason}); {way}") from error
        if (passed := self._unimproved(self.state)) is not None:
            log.info("no better dev measure for %d evaluations: stopping early", passed)
            self.control.should_training_stop = True
        self.since += time.perf_counter() - began  # which was no training

    def _unimproved(self, state: TrainerState) -> int | None:
        """For how many evaluations the dev measure has been no better, where that is too many."""
        if self.hooks.patience is None or self.hooks.dev is None:
            return None
        passed = (state.global_step - (state.best_global_step or state.global_step)) // self.args.save_steps
        return passed if passed >= self.hooks.patience else None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(self.module, str(folder / WEIGHTS))
        torch.save(self.hooks.adaptation.state(), folder / ADAPTATION)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.module, self.hooks.adaptation, Path(resume_from_checkpoint))


class GroupTrainer(StageTrainerMixin, Trainer):  # type: ignore[misc]
    """Trains a TrainingModule on groups."""

    module: TrainingModule

    def __init__(self, module: TrainingModule, groups: Groups, options: TrainingArguments, hooks: StageHooks) -> None:
        super().__init__(
            module,
            hooks,
            args=options,
            train_dataset=GroupDataset(groups),
            data_collator=lambda rows: {"groups": rows},
        )
        self.loss_is_scaled_for_ga = True

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        step = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(len(self.train_dataset), self.args.seed, step)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """See StageTrainerMixin; the weighting's network is a parameter group with its own learning rate."""
        if made := getattr(self, "optimizer", None):
            return cast(torch.optim.Optimizer, made)
        optimizer = super().create_optimizer(model)
        weighting = self.module.weighting
        if weighting is not None and weighting.module is not None:
            rate = weighting.learning_rate or self.args.learning_rate
            parameters = list(weighting.module.parameters())
            optimizer.add_param_group({"params": parameters, "lr": rate, "weight_decay": 0.0})
        return optimizer

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The parts of a step, and what their summed losses are divided by, over all processes."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = torch.as_tensor(sum(self.module.count(part["groups"]) for part in samples), device=device)
        return samples, self.accelerator.reduce(count, "sum").clamp(min=1.0)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The step's mean loss; processes are averaged afterwards, hence times their number."""
        self.module.progress = self.state.global_step / max(1, self.state.max_steps)
        loss = (model(inputs["groups"]) * (self.accelerator.num_processes / num_items_in_batch)).sum()
        names = [row.query.id for row in inputs["groups"] if isinstance(row, Group)]
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        self.require_finite(loss, f", on the queries {shown}" if names else "")
        return loss

    def step_figures(self) -> dict[str, float]:
        """Speed, padding, and the means of what the module counted."""
        statistics, seconds = self.module.statistics, max(time.perf_counter() - self.since, 1e-9)
        self.module.statistics = StepStatistics()
        rate = self.args.world_size / seconds  # the other processes read about as much as this one
        return {
            "tokens_per_second": statistics.tokens * rate,
            "pairs_per_second": statistics.pairs * rate,
            "padding_share": 1 - statistics.tokens / max(statistics.padded, 1),
            **statistics.means(),
        }


class _Callback(TrainerCallback):  # type: ignore[misc]
    """Forwards the Trainer's events to the adaptation and the record."""

    def __init__(self, trainer: StageTrainerMixin) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.since = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = _plain(self.trainer.optimizer)
        self.trainer.hooks.adaptation.before_step(optimizer, state.global_step, state.max_steps)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = _plain(self.trainer.optimizer)
        self.trainer.hooks.adaptation.after_step(optimizer, state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and ("loss" in logs or DEV in logs):  # not the Trainer's summary at the end
            self.trainer.hooks.record({**logs, "step": state.global_step, "epoch": round(state.epoch or 0.0, 4)})


def _plain(optimizer: Any) -> Any:
    """The optimiser without accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


def load_weights(module: torch.nn.Module, adaptation: AppliedAdaptation, checkpoint: Path) -> None:
    """Network, weighting and adaptation as a checkpoint has them."""
    adaptation.load_state(torch.load(checkpoint / ADAPTATION, weights_only=True))
    safetensors.torch.load_model(module, str(checkpoint / WEIGHTS))


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(checkpoint.name.rpartition("-")[2])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; a killed process may have left a partial one."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            json.loads((path / TRAINER_STATE).read_text(encoding="utf-8"))  # the Trainer writes it last
            for name in (WEIGHTS, ADAPTATION, "optimizer.pt", "scheduler.pt"):  # but deletes it at any time
                (path / name).stat()
            return path
        except (OSError, ValueError):
            log.warning("%s is not complete; an earlier one is used", path)
    return None
