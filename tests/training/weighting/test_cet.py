"""CET: the weights' and the labels' closed forms, what learns, and that a planted selection bias is seen through."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from rerankbench.config.check import check
from rerankbench.errors import ConfigError, tell_place
from rerankbench.training.groups import Batch, batch_of
from rerankbench.training.losses.pairwise import RankNet
from rerankbench.training.losses.pointwise import BinaryCrossEntropy, MeanSquaredError
from rerankbench.training.scored import Scored, Unit, Values
from rerankbench.training.weighting.cet import CET, AppliedCET
from tests.training.weighting.samples import group, losses, pooled, scored


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _with_selection(options: CET, selection: float) -> AppliedCET:
    """With an S that gives every document this log-odds."""
    cet = options.begin()
    with torch.no_grad():
        for parameter in cet.module.parameters():
            parameter.zero_()
        list(cet.module.parameters())[-1].fill_(selection)
    return cet


def _batch() -> Batch:
    return batch_of([group([1, 0, 0, 0], [2, 1, 4, 0]), group([0, 2], [1, 5])])


def _scores(batch: Batch, seed: int = 0) -> torch.Tensor:
    scores = torch.randn(batch.labels.shape, generator=torch.Generator().manual_seed(seed))
    return scores.requires_grad_()


def _soft_values(given: Scored, labels: torch.Tensor) -> Values:
    return BinaryCrossEntropy(threshold=None)(replace(given, labels=labels))


# Labels and weights


@pytest.mark.parametrize(
    ("relevance", "selection", "label"), [(0.8, 0.3, 0.7368421053), (0.5, 0.5, 1 / 3), (0.9, 1e-9, 0.9), (0.8, 1, 0)]
)
def test_posterior_labels_of_what_nobody_judged(relevance: float, selection: float, label: float) -> None:
    batch = _batch()
    cet = _with_selection(CET(), _logit(selection) if selection < 1 else 50.0)
    scores = torch.full(batch.labels.shape, _logit(relevance), requires_grad=True)
    labels = cet.labels(scored(batch, scores))
    assert not labels.requires_grad
    assert labels[0].tolist() == pytest.approx([1, label, label, label], abs=1e-7)
    assert labels[1].tolist() == pytest.approx([label, 1, 0, 0], abs=1e-7)  # a grade of 2 is relevant; padding is 0
    assert cet.report()["hidden"] == pytest.approx(label, abs=1e-7)


def test_judged_labels_are_kept() -> None:
    batch = batch_of([group([1, 0, 0], [1, 2, 3], judged=[True, True, False])])
    labels = CET().begin().labels(scored(batch, torch.full((1, 3), 5.0)))
    assert labels[0, :2].tolist() == [1, 0]
    assert labels[0, 2] > 0.5


@given(relevance=st.floats(-60, 60), selection=st.floats(-60, 60))
def test_posterior_is_bayes_rule_and_never_nan(relevance: float, selection: float) -> None:
    batch = batch_of([group([1, 0], [1, 2])])
    label = float(_with_selection(CET(), selection).labels(scored(batch, torch.full((1, 2), relevance)))[0, 1])
    rho, pi = 1 / (1 + math.exp(-relevance)), 1 / (1 + math.exp(-selection))
    if rho * pi < 1 - 1e-6:
        assert label == pytest.approx(rho * (1 - pi) / (1 - rho * pi), abs=1e-5)
    assert 0 <= label <= 1


def test_posterior_leaves_weights_at_one() -> None:
    batch, cet = _batch(), CET().begin()
    given = scored(batch, _scores(batch), 0.3)
    assert torch.equal(cet.weights(given, _soft_values(given, cet.labels(given))), batch.mask.float())


@pytest.mark.parametrize(
    ("selection", "temperature", "weight"),
    [(0.0, 2.0, 2.0), (10.0, 10.0, 3.7182818), (-10.0, 10.0, 1.3678794), (3.0, 1.0, 1 + math.exp(3))],
)
def test_released_weights_of_pairs(selection: float, temperature: float, weight: float) -> None:
    cet = _with_selection(CET(variant="released", temperature=temperature, clip=None, mean_one=False), selection)
    batch = _batch()
    values = losses(batch, _scores(batch), "pair")
    weights, valid = cet.weights(scored(batch, _scores(batch)), values), values.valid
    assert not weights.requires_grad
    assert weights[valid].tolist() == pytest.approx([weight] * int(valid.sum()), rel=1e-6)
    assert not weights[~valid].any()


def test_ipw_weights_are_centred_clipped_by_the_loser_and_of_mean_one() -> None:
    batch = _batch()
    values = losses(batch, _scores(batch), "pair")
    valid = values.valid

    def weights(shift: float, **options: Any) -> torch.Tensor:
        cet = CET(variant="ipw", temperature=0.05, **options).begin()
        with torch.no_grad():
            list(cet.module.parameters())[-1].add_(shift)
        return cet.weights(scored(batch, _scores(batch)), values)

    plain = weights(0, mean_one=False, clip=None)
    assert torch.allclose(weights(7, mean_one=False, clip=None), plain, rtol=1e-3)
    assert float(plain[valid].std()) > 0.1
    assert bool((plain[valid] > 1).all())
    bound = float(plain[valid].median())
    assert torch.equal(weights(0, mean_one=False, clip=bound), plain.clamp(max=bound))
    assert float(weights(0)[valid].mean()) == pytest.approx(1)
    same_loser = _batch_of_two_winners()
    values = losses(same_loser, _scores(same_loser), "pair")
    cet = CET(variant="ipw", temperature=0.05).begin()
    both = cet.weights(scored(same_loser, _scores(same_loser)), values)[0]
    assert torch.equal(both[0, 2:], both[1, 2:])
    assert both[0, 2] != both[0, 3]


def _batch_of_two_winners() -> Batch:
    return batch_of([group([1, 1, 0, 0], [1, 2, 3, 5])])


@pytest.mark.parametrize("variant", ["posterior", "ipw", "released"])
def test_padding_changes_nothing(variant: Any) -> None:
    groups = [group([1, 0], [1, 3]), group([0, 1, 0, 0], [2, 0, 5, 1])]
    batch, cet = batch_of(groups), CET(variant=variant).begin()
    unit: Unit = "item" if variant == "posterior" else "pair"
    results = []
    for junk in (0.0, 1e9, float("nan")):
        scores = torch.linspace(-1, 2, 8).reshape(2, 4).masked_fill(~batch.mask, junk)
        given = scored(batch, scores)
        labels = cet.labels(given)
        values = _soft_values(given, labels) if variant == "posterior" else losses(batch, scores, unit)
        results.append((labels, cet.weights(given, values), cet.own_loss(given)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@pytest.mark.parametrize("variant", ["posterior", "ipw", "released"])
@pytest.mark.parametrize("unit", ["item", "pair", "list"])
def test_a_loss_of_another_unit_is_refused(variant: Any, unit: Unit) -> None:
    batch, options = _batch(), CET(variant=variant)
    tell_place(options, "recipe.weighting")
    scores = _scores(batch)
    if unit == ("item" if variant == "posterior" else "pair"):
        return
    with pytest.raises(ConfigError, match="bce" if variant == "posterior" else "ranknet") as error:
        options.begin().weights(scored(batch, scores), losses(batch, scores, unit))
    assert error.value.key == "recipe.weighting.variant"


@pytest.mark.parametrize("variant", ["posterior", "ipw", "released"])
def test_other_queries_candidates_are_refused(variant: Any) -> None:
    batch = pooled(_batch())
    with pytest.raises(ConfigError, match="in_batch=false"):
        CET(variant=variant).begin().own_loss(scored(batch, torch.zeros(batch.labels.shape)))


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), MeanSquaredError(), BinaryCrossEntropy(threshold=0.5)])
def test_an_item_loss_that_undoes_soft_labels_is_refused(loss: Any) -> None:
    batch, cet = _batch(), CET().begin()
    given = scored(batch, _scores(batch))
    with pytest.raises(ConfigError, match="threshold=null"):
        cet.weights(given, loss(replace(given, labels=cet.labels(given))))


def test_the_weights_fit_a_loss_of_ours() -> None:
    batch = _batch()
    given = scored(batch, _scores(batch))
    values = RankNet()(given)
    assert CET(variant="ipw").begin().weights(given, values).shape == values.valid.shape


# What learns


@pytest.mark.parametrize("variant", ["posterior", "ipw", "released"])
def test_own_loss_trains_the_module(variant: Any) -> None:
    batch, cet = _batch(), CET(variant=variant).begin()
    loss = cet.own_loss(scored(batch, _scores(batch)))
    loss.backward()
    assert loss.shape == ()
    assert any(bool(parameter.grad.any()) for parameter in cet.module.parameters() if parameter.grad is not None)
    assert 0 < cet.report()["selected"] < 1


def test_own_loss_is_the_cross_entropy_to_the_posterior_of_selection() -> None:
    batch = batch_of([group([1, 0], [1, 2])])
    loss = _with_selection(CET(), _logit(0.3)).own_loss(scored(batch, torch.full((1, 2), _logit(0.8))))
    target = 0.3 * (1 - 0.8) / (1 - 0.8 * 0.3)
    assert float(loss.detach()) == pytest.approx(
        -(math.log(0.3) + target * math.log(0.3) + (1 - target) * math.log(0.7)) / 2
    )


def test_own_loss_of_pairs_is_weighted_by_the_relevance_of_the_loser() -> None:
    batch = batch_of([group([1, 0, 0, 0], [1, 2, 3, 4], judged=[True, False, False, True])])
    cet = _with_selection(CET(variant="released", temperature=2.0, clip=None, mean_one=False), 0.4)
    scores = torch.tensor([[9.0, 2.0, -2.0, 4.0]])  # the last is judged: it was selected, too
    loss = cet.own_loss(scored(batch, scores))
    assert float(loss.detach()) == pytest.approx(math.log(2) * (2 + math.exp(1) + math.exp(-1)) / 2)


@pytest.mark.parametrize("variant", ["ipw", "released"])
def test_no_pair_no_loss(variant: Any) -> None:
    batch = batch_of([group([1, 1], [1, 2]), group([0], [1])])
    loss = CET(variant=variant).begin().own_loss(scored(batch, batch.labels))
    loss.backward()  # a step without pairs is a step all the same
    assert float(loss.detach()) == 0


def test_the_module_is_fixed_by_its_seed_and_leaves_others_draws_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = CET(seed=1).begin().module.state_dict()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(v, first[k]) for k, v in CET(seed=1).begin().module.state_dict().items())
    assert not torch.equal(CET(seed=2).begin().module.state_dict()["0.weight"], first["0.weight"])


def test_training_resumes_from_a_saved_module() -> None:
    batches = [_batch(), batch_of([group([0, 1, 0], [1, 3, 5])])] * 3

    def steps(cet: AppliedCET, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        for number in numbers:
            optimizer.zero_grad()
            cet.own_loss(scored(batches[number], _scores(batches[number], number))).backward()
            optimizer.step()

    whole, first, second = CET().begin(), CET().begin(), CET(seed=9).begin()
    optimizers = [torch.optim.Adam(cet.module.parameters(), lr=0.1) for cet in (whole, first, second)]
    steps(whole, optimizers[0], range(6))
    steps(first, optimizers[1], range(3))
    second.module.load_state_dict(first.module.state_dict())
    optimizers[2].load_state_dict(optimizers[1].state_dict())
    steps(second, optimizers[2], range(3, 6))
    for name, value in whole.module.state_dict().items():
        assert torch.equal(second.module.state_dict()[name], value)
        assert not torch.equal(first.module.state_dict()[name], value)


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 0.0), ("clip", 1.0), ("hidden", 0), ("learning_rate", 0.0)]
)
def test_values_out_of_bounds_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match="must be") as error:
        check({"_target_": "rerankbench.training.weighting.cet.CET", field: value}, "weighting")
    assert error.value.key == f"weighting.{field}"


# A planted bias: relevance and selection each have a cause; a label needs both, and the network sees both causes


class _World:
    """Queries whose documents are relevant by x and selected by z; z, blurred, is the first-stage score."""

    def __init__(self, seed: int, queries: int = 300, documents: int = 40) -> None:
        draw = torch.Generator().manual_seed(seed)
        x, z, blur_x, blur_z = torch.randn(4, queries, documents, generator=draw)
        chance = torch.rand(2, queries, documents, generator=draw)
        self.relevant = chance[0] < torch.sigmoid(2.5 * x - 2.5)
        labels = self.relevant & (chance[1] < torch.sigmoid(2.5 * z - 1))
        seen_z = z + 0.5 * blur_z
        self.features = torch.stack([x + 0.5 * blur_x, seen_z], -1)
        self.groups = []
        for row in range(queries):
            order = seen_z[row].argsort(descending=True)
            ranks = (order.argsort() + 1).tolist()
            self.groups.append(
                group(labels[row].float().tolist(), ranks, seen_z[row][order].tolist(), seen_z[row].tolist())
            )


def _trained(world: _World, cet: AppliedCET | None, seed: int) -> torch.nn.Module:
    """A small network over both features, by cross-entropy, with the weighting or without."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    if cet:
        optimizer.add_param_group({"params": cet.module.parameters(), "lr": cet.learning_rate})
    rows = [slice(start, start + 15) for start in range(0, len(world.groups), 15)]
    batches = [(batch_of(world.groups[row]), world.features[row]) for row in rows]
    for _ in range(15):
        for batch, features in batches:
            scores = network(features).squeeze(-1)
            given = scored(batch, scores)
            labels = cet.labels(given) if cet else batch.labels
            values = binary_cross_entropy_with_logits(scores, labels, reduction="none")
            weights = cet.weights(given, Values(values.detach(), batch.mask)) if cet else 1
            loss = (weights * values).mean() + (cet.own_loss(given) if cet else 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def _ndcg(network: torch.nn.Module, world: _World) -> float:
    """nDCG@10 on who is relevant in truth, labelled or not."""
    with torch.no_grad():
        order = network(world.features).squeeze(-1).argsort(1, descending=True)
    gains = world.relevant.float()
    discount = 1 / torch.log2(torch.arange(2, 12))
    found = (gains.gather(1, order)[:, :10] * discount).sum(1)
    ideal = (gains.sort(1, descending=True).values[:, :10] * discount).sum(1)
    return float((found / ideal)[ideal > 0].mean())


@pytest.mark.parametrize("seed", range(2))
def test_hidden_positives_are_seen_through(seed: int) -> None:
    from scipy.stats import mannwhitneyu

    world, unseen = _World(seed), _World(seed + 100)
    cet = CET(seed=seed, learning_rate=3e-2).begin()
    network = _trained(world, cet, seed)
    naive = _ndcg(_trained(world, None, seed), unseen)
    assert _ndcg(network, unseen) > naive + 0.05

    batch = batch_of(world.groups)
    with torch.no_grad():
        scores = network(world.features).squeeze(-1)
        as_negative = 1 - cet.labels(scored(batch, scores))  # the weight of a document as a negative
    for ranks in ((1, 5), (6, 10), (11, 20)):
        here = (batch.labels == 0) & (batch.ranks >= ranks[0]) & (batch.ranks <= ranks[1])
        hidden, negative = as_negative[here & world.relevant], as_negative[here & ~world.relevant]
        assert mannwhitneyu(hidden, negative, alternative="less").pvalue < 0.01
        assert float(hidden.mean()) < float(negative.mean()) - 0.05
