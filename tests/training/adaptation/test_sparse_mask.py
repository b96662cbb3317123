"""Sparse masks: never more weights than asked for, chosen over all of them, and no others move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.models.adapters.difference import apply_differences, base_parameters, load_difference
from rerankbench.training.adaptation.sparse_mask import AppliedSparseMask, SparseMask, largest
from tests.training.adaptation.toy_training import network, optimizer_of, outputs, train, values


def _trained(kind: str = "bert_score", steps: int = 8, **options: Any) -> tuple[Any, AppliedSparseMask]:
    net = network(kind)
    applied = SparseMask(**{"weights": 50.0, "full": 0.5} | options).apply(net, seed=0)
    train(applied, optimizer_of(applied), range(steps), steps)
    return net, applied


def _differing(net: Any, kind: str) -> int:
    before = dict(base_parameters(network(kind)))
    return sum(int((parameter != before[name]).sum()) for name, parameter in base_parameters(net))


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=60), count=st.integers(0, 60))
def test_the_largest_are_chosen_and_the_first_among_equals(values: list[int], count: int) -> None:
    count = min(count, len(values))
    expected = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:count])
    assert largest(torch.tensor(values, dtype=torch.float32), count).tolist() == expected


@pytest.mark.parametrize("weights", [1.0, 50.0, 0.01])
@pytest.mark.parametrize("kind", ["bert_score", "llama_score", "bert_words"])
def test_no_more_weights_differ_than_asked_for(kind: str, weights: float) -> None:
    net, applied = _trained(kind, weights=weights)
    size = sum(p.numel() for p in applied.parameters.values())
    allowed = int(weights) if weights >= 1 else int(weights * size)
    assert 0 < _differing(net, kind) <= allowed == applied.report()["mask/weights"]


def test_the_weights_are_those_that_moved_most_and_the_second_phase_starts_from_the_initial_values() -> None:
    net, reference = network("bert"), network("bert")
    start = values(net)
    applied = SparseMask(weights=30.0, full=0.5).apply(net, seed=0)
    optimizer = optimizer_of(applied)
    free = SparseMask(weights=30.0, full=0.9).apply(reference, seed=0)
    train(free, optimizer_of(free), range(4), 100)
    assert not applied.eligible_as_best
    train(applied, optimizer, range(4), 8)
    assert applied.eligible_as_best
    assert not optimizer.state
    assert all(torch.equal(p, start[n]) for n, p in net.named_parameters())
    moved = {n: (p.detach() - start[n]).abs() for n, p in reference.named_parameters() if p.requires_grad}
    masks = applied.masks
    inside = torch.cat([moved[n][masks[n]] for n in masks])
    outside = torch.cat([moved[n][~masks[n]] for n in masks])
    assert len(inside) == 30 and float(inside.min()) >= float(outside.max())


def test_layer_norms_are_frozen_unless_asked_for() -> None:
    for freeze in (True, False):
        net = network("llama")
        SparseMask(freeze_layer_norm=freeze).apply(net, 0)
        norms = {p.requires_grad for n, p in net.named_parameters() if "norm" in n}
        assert norms == {not freeze}


def test_a_language_model_head_is_frozen() -> None:
    net, _ = _trained("bert_words")
    fresh = values(network("bert_words"))
    assert all(torch.equal(p, fresh[n]) for n, p in net.named_parameters() if n.startswith("cls."))


def test_l1_pulls_every_weight_towards_the_start() -> None:
    net = network("bert")
    applied = SparseMask(l1=0.5).apply(net, seed=0)
    with torch.no_grad():
        for parameter in applied.parameters.values():
            parameter += 0.1
            parameter.grad = torch.zeros_like(parameter)
    applied.before_step(torch.optim.SGD(net.parameters()), 0, 10)
    size = sum(p.numel() for p in applied.parameters.values())
    for parameter in applied.parameters.values():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 0.5 / size))


def test_the_saved_difference_makes_the_base_the_trained_network(tmp_path: Path) -> None:
    net, applied = _trained()
    applied.save(tmp_path)
    difference = load_difference(tmp_path / "difference")
    assert sum(len(t) for n, t in difference.tensors.items() if n.startswith("index/")) <= 50
    assert set(difference.head) == {"classifier.weight", "classifier.bias"}
    base = network("bert_score")
    apply_differences(base, [str(tmp_path / "difference")])
    torch.testing.assert_close(outputs(base), outputs(net), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(outputs(base), outputs(network("bert_score")), atol=1e-4)


def test_it_trains_on_top_of_another_difference_which_is_no_part_of_its_own(tmp_path: Path) -> None:
    _, language = _trained("bert_words")
    language.save(tmp_path / "language")
    first = str(tmp_path / "language" / "difference")
    net, ranking = _trained("bert_score", base_adapters=[first], weights=20.0)
    ranking.save(tmp_path / "ranking")
    second = str(tmp_path / "ranking" / "difference")
    assert sum(t.numel() for n, t in load_difference(second).tensors.items() if n.startswith("index/")) <= 20
    base = network("bert_score")
    apply_differences(base, [first, second])
    torch.testing.assert_close(outputs(base), outputs(net), atol=1e-5, rtol=1e-5)


def test_in_the_second_phase_gradients_are_in_the_mask_only_until_it_is_merged() -> None:
    net, applied = _trained("bert", weights=9.0)
    masks = applied.masks

    def outside() -> float:
        net.zero_grad()
        outputs(net).sin().sum().backward()
        return sum(
            float(p.grad[~masks[n]].abs().sum()) for n, p in net.named_parameters() if n in masks and p.grad is not None
        )

    assert outside() == 0.0
    applied.merge()
    assert outside() > 0.0


def test_resuming_on_another_network_is_refused() -> None:
    _, applied = _trained()
    other = SparseMask().apply(network("bert_score", seed=5), seed=0)
    with pytest.raises(ConfigError, match="started from"):
        other.load_state(applied.state())
