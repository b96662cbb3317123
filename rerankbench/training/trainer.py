"""Hugging Face's Trainer over groups: its loop, checkpoints, resume and processes; our loss, sampling, dev and log."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from rerankbench.errors import UserError
from rerankbench.training.adaptation.adaptation import Adaptation
from rerankbench.training.groups import Group, Groups
from rerankbench.training.loop import Loop
from rerankbench.training.module import StepStatistics, TrainingModule

log = logging.getLogger("rerankbench")

WEIGHTS, ADAPTATION, TRAINER_STATE = "learner.safetensors", "adaptation.pt", "trainer_state.json"
DEV = "dev/ndcg@10"


class EpochSampler(torch.utils.data.Sampler[tuple[int, int]]):
    """(epoch, index) in an order drawn from seed and epoch alone: any process or restart draws the same.

    step: groups of a step. Those left over behind the whole steps of an epoch, other ones each time, are left out.
    """

    def __init__(self, size: int, seed: int, step: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.taken = size - size % step if size >= step else size

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.taken

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        for index in torch.randperm(self.size, generator=generator)[: self.taken].tolist():
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
    """The Trainer's options for a stage of so many groups an epoch, on so many processes as there are."""
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
    options._n_gpu = min(options.n_gpu, 1)  # never nn.DataParallel: several GPUs are torchrun's
    return options


class GroupTrainer(Trainer):  # type: ignore[misc]
    """Trains a TrainingModule. dev: ranks the dev queries, returns their measure, or None. record: takes each line."""

    def __init__(
        self,
        learner: TrainingModule,
        groups: Groups,
        options: TrainingArguments,
        adaptation: Adaptation | None,
        dev: Callable[[], float] | None,
        record: Callable[[dict[str, float]], None],
        patience: int | None,
    ) -> None:
        self.adaptation, self.dev, self.record, self.patience = adaptation, dev, record, patience
        super().__init__(
            model=learner,
            args=options,
            train_dataset=GroupDataset(groups),
            data_collator=lambda rows: {"groups": rows},
            callbacks=[_Hooks(self)],
        )
        self.learner = learner
        self.loss_is_scaled_for_ga = True
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.since = time.perf_counter()

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        step = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(len(self.train_dataset), self.args.seed, step)

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train to the end. A checkpoint at which the training had ended is taken up as it is."""
        if resume_from_checkpoint is not None:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE))
            if state.global_step >= self.args.max_steps or self._unimproved(state) is not None:
                self.state = state
                return self._load_from_checkpoint(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The adaptation's own, else AdamW with decay on matrices only; a weighting's network at its own rate."""
        if made := getattr(self, "optimizer", None):
            return cast(torch.optim.Optimizer, made)
        rate, decay = self.args.learning_rate, self.args.weight_decay
        optimizer = None
        if self.adaptation is not None:
            optimizer = self.adaptation.optimizer(self.learner.network, rate, decay)
        if optimizer is None:
            trained = [p for p in self.learner.network.parameters() if p.requires_grad]
            groups: list[dict[str, Any]] = [
                {"params": [p for p in trained if p.dim() > 1], "weight_decay": decay},
                {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
            ]
            optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)
        if self.learner.weighting_module is not None:
            own = (self.learner.weighting and self.learner.weighting.learning_rate) or rate
            parameters = list(self.learner.weighting_module.parameters())
            optimizer.add_param_group({"params": parameters, "lr": own, "weight_decay": 0.0})
        self.optimizer = optimizer
        return optimizer

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The parts of a step, and what their summed losses are to be divided by, over all processes."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = torch.as_tensor(sum(self.learner.count(part["groups"]) for part in samples), device=device)
        return samples, self.accelerator.reduce(count, "sum").clamp(min=1.0)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The step's mean loss; processes are averaged afterwards, hence times their number."""
        self.learner.progress = self.state.global_step / max(1, self.state.max_steps)
        loss = (model(inputs["groups"]) * (self.accelerator.num_processes / num_items_in_batch)).sum()
        if not bool(torch.isfinite(loss)):
            ids = ", ".join(group.query.id for group in inputs["groups"][:8])
            raise UserError(
                f"the loss is {float(loss.detach())} at step {self.state.global_step + 1}, on the queries {ids}"
                f"{', …' if len(inputs['groups']) > 8 else ''}; the last good checkpoint is kept in"
                f" {self.args.output_dir}; a lower learning_rate is the usual cure"
            )
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the statistics of the steps since the last line, and hand the line on."""
        if "loss" in logs:
            statistics, seconds = self.learner.statistics, max(time.perf_counter() - self.since, 1e-9)
            rate = self.args.world_size / seconds  # the other processes read about as much as this one
            rates = {"tokens_per_second": statistics.tokens * rate, "pairs_per_second": statistics.pairs * rate}
            padding = {"padding_share": 1 - statistics.tokens / max(statistics.padded, 1)}
            own = self.adaptation.report() if self.adaptation is not None else {}
            logs = {**logs, **rates, **padding, **statistics.means(), **own}
            self.learner.statistics, self.since = StepStatistics(), time.perf_counter()
        elif DEV not in logs:
            return  # the Trainer's own summary at the end
        entry = {**logs, "step": self.state.global_step, "epoch": round(self.state.epoch or 0.0, 4)}
        if self.is_world_process_zero():
            self.record(entry)

    def measure_dev(self) -> bool:
        """Rank the dev queries, log it; whether that is the best so far."""
        if self.dev is None:
            return False
        value = self.dev()
        self.log({DEV: value})
        if self.state.global_step > 0 and not getattr(self.adaptation, "presentable", True):
            return False  # a phase whose weights are not what is kept
        if self.state.best_metric is None or value > self.state.best_metric:
            self.state.best_metric, self.state.best_global_step = value, self.state.global_step
            return bool(self.state.global_step > 0)
        return False

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """With the dev measure of this place, so that the best checkpoint is known. A full disk is told in one line."""
        began = time.perf_counter()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.learner.parameters()):
            raise UserError(
                f"the weights are not finite any more after step {self.state.global_step}; the last good checkpoint is"
                f" kept in {self.args.output_dir}; a lower learning_rate is the usual cure"
            )
        self.measure_dev()
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            half = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(half, ignore_errors=True)  # it takes room, and is of no use
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"the checkpoint cannot be written to {self.args.output_dir} ({reason});"
                            " earlier ones are kept: make room and run the same command again") from error  # fmt: skip
        if (passed := self._unimproved(self.state)) is not None:
            log.info("no better dev measure for %d evaluations: stopping early", passed)
            self.control.should_training_stop = True
        self.since += time.perf_counter() - began  # which was no training

    def _unimproved(self, state: TrainerState) -> int | None:
        """For how many evaluations the dev measure has been no better, where that is too many."""
        if self.patience is None or self.dev is None:
            return None
        passed = (state.global_step - (state.best_global_step or state.global_step)) // self.args.save_steps
        return passed if passed >= self.patience else None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(self.learner, str(folder / WEIGHTS))
        if self.adaptation is not None:
            torch.save(self.adaptation.state(), folder / ADAPTATION)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.learner, self.adaptation, Path(resume_from_checkpoint))


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """The adaptation's hooks into the optimiser's step, and the clock's start."""

    def __init__(self, trainer: GroupTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.since = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.adaptation is not None:
            self.trainer.adaptation.before_step(_plain(self.trainer.optimizer), state.global_step, state.max_steps)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.adaptation is not None:
            self.trainer.adaptation.after_step(_plain(self.trainer.optimizer), state.global_step, state.max_steps)


def _plain(optimizer: Any) -> Any:
    """The optimiser without accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


def load_weights(learner: TrainingModule, adaptation: Adaptation | None, checkpoint: Path) -> None:
    """Network, weighting and adaptation as a checkpoint has them."""
    if adaptation is not None and (checkpoint / ADAPTATION).exists():
        adaptation.load_state(torch.load(checkpoint / ADAPTATION, weights_only=True))
    safetensors.torch.load_model(learner, str(checkpoint / WEIGHTS))


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(checkpoint.name.rpartition("-")[2])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; a killed process may have left half of one behind it."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of)
    for path in reversed(found):
        try:
            json.loads((path / TRAINER_STATE).read_text(encoding="utf-8"))  # the Trainer writes it last
            for name in (WEIGHTS, "optimizer.pt", "scheduler.pt"):  # but deletes it at any time
                (path / name).stat()
            return path
        except (OSError, ValueError):
            log.warning("%s is not whole; an earlier one is used", path)
    return None
