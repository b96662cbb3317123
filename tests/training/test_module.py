"""The loss of a step does not depend on how its inputs are read, and every reading has the same gradients."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from rerankbench.training.trainees.bi_encoder import BiEncoderTrainee
from rerankbench.training.trainees.cross_encoder import CrossEncoderTrainee

from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.losses.pairwise import RankNet
from rerankbench.training.module import Learner
from tests.models.toy_model import on_cpu, save
from tests.training.trainees.toy_groups import flat, groups, scores

Kind = Literal["cross_encoder", "bi_encoder", "in_batch"]
KINDS: list[Kind] = ["cross_encoder", "bi_encoder", "in_batch"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("encoder"), "BertForSequenceClassification")


def _learner(path: str, kind: Kind, budget: int = 10**6, recompute: bool = False) -> Learner:
    trainee: Any = (
        CrossEncoderTrainee(CrossEncoder(model=on_cpu(path)))
        if kind == "cross_encoder"
        else BiEncoderTrainee(BiEncoder(model=on_cpu(path)))
    )
    return Learner(trainee, LocalizedContrastive(temperature=0.2), None, kind == "in_batch", budget, recompute)


def _step(learner: Learner, *parts: Any, seed: int | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    """The summed loss of these groups, and its gradients. seed: with dropout, drawn from it; None without."""
    learner.train(seed is not None)
    learner.zero_grad()
    torch.manual_seed(seed or 0)
    total = sum(learner(list(part)) for part in parts)
    assert isinstance(total, torch.Tensor)
    total.backward()
    gradients = {n: p.grad.clone() for n, p in learner.network.named_parameters() if p.grad is not None}
    assert sum(bool(g.any()) for g in gradients.values()) > 20
    return float(total), gradients


def _same(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-6, abs=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [None, 3], ids=["plain", "dropout"])
def test_activations_made_again_give_the_same_loss_and_gradients(encoder: str, kind: Kind, seed: int | None) -> None:
    own = groups(3, 5, 2)
    kept = _step(_learner(encoder, kind, 64), own, seed=seed)
    made_again = _step(_learner(encoder, kind, 64, recompute=True), own, seed=seed)
    _same(made_again, kept)
    if seed is not None:
        assert kept[0] != pytest.approx(_step(_learner(encoder, kind, 64), own)[0], rel=1e-3), "dropout does something"


@pytest.mark.parametrize("kind", KINDS)
def test_the_token_budget_changes_nothing(encoder: str, kind: Kind) -> None:
    own = groups(3, 5, 2)
    whole = _step(_learner(encoder, kind), own)
    for budget in (1, 40, 100):
        _same(_step(_learner(encoder, kind, budget), own), whole)


@pytest.mark.parametrize("kind", ["cross_encoder", "bi_encoder"])
def test_the_loss_of_parts_adds_up(encoder: str, kind: Kind) -> None:
    own = groups(3, 5, 2, 1)
    learner = _learner(encoder, kind)
    _same(_step(learner, own[:1], own[1:]), _step(learner, own))
    assert learner.count(own) == learner.count(own[:1]) + learner.count(own[1:]) == 3, "one has no negative"
    learner.loss = RankNet(reduction="global")
    assert learner.count(own) == 2 + 4 + 1
    _same(_step(learner, own[:1], own[1:]), _step(learner, own))


def test_scores_leave_the_network_as_it_was(encoder: str) -> None:
    learner, own = _learner(encoder, "cross_encoder", 64), groups(3, 5, 2)
    learner.train()
    tally = learner.tally
    found = learner.score(own)
    assert learner.network.training
    assert learner.tally is tally
    assert [len(row) for row in found] == [3, 5, 2]
    learner.eval()
    assert flat(found) == pytest.approx(flat(scores(learner.trainee, own)), abs=1e-5)
    assert all(p.grad is None for p in learner.parameters())


def test_the_tally_counts_tokens_pairs_and_padding(encoder: str) -> None:
    learner, own = _learner(encoder, "cross_encoder", 64), groups(3, 5, 2)
    learner(own)
    lengths = [learner.trainee.length(item) for item in learner.trainee.inputs(own)]
    assert (learner.tally.tokens, learner.tally.pairs) == (sum(lengths), 10)
    assert sum(lengths) <= learner.tally.padded < 10 * max(lengths)
    spread = learner.tally.means()["scores/spread"]
    rows = learner.score(own)
    assert spread == pytest.approx(sum(float(torch.tensor(row).std(correction=0)) for row in rows) / 3, abs=1e-4)
