"""SwitchLoRA: what a switch must leave alone, and what it must not."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.training.adaptation.low_rank import product
from rerankbench.training.adaptation.row_adamw import RowAdamW
from rerankbench.training.adaptation.switch_lora import AppliedSwitchLoRA, Factor, SwitchLoRA
from tests.training.adaptation.toy_training import backward, network, optimizer_of, outputs, train


class Recorded(AppliedSwitchLoRA):
    """Records what each switch chose."""

    def _choose(self, *arguments: Any) -> list[tuple[int, int]]:
        chosen = super()._choose(*arguments)
        vars(self).setdefault("log", []).append((arguments[0], arguments[1], chosen))
        return chosen


def _start(**options: Any) -> tuple[Any, AppliedSwitchLoRA, Any]:
    net = network("bert_score")
    adaptation = SwitchLoRA(**{"rank": 6, "interval": 4.0, "freeze": 2, "ratio": 1.0, "targets": ["query"]} | options)
    applied = Recorded(**vars(adaptation.apply(net, seed=1)))
    return net, applied, optimizer_of(applied)


@pytest.mark.parametrize("order", ["cyclic", "random"])
def test_outputs_stay_across_every_switch(order: str) -> None:
    net, applied, optimizer = _start(order=order)
    for step in range(12):
        backward(net, optimizer, step)
        before = outputs(net)
        applied.before_step(optimizer, step, 12)
        torch.testing.assert_close(outputs(net), before, atol=1e-5, rtol=0)
        optimizer.step()
        applied.after_step(optimizer, step, 12)
    assert applied.report()["switch/vectors"] > 12


@pytest.mark.parametrize("order", ["cyclic", "random"])
def test_the_counterpart_is_reset_and_frozen_for_exactly_its_steps(order: str) -> None:
    net, applied, optimizer = _start(order=order, interval=12.0, freeze=5)
    frozen: dict[tuple[int, int], int] = {}  # (factor, vector) → frozen steps left, counted here
    seen = 0
    for step in range(40):
        backward(net, optimizer, step)
        vars(applied)["log"] = []
        held = {id(p): {n: v.clone() for n, v in state.items()} for p, state in optimizer.state.items()}
        applied.before_step(optimizer, step, 40)
        for factor, other, chosen in vars(applied)["log"]:
            for index, _ in chosen:
                seen += 1
                assert (id(factor), index) not in frozen and (id(other), index) not in frozen
                frozen[id(other), index] = 5
                state = optimizer.state.get(other.parameter, {})
                for moment in ("exp_avg", "exp_avg_sq", "step"):
                    if moment in state:
                        assert not state[moment].select(other.dim, index).any()
                for moment, value in held.get(id(factor.parameter), {}).items():  # the switched vector's is unchanged
                    now = optimizer.state[factor.parameter][moment]
                    assert torch.equal(now.select(factor.dim, index), value.select(factor.dim, index))
        factors = {id(factor): factor for layer in applied.layers for factor in (layer.a, layer.b)}
        before = {key: factor.vectors.clone() for key, factor in factors.items()}
        optimizer.step()
        applied.after_step(optimizer, step, 40)
        for key, factor in factors.items():
            for index in range(6):
                still = torch.equal(factor.vectors[index], before[key][index])
                assert still == ((key, index) in frozen), (step, index)
        frozen = {key: left - 1 for key, left in frozen.items() if left > 1}
    assert seen > 20


def test_a_vector_thawed_takes_a_first_step() -> None:
    """Frozen steps do not count: Adam's first step is the learning rate, whatever the gradient."""
    _, applied, optimizer = _start(interval=1e9)
    train(applied, optimizer, range(3), 100)
    (factor, *_), parameter = applied._factors(), applied.layers[0].a.parameter
    factor.frozen[4] = 3
    for value in optimizer.state[parameter].values():
        value[4] = 0
    train(applied, optimizer, range(3, 6), 100)
    before = parameter.detach().clone()
    train(applied, optimizer, range(6, 7), 100)
    moved = (parameter.detach() - before).abs()
    torch.testing.assert_close(moved[4], torch.full_like(moved[4], 0.05), atol=1e-4, rtol=0)
    assert not torch.allclose(moved[3], moved[4], atol=1e-3)


def test_an_outgoing_vector_is_stored_as_trained() -> None:
    _, applied, optimizer = _start()
    train(applied, optimizer, range(2), 40)
    for layer in applied.layers:
        before = [
            (factor, factor.vectors.clone(), list(factor.slots), factor.candidates.clone())
            for factor in (layer.a, layer.b)
        ]
        for (factor, vectors, slots, candidates), other in zip(before, (layer.b, layer.a), strict=True):
            other.frozen.zero_()
            factor.frozen.zero_()
            applied._switch(layer.layer, factor, other, [(2, 9)])
            assert torch.equal(factor.candidates[slots[2]], vectors[2])
            assert torch.equal(factor.vectors[2], candidates[9])
            assert factor.slots == [*slots[:2], 9, *slots[3:]]


@given(
    rank=st.integers(2, 12),
    stored=st.integers(1, 20),
    counts=st.lists(st.integers(0, 5), max_size=40),
    order=st.sampled_from(["cyclic", "random"]),
)
def test_live_vectors_are_distinct_candidates_and_turns_are_taken(
    rank: int, stored: int, counts: list[int], order: str
) -> None:
    adaptation = SwitchLoRA(rank=rank, order=order)  # type: ignore[arg-type]
    applied = AppliedSwitchLoRA(torch.nn.Module(), adaptation, 0, [])
    a = Factor.initial(torch.nn.Parameter(torch.zeros(rank, 3)), 0, torch.zeros(rank + stored, 3), 0)
    b = Factor.initial(torch.nn.Parameter(torch.zeros(3, rank)), 1, torch.zeros(rank + stored, 3), rank // 2)
    turn = 0
    for count in counts:
        chosen = applied._choose(a, b, count, random.Random(count))
        assert len(chosen) == min(count, stored, rank)
        assert not {slot for _, slot in chosen} & set(a.slots)
        for index, slot in chosen:
            a.slots[index] = slot
            if order == "cyclic":
                assert index == turn % rank
                turn += 1
        assert len(set(a.slots)) == rank


def test_the_schedule_falls_to_three_tenths_by_its_ratio() -> None:
    adaptation = SwitchLoRA(rank=128)
    assert adaptation.expected(0, 10**9) == pytest.approx(128 / 40)
    assert adaptation.expected(99, 1000) == pytest.approx(0.3 * 128 / 40)
    assert adaptation.expected(199, 1000) == pytest.approx(0.09 * 128 / 40)


def test_as_many_are_switched_as_expected() -> None:
    adaptation = SwitchLoRA(rank=8, interval=16.0, freeze=1, ratio=0.5, targets=["query", "key", "value"])
    net = network("bert")
    applied = adaptation.apply(net, seed=0)
    for step in range(400):
        applied.before_step(torch.optim.SGD(net.parameters(), lr=0.0), step, 400)
        for factor in applied._factors():
            factor.frozen.zero_()
    expected = 18 * sum(adaptation.expected(step, 400) for step in range(400))  # 9 layers, two factors
    assert applied.report()["switch/vectors"] == pytest.approx(expected, rel=0.1)


def test_the_initial_spread_and_memory_are_as_stated() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(400, 100, bias=False))
    weight = net[0].weight.detach().clone()
    applied = SwitchLoRA(rank=16, targets=["0"]).apply(net, seed=0)
    (layer,) = applied.layers
    assert layer.a.candidates.shape == (100, 400) and layer.b.candidates.shape == (100, 100)
    gain = (1 / 3) ** 0.5
    assert float(layer.a.candidates.std()) == pytest.approx((100**0.5 * 16 / 400**1.5) ** 0.25 * gain**0.5, rel=0.02)
    assert float(layer.b.candidates.std()) == pytest.approx((16 / (100 * 400) ** 0.5) ** 0.25 * gain**0.5, rel=0.02)
    torch.testing.assert_close(net[0].weight + product(net[0]), weight, atol=1e-6, rtol=0)
    assert applied.report()["switch/candidates_mib"] == pytest.approx((100 * 400 + 100 * 100) * 4 / 2**20)


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_without_switches_row_adamw_is_adamw(dim: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    mine, reference = (torch.nn.Parameter(torch.ones(3, 5)) for _ in range(2))
    ours = RowAdamW([{"params": [mine], "dim": dim}], lr=0.01, weight_decay=0.1)
    theirs = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.1)
    for _ in range(6):
        gradient = torch.randn(3, 5, generator=generator)
        for parameter, optimizer in ((mine, ours), (reference, theirs)):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(mine, reference, atol=1e-6, rtol=1e-6)


def test_loaded_steps_go_where_the_parameter_is() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3, device="meta"))
    optimizer = RowAdamW([{"params": [parameter], "dim": 0}], lr=0.1)
    parameter.grad = torch.ones(2, 3, device="meta")
    optimizer.step()
    optimizer.state[parameter]["step"] = torch.ones(2, 1)  # as torch loads it: where the file was read
    optimizer.step()
    assert optimizer.state[parameter]["step"].device.type == "meta"


def test_a_vector_that_starts_again_moves_as_in_a_first_step() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = RowAdamW([{"params": [parameter], "dim": 0}], lr=0.1)
    for _ in range(10):
        parameter.grad = torch.ones(2, 3)
        optimizer.step()
    for value in optimizer.state[parameter].values():
        value[1] = 0
    before = parameter.detach().clone()
    parameter.grad = torch.full((2, 3), 7.0)
    optimizer.step()
    moved = before - parameter.detach()
    torch.testing.assert_close(moved[1], torch.full((3,), 0.1))  # Adam's first step is the learning rate
    assert not torch.allclose(moved[0], moved[1], atol=1e-2)
