"""The loss of a step does not depend on how its inputs are read, and its gradients are those of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch

from rerankbench.training.groups import Group, requests_of
from rerankbench.training.in_batch import pool_batch
from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.losses.loss import Loss, reduced
from rerankbench.training.losses.pairwise import Hinge, RankNet
from rerankbench.training.losses.pointwise import BinaryCrossEntropy
from rerankbench.training.losses.sum import Sum
from rerankbench.training.module import TrainingModule
from rerankbench.training.scored import Scored
from rerankbench.training.weighting.cet import CET
from rerankbench.training.weighting.curriculum import Curriculum
from rerankbench.training.weighting.weighting import Weighting
from tests.training.toy_scorer import ToyScorer, toy_groups

Kind = Literal["pairs", "embeddings", "in_batch"]
KINDS: list[Kind] = ["pairs", "embeddings", "in_batch"]
SUM = Sum(losses={"lce": LocalizedContrastive(), "ranknet": RankNet(reduction="global")}, weights={"ranknet": 0.5})


def _module(
    kind: Kind,
    budget: int = 10**6,
    checkpointing: bool = False,
    loss: Loss | None = None,
    weighting: Weighting | None = None,
    dtype: torch.dtype = torch.float32,
) -> TrainingModule:
    scorer = ToyScorer(kind == "pairs", dtype)
    applied = weighting.begin() if weighting is not None else None
    loss = loss or LocalizedContrastive(temperature=0.2)
    return TrainingModule(scorer, loss, applied, kind == "in_batch", budget, checkpointing)


def _step(
    module: TrainingModule, *parts: Sequence[Group], seed: int | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    """The summed loss of these groups, and its gradients. seed: with dropout, drawn from it; None without."""
    module.train(seed is not None)
    module.zero_grad()
    torch.manual_seed(seed or 0)
    total = torch.stack([module(list(part)).sum() for part in parts]).sum()
    total.backward()
    gradients = {n: p.grad.clone() for n, p in module.network.named_parameters() if p.grad is not None}
    assert sum(bool(g.any()) for g in gradients.values()) > 2
    return float(total.detach()), gradients


def _same(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-6, abs=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [None, 3], ids=["plain", "dropout"])
def test_recomputed_activations_give_the_same_loss_and_gradients(kind: Kind, seed: int | None) -> None:
    groups = toy_groups(3, 5, 2)
    stored, recomputed = _module(kind, 24), _module(kind, 24, checkpointing=True)
    expected = _step(stored, groups, seed=seed)
    _same(_step(recomputed, groups, seed=seed), expected)
    calls = [module.scorer.calls for module in (stored, recomputed)]  # type: ignore[attr-defined]
    assert calls[1] == 2 * calls[0] > 4
    if seed is not None:
        assert expected[0] != pytest.approx(_step(_module(kind, 24), groups)[0], rel=1e-3), "dropout has an effect"


@pytest.mark.parametrize("kind", KINDS)
def test_the_token_budget_changes_nothing(kind: Kind) -> None:
    groups = toy_groups(3, 5, 2)
    whole = _step(_module(kind), groups)
    for budget in (1, 40, 100):
        _same(_step(_module(kind, budget), groups), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_loss(kind: Kind) -> None:
    module, groups = _module(kind, 24, loss=SUM, dtype=torch.float64).eval(), toy_groups(3, 4, 2)
    weights = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    weights = {name: w for name, w in weights.items() if "head" not in name or kind == "pairs"}

    def loss(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(weights, values, strict=True))
        total: torch.Tensor = torch.func.functional_call(module, given, (groups,))
        return total

    assert torch.autograd.gradcheck(loss, tuple(weights.values()))


@pytest.mark.parametrize("kind", ["pairs", "embeddings"])
def test_the_loss_of_parts_adds_up(kind: Kind) -> None:
    groups = toy_groups(3, 5, 2, 1)
    module = _module(kind)
    _same(_step(module, groups[:1], groups[1:]), _step(module, groups))
    assert module.count(groups).tolist() == (module.count(groups[:1]) + module.count(groups[1:])).tolist() == [3]
    module.loss = RankNet(reduction="global")
    assert module.count(groups).tolist() == [2 + 4 + 1], "one group has no negative"
    _same(_step(module, groups[:1], groups[1:]), _step(module, groups))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_candidates_does_not_matter(kind: Kind) -> None:
    groups = toy_groups(3, 5, 2)
    reverse = [
        replace(g, documents=g.documents[::-1], labels=g.labels[::-1], ranks=g.ranks[::-1], scores=g.scores[::-1])
        for g in groups
    ]
    _same(_step(_module(kind), reverse), _step(_module(kind), groups))


def test_in_batch_every_candidate_is_one_of_every_query() -> None:
    module, groups = _module("in_batch").eval(), toy_groups(3, 2)
    requests = requests_of(groups)
    scorer = module.scorer
    assert isinstance(scorer, ToyScorer)
    queries, documents = scorer.embeddings(requests, scorer.forward(scorer.inputs(requests)))
    batch = pool_batch(groups, torch.device("cpu"))
    scores = scorer.similarity([queries[0], queries[3]], documents)
    total, count = reduced(module.loss, module.loss(Scored(scores, batch.labels, batch.mask)))
    torch.testing.assert_close(module(groups), total[None])
    assert module.count(groups).tolist() == [count] == [2]


def test_components_are_reduced_by_their_own_rules_and_logged_by_name() -> None:
    groups = toy_groups(3, 5, 2)
    module = _module("pairs", loss=SUM).eval()
    totals = [_module("pairs", loss=loss).eval()(groups) for _, loss in SUM.components().values()]
    assert torch.equal(module(groups), torch.cat([totals[0], 0.5 * totals[1]]))
    assert module.count(groups).tolist() == [3, 2 + 4 + 1]
    means = module.statistics.means()
    assert means["loss/lce"] == pytest.approx(float(totals[0].detach()) / 3)
    assert means["loss/ranknet"] == pytest.approx(float(totals[1].detach()) / 7)
    alone = _module("pairs")
    alone(groups)
    assert not [name for name in alone.statistics.means() if name.startswith("loss/")]


def test_weights_multiply_the_values() -> None:
    module, groups = _module("pairs", loss=Hinge(reduction="global"), weighting=Curriculum()), toy_groups(3, 5, 2)
    module.eval()
    module.progress = 0.5
    plain = _module("pairs", loss=Hinge(reduction="global")).eval()
    assert torch.equal(module(groups), plain(groups)), "all weights are 1 from here on"
    module.progress = 0.0
    assert 0 < float(module(groups)) < float(plain(groups))
    means = module.statistics.means()
    assert 0 < means["weights/min"] <= means["weights/mean"] <= means["weights/max"] < 1
    assert 0 < means["weights/effective_share"] <= 1
    assert 0 < means["easy"] < 1


def test_a_weighting_s_own_loss_trains_its_module_alone() -> None:
    groups, loss = toy_groups(3, 5, 2), BinaryCrossEntropy(threshold=None)
    module = _module("pairs", loss=loss, weighting=CET())
    total, gradients = _step(module, groups)
    assert module.weighting is not None and module.weighting_module is module.weighting.module
    assert all(p.grad is not None and p.grad.any() for p in module.weighting_module.parameters())
    assert any(name.startswith("weighting_module.") for name in module.state_dict())

    batch = module.batch(groups)
    scores = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in module.score(groups)], batch_first=True)
    given = Scored(scores, batch.labels, batch.mask, batch=batch)
    soft = module.weighting.labels(given)
    labelled = [
        replace(group, labels=tuple(row[: len(group.documents)].tolist()))
        for group, row in zip(groups, soft, strict=True)
    ]
    own_loss = module.weighting.own_loss(given)
    assert own_loss is not None
    expected = _step(_module("pairs", loss=loss), labelled)
    assert total == pytest.approx(expected[0] + float(own_loss.detach()) * float(module.count(groups)))
    _same((0.0, gradients), (0.0, expected[1]))


def test_scores_leave_the_network_as_it_was() -> None:
    module, groups = _module("pairs", 24), toy_groups(3, 5, 2)
    module.train()
    statistics = module.statistics
    scores = module.score(groups)
    assert module.network.training
    assert module.statistics is statistics
    assert [len(row) for row in scores] == [3, 5, 2]
    module.eval()
    requests = requests_of(groups)
    expected = module.scorer.scores(requests, module.scorer.forward(module.scorer.inputs(requests)))
    assert [score for row in scores for score in row] == pytest.approx(expected.tolist(), abs=1e-5)
    assert all(p.grad is None for p in module.parameters())


def test_statistics_count_tokens_pairs_and_padding() -> None:
    module, groups = _module("pairs", 24).eval(), toy_groups(3, 5, 2)
    module(groups)
    lengths = [module.scorer.length(item) for item in module.scorer.inputs(requests_of(groups))]
    statistics = module.statistics
    assert (statistics.tokens, statistics.pairs) == (sum(lengths), 10)
    assert sum(lengths) <= statistics.padded < 10 * max(lengths)
    spread = statistics.means()["scores/spread"]
    rows = module.score(groups)
    assert spread == pytest.approx(sum(float(torch.tensor(row).std(correction=0)) for row in rows) / 3, abs=1e-4)
