"""Steps do not depend on how they are cut, and a training that is stopped anywhere ends as an undisturbed one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from rerankbench.errors import UserError
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.adaptation.codyra import CoDyRA
from rerankbench.training.adaptation.sparse_mask import SparseMask
from rerankbench.training.adaptation.switch_lora import SwitchLoRA
from rerankbench.training.groups import Group
from rerankbench.training.loop import Loop
from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.pairwise import RankNet
from rerankbench.training.losses.pointwise import BinaryCrossEntropy
from rerankbench.training.module import TrainingModule
from rerankbench.training.trainer import EpochSampler, GroupTrainer, StageHooks, arguments, last_checkpoint
from rerankbench.training.weighting.cet import CET
from rerankbench.training.weighting.weighting import Weighting
from tests.models.toy_model import on_cpu, save
from tests.training.toy_groups import groups

CPU = torch.device("cpu")


class ToyGroups:
    """Groups of several sizes, other ones each epoch."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.counts: dict[str, int] = {}
        self.asked: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.size

    def group(self, epoch: int, index: int) -> Group:
        self.asked.append((epoch, index))
        return replace(groups(*range(2, 2 + self.size), seed=epoch)[index], source=f"{epoch}")


class Stopped(Exception):  # noqa: N818
    """As if the process had ended here."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("encoder"), "BertForSequenceClassification")


class Training:
    """A training in a folder: what a stage does, less the groups and the dev queries."""

    def __init__(
        self,
        encoder: str,
        folder: Path,
        loop: Loop,
        loss: Loss | None = None,
        adaptation: Adaptation | None = None,
        weighting: Weighting | None = None,
        dev: Callable[[int], float] | None = None,
        toys: ToyGroups | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.groups, self.folder, self.lines = toys or ToyGroups(), folder, list[dict[str, float]]()
        scorer = CrossEncoder(model=on_cpu(encoder)).for_training()
        applied = adaptation.apply(scorer.module, 0) if adaptation else AppliedAdaptation(scorer.module)
        applied_weighting = weighting.begin() if weighting else None
        self.module = TrainingModule(scorer, loss or RankNet(), applied_weighting, False, 10**6, False)
        options = arguments(folder, loop, len(self.groups), 0, CPU, False)
        measure = None if dev is None else lambda: dev(self.trainer.state.global_step)
        hooks = StageHooks(applied, self.lines.append, measure, loop.patience)
        self.trainer = GroupTrainer(self.module, self.groups, options, hooks)

    def run(self) -> dict[str, torch.Tensor]:
        """Train to the end, from the last checkpoint where there is one; the weights."""
        resume = last_checkpoint(self.folder)
        self.trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        return {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}


def _gradients(encoder: str, folder: Path, loss: Loss, **cut: Any) -> dict[str, torch.Tensor]:
    """What one step adds to each weight under plain gradient descent."""
    loop = Loop(max_steps=1, batch_groups=8, warmup=0.0, schedule="constant_with_warmup", max_grad_norm=0.0, **cut)
    training = Training(encoder, folder, loop, loss)
    before = {name: tensor.clone() for name, tensor in training.module.state_dict().items()}
    for module in training.module.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    training.trainer.create_optimizer = lambda model=None: _sgd(training)
    after = training.run()
    return {name: after[name] - before[name] for name in before}


def _sgd(training: Training) -> Any:
    training.trainer.optimizer = torch.optim.SGD(training.module.parameters(), lr=1.0)
    return training.trainer.optimizer


@pytest.mark.parametrize("loss", [RankNet(), RankNet(reduction="global"), BinaryCrossEntropy()])
def test_a_step_in_parts_is_the_step_as_a_whole(encoder: str, tmp_path: Path, loss: Loss) -> None:
    whole = _gradients(encoder, tmp_path / "whole", loss)
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-3
    for parts in (2, 4):
        cut = _gradients(encoder, tmp_path / str(parts), loss, accumulation=parts)
        for name, gradient in whole.items():
            torch.testing.assert_close(cut[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_an_epoch_asks_for_every_group_once_in_an_order_of_its_own(encoder: str, tmp_path: Path) -> None:
    training = Training(encoder, tmp_path, Loop(epochs=3, batch_groups=4))
    training.run()
    asked = training.groups.asked
    epochs = [[index for epoch, index in asked if epoch == n] for n in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    sampler = EpochSampler(8, 0, 4)
    for epoch, order in enumerate(epochs):
        sampler.set_epoch(epoch)
        assert list(sampler) == [(epoch, index) for index in order]


def test_parts_are_the_same_groups_in_the_same_order(encoder: str, tmp_path: Path) -> None:
    """Eleven groups are two steps of four an epoch, in however many parts; three are left out."""
    found = []
    for parts in (1, 2, 4):
        training = Training(
            encoder, tmp_path / str(parts), Loop(epochs=2, batch_groups=4, accumulation=parts), toys=ToyGroups(11)
        )
        training.run()
        assert (training.trainer.state.global_step, len(training.groups.asked)) == (4, 16)
        found.append(training.groups.asked)
    assert found[0] == found[1] == found[2]


LOOP = Loop(epochs=3, batch_groups=2, learning_rate=1e-2, evaluations=6)
ADAPTED: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "switch_lora": lambda: {"adaptation": SwitchLoRA(rank=4, interval=2.0, freeze=1)},
    "codyra": lambda: {"adaptation": CoDyRA(rank=4)},
    "sparse_mask": lambda: {"adaptation": SparseMask(weights=0.1)},
    "cet": lambda: {"weighting": CET(), "loss": BinaryCrossEntropy(threshold=None)},
}


@pytest.mark.parametrize(
    ("kind", "at"),
    [("plain", 6), ("plain", 10), ("switch_lora", 10), ("codyra", 10), ("sparse_mask", 4), ("cet", 6)],
)
def test_a_stopped_training_ends_as_an_undisturbed_one(encoder: str, tmp_path: Path, kind: str, at: int) -> None:
    """Twelve steps in three epochs, with dropout; a checkpoint every two steps, the last before `at`."""
    undisturbed = Training(encoder, tmp_path / "whole", LOOP, **ADAPTED[kind]()).run()

    def stop(step: int) -> float:
        if step >= at:
            raise Stopped
        return 0.5

    first = Training(encoder, tmp_path / "cut", LOOP, **ADAPTED[kind](), dev=stop)
    with pytest.raises(Stopped):
        first.run()
    assert last_checkpoint(tmp_path / "cut") == tmp_path / "cut" / f"checkpoint-{at - 2}"
    second = Training(encoder, tmp_path / "cut", LOOP, **ADAPTED[kind]())
    found = second.run()
    assert second.trainer.state.global_step == 12
    assert len(second.groups.asked) <= 2 * (12 - (at - 2)) + 8, "the steps before are not trained again"
    for name, tensor in undisturbed.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    "half", ["trainer_state.json", "module.safetensors", "adaptation.pt", "optimizer.pt", "scheduler.pt"]
)
def test_half_a_checkpoint_is_passed_over(tmp_path: Path, half: str) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (2, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in ("module.safetensors", "adaptation.pt", "optimizer.pt", "scheduler.pt", "trainer_state.json"):
            (tmp_path / f"checkpoint-{step}" / name).write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / half).write_text('{"step')
    if half != "trainer_state.json":
        (tmp_path / "checkpoint-10" / half).unlink()  # by a process that was killed while it deleted the checkpoint
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "trainer_state.json").unlink()
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("steps", [6, 8], ids=["within an epoch", "at the end of one"])
def test_a_training_that_had_ended_is_not_trained_further(encoder: str, tmp_path: Path, steps: int) -> None:
    loop = replace(LOOP, max_steps=steps)
    ended = Training(encoder, tmp_path, loop, dev=lambda step: step / 10).run()
    again = Training(encoder, tmp_path, loop, dev=lambda step: 0.99)
    found = again.run()
    state = again.trainer.state
    assert (state.global_step, state.best_global_step, state.best_metric) == (steps, steps, steps / 10)
    assert not again.groups.asked
    for name, tensor in ended.items():
        assert torch.equal(found[name], tensor), name


def test_patience_ends_a_training_and_it_stays_ended(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*anything: Any) -> None:
        raise Stopped

    measures = {0: 0.1, 2: 0.2, 4: 0.5, 6: 0.4, 8: 0.5, 10: 0.9, 12: 0.9}
    loop = replace(LOOP, patience=2)
    first = Training(encoder, tmp_path, loop, dev=measures.__getitem__)
    monkeypatch.setattr(GroupTrainer, "_finalize_training", stop)
    with pytest.raises(Stopped):
        first.run()
    monkeypatch.undo()
    state = first.trainer.state
    assert (state.global_step, state.best_global_step, state.best_metric) == (8, 4, 0.5)
    assert [(line["step"], line["dev/ndcg@10"]) for line in first.lines if "dev/ndcg@10" in line] == [
        (2, 0.2), (4, 0.5), (6, 0.4), (8, 0.5),
    ]  # fmt: skip
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}

    again = Training(encoder, tmp_path, loop, dev=measures.__getitem__)
    found = again.run()
    state = again.trainer.state
    assert (state.global_step, state.best_global_step, state.best_metric) == (8, 4, 0.5)
    assert not again.groups.asked
    for name, tensor in first.module.state_dict().items():
        assert torch.equal(found[name], tensor), name


def poisoned(encoder: str, folder: Path, at: int, value: float) -> Training:
    """A training one of whose parameters gets this value once the step is logged."""
    training = Training(encoder, folder, LOOP)
    log = training.trainer.hooks.record

    def poison(line: dict[str, float]) -> None:
        log(line)
        if line["step"] == at:
            next(training.module.parameters()).data.fill_(value)

    training.trainer.hooks.record = poison
    return training


def test_a_lost_loss_names_its_queries_and_keeps_the_last_checkpoint(encoder: str, tmp_path: Path) -> None:
    training = poisoned(encoder, tmp_path, 5, float("nan"))
    with pytest.raises(UserError, match=r"nan at step 6, on the queries q\d, q\d; the last good checkpoint"):
        training.run()
    kept = last_checkpoint(tmp_path)
    assert kept is not None
    assert kept.name == "checkpoint-4"


def test_weights_that_are_lost_are_not_kept(encoder: str, tmp_path: Path) -> None:
    training = poisoned(encoder, tmp_path, 4, float("inf"))
    with pytest.raises(UserError, match=r"not finite any more after step 4; the last good checkpoint"):
        training.run()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_the_time_of_dev_and_checkpoints_is_no_training(encoder: str, tmp_path: Path) -> None:
    def slow(step: int) -> float:
        time.sleep(0.3)
        return step / 10

    training = Training(encoder, tmp_path, LOOP, dev=slow)
    training.run()
    for line in (line for line in training.lines if "loss" in line):
        assert line["pairs_per_second"] > 16 / 0.3, "a step has some 16 pairs and takes milliseconds"


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_a_full_disk_is_told_in_a_line_and_earlier_checkpoints_are_kept(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    training = Training(encoder, tmp_path, LOOP)
    import safetensors.torch

    whole = safetensors.torch.save_model

    def full(model: Any, name: str) -> None:
        if "checkpoint-6" in name:
            Path(name).write_bytes(b"half")
            raise kind("No space left on device")
        whole(model, name)

    monkeypatch.setattr(safetensors.torch, "save_model", full)
    with pytest.raises(UserError, match=r"cannot be written.*No space left on device.*earlier ones are kept") as caught:
        training.run()
    assert "\n" not in str(caught.value)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert not (tmp_path / "checkpoint-6").exists(), "it would keep the disk full"
    monkeypatch.undo()
    assert Training(encoder, tmp_path, LOOP).run().keys() == training.module.state_dict().keys()


def test_the_log_has_a_line_for_each_logged_step(encoder: str, tmp_path: Path) -> None:
    training = Training(encoder, tmp_path, LOOP)
    training.run()
    lines = [line for line in training.lines if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert {"loss", "grad_norm", "learning_rate", "tokens_per_second", "pairs_per_second"} <= line.keys()
        assert 0 <= line["padding_share"] < 1
    assert json.dumps(lines)


def test_groups_that_cannot_be_shared_out_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with pytest.raises(UserError, match="batch_groups=8 does not divide by 3 processes x 2"):
        arguments(tmp_path, Loop(batch_groups=8, accumulation=2), 100, 0, CPU, False)


@pytest.mark.parametrize(("size", "accumulation"), [(1, 1), (3, 1), (3, 8), (5, 2)])
def test_few_groups_are_trained_on_all_the_same(encoder: str, tmp_path: Path, size: int, accumulation: int) -> None:
    loop = Loop(epochs=2, batch_groups=8, accumulation=accumulation)
    training = Training(encoder, tmp_path, loop, toys=ToyGroups(size))
    training.run()
    assert training.trainer.state.global_step == 2
    assert len(training.groups.asked) == 2 * (size - size % min(accumulation, size))
