"""CoDyRA: the two operators, the schedule of the threshold, and what merging drops."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.training.adaptation.codyra import AppliedCoDyRA, CoDyRA
from rerankbench.training.adaptation.low_rank import attached, product
from tests.training.adaptation.toy_training import network, optimizer_of, outputs, train


def _shrunk(values: list[float], kappa: float, variant: Literal["proximal", "released"]) -> list[float]:
    adaptation = CoDyRA(rank=len(values), threshold=kappa, variant=variant)
    gates = torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))
    AppliedCoDyRA(torch.nn.Module(), adaptation, [gates]).after_step(torch.optim.SGD([gates]), 99, 100)
    return list(gates.tolist())


def test_the_released_operator_kills_up_to_twice_the_threshold() -> None:
    values = [0.35, -0.35, 0.5, -0.1, 0.0]
    assert _shrunk(values, 0.2, "proximal") == pytest.approx([0.15, -0.15, 0.3, 0.0, 0.0])
    assert _shrunk(values, 0.2, "released") == pytest.approx([0.0, 0.0, 0.3, 0.0, 0.0])


@given(gate=st.floats(-2, 2), kappa=st.floats(0.001, 1))
def test_the_proximal_operator_minimises_what_it_should(gate: float, kappa: float) -> None:
    """argmin over x of (x − g)² / 2 + κ|x|: no other value is better."""
    (minimum,) = _shrunk([gate], kappa, "proximal")

    def cost(x: float) -> float:
        return (x - gate) ** 2 / 2 + kappa * abs(x)

    assert all(cost(minimum) <= cost(other) + 1e-12 for other in (gate, 0.0, minimum + 1e-3, minimum - 1e-3))


@pytest.mark.parametrize("total", [10, 100, 500, 5000])
def test_the_threshold_is_zero_for_half_and_reaches_its_end_at_any_length(total: int) -> None:
    adaptation = CoDyRA(threshold=0.005)
    course = [adaptation.kappa(step, total) for step in range(total)]
    assert not any(course[: total // 2])
    assert course == sorted(course) and course[-1] == pytest.approx(0.005)
    if total >= 100:
        assert len(set(course)) == 50


def test_a_zero_gate_may_come_back() -> None:
    applied = CoDyRA(rank=4).apply(network("bert"), seed=0)
    optimizer = optimizer_of(applied)
    train(applied, optimizer, range(1), 100)  # B leaves zero
    with torch.no_grad():
        applied.gates[0].zero_()
    train(applied, optimizer, range(1, 2), 100)
    assert applied.gates[0].count_nonzero() == 4


def test_merging_drops_ranks_with_a_zero_gate() -> None:
    net = network("bert")
    applied = CoDyRA(rank=4).apply(net, seed=0)
    train(applied, optimizer_of(applied), range(3), 100)
    layers = list(attached(net).values())
    with torch.no_grad():
        for layer in layers:
            layer.get_parameter("lora_gates")[1:3] = 0
    there, small = outputs(net), [product(layer) for layer in layers]
    assert applied.report()["gates/active"] == 0.5
    assert all(int(torch.linalg.matrix_rank(p)) <= 2 for p in small)
    with torch.no_grad():
        for layer in layers:
            layer.get_parameter("lora_A")[1:3] = float("nan")  # would spread if it took part
    applied.merge()
    torch.testing.assert_close(outputs(net), there, atol=1e-5, rtol=1e-5)


def test_gates_and_factors_are_not_decayed_and_the_head_is() -> None:
    net = network("bert_score")
    optimizer = CoDyRA(rank=2).apply(net, seed=0).optimizer(0.01, 0.3)
    names = {id(p): name for name, p in net.named_parameters()}
    decays = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays.pop("classifier.weight") == 0.3 and decays.pop("classifier.bias") == 0.3
    assert len(decays) == 3 * 18 and set(decays.values()) == {0.0}
    assert all(group["betas"] == (0.9, 0.9999) for group in optimizer.param_groups)
