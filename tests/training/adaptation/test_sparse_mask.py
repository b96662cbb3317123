"""Sparse masks: never more places than asked for, chosen over all weights, and nothing beside them moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.models.adapters.difference import applied, base_parameters, load_difference, removed
from rerankbench.training.adaptation.sparse_mask import SparseMask, top_places
from tests.training.adaptation.toy_training import network, optimizer_of, outputs, train, values


def _trained(kind: str = "bert_score", steps: int = 8, **options: Any) -> tuple[Any, SparseMask]:
    net, adaptation = network(kind), SparseMask(**{"weights": 50.0, "full": 0.5} | options)
    adaptation.apply(net, seed=0)
    train(net, adaptation, optimizer_of(net, adaptation), range(steps), steps)
    return net, adaptation


def _differing(net: Any, kind: str) -> int:
    before = dict(base_parameters(network(kind)))
    return sum(int((parameter != before[name]).sum()) for name, parameter in base_parameters(net))


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=60), count=st.integers(0, 60))
def test_the_largest_are_chosen_and_the_first_among_equals(values: list[int], count: int) -> None:
    count = min(count, len(values))
    expected = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:count])
    assert top_places(torch.tensor(values, dtype=torch.float32), count).tolist() == expected


@pytest.mark.parametrize("weights", [1.0, 50.0, 0.01])
@pytest.mark.parametrize("kind", ["bert_score", "llama_score", "bert_words"])
def test_no_more_places_differ_than_asked_for(kind: str, weights: float) -> None:
    net, adaptation = _trained(kind, weights=weights)
    size = sum(p.numel() for p in adaptation._sparse[0].parameters.values())
    allowed = int(weights) if weights >= 1 else int(weights * size)
    assert 0 < _differing(net, kind) <= allowed == adaptation.report()["mask/weights"]


def test_the_places_are_those_that_moved_most_and_the_second_phase_sets_out_from_the_start() -> None:
    net, adaptation = network("bert"), SparseMask(weights=30.0, full=0.5)
    start = values(net)
    adaptation.apply(net, seed=0)
    optimizer = optimizer_of(net, adaptation)
    free = SparseMask(weights=30.0, full=0.9)
    reference = network("bert")
    free.apply(reference, seed=0)
    train(reference, free, optimizer_of(reference, free), range(4), 100)
    train(net, adaptation, optimizer, range(4), 8)
    assert not optimizer.state
    assert all(torch.equal(p, start[n]) for n, p in net.named_parameters())
    moved = {n: (p.detach() - start[n]).abs() for n, p in reference.named_parameters() if p.requires_grad}
    masks = adaptation._sparse[0].masks
    inside = torch.cat([moved[n][masks[n]] for n in masks])
    outside = torch.cat([moved[n][~masks[n]] for n in masks])
    assert len(inside) == 30 and float(inside.min()) >= float(outside.max())


def test_layer_norms_are_left_alone_unless_asked_for() -> None:
    for freeze in (True, False):
        net = network("llama")
        SparseMask(freeze_layer_norm=freeze).apply(net, 0)
        norms = {p.requires_grad for n, p in net.named_parameters() if "norm" in n}
        assert norms == {not freeze}


def test_the_words_of_a_language_model_are_frozen_with_its_head() -> None:
    net, _ = _trained("bert_words")
    fresh = values(network("bert_words"))
    assert all(torch.equal(p, fresh[n]) for n, p in net.named_parameters() if n.startswith("cls."))


def test_l1_pulls_every_weight_towards_the_start() -> None:
    net, adaptation = network("bert"), SparseMask(l1=0.5)
    adaptation.apply(net, seed=0)
    (sparse,) = adaptation._sparse
    with torch.no_grad():
        for parameter in sparse.parameters.values():
            parameter += 0.1
            parameter.grad = torch.zeros_like(parameter)
    adaptation.before_step(None, 0, 10)
    size = sum(p.numel() for p in sparse.parameters.values())
    for parameter in sparse.parameters.values():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 0.5 / size))


def test_the_saved_difference_makes_the_base_the_trained_network_and_back(tmp_path: Path) -> None:
    net, adaptation = _trained()
    adaptation.save(net, tmp_path)
    difference = load_difference(tmp_path / "difference")
    assert sum(len(t) for n, t in difference.tensors.items() if n.startswith("index/")) <= 50
    assert set(difference.head) == {"classifier.weight", "classifier.bias"}
    base = network("bert_score")
    before = values(base)
    done = applied(base, [str(tmp_path / "difference")])
    torch.testing.assert_close(outputs(base), outputs(net), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(outputs(base), outputs(network("bert_score")), atol=1e-4)
    removed(base, done)
    assert all(torch.equal(p, before[n]) for n, p in base.named_parameters())


def test_it_trains_on_top_of_another_difference_which_is_no_part_of_its_own(tmp_path: Path) -> None:
    language, adaptation = _trained("bert_words")
    adaptation.save(language, tmp_path / "language")
    below = str(tmp_path / "language" / "difference")
    net, ranking = _trained("bert_score", below=[below], weights=20.0)
    ranking.save(net, tmp_path / "ranking")
    above = str(tmp_path / "ranking" / "difference")
    assert sum(t.numel() for n, t in load_difference(above).tensors.items() if n.startswith("index/")) <= 20
    base = network("bert_score")
    applied(base, [below, above])
    torch.testing.assert_close(outputs(base), outputs(net), atol=1e-5, rtol=1e-5)


def test_in_the_second_phase_gradients_arise_in_the_mask_only_until_it_is_merged() -> None:
    net, adaptation = _trained("bert", weights=9.0)
    masks = adaptation._sparse[0].masks

    def beside() -> float:
        net.zero_grad()
        outputs(net).sin().sum().backward()
        return sum(
            float(p.grad[~masks[n]].abs().sum()) for n, p in net.named_parameters() if n in masks and p.grad is not None
        )

    assert beside() == 0.0
    adaptation.merge(net)
    assert beside() > 0.0


def test_resuming_on_another_network_is_refused() -> None:
    _, adaptation = _trained()
    other = SparseMask()
    other.apply(network("bert_score", seed=5), seed=0)
    with pytest.raises(ConfigError, match="started from"):
        other.load_state(adaptation.state())
