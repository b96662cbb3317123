"""What holds for every network: padding and company change nothing, gradients flow where they should, it learns."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.models.zoo.network import Network
from tests.models.zoo.toy_ranker import NETWORKS, VOCABULARY, pairs, scores, toy

EVERY = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


@EVERY
@pytest.mark.parametrize(("before", "after"), [(0, 100), (100, 0), (3, 1)])
def test_padding_changes_no_score(network: Network, before: int, after: int) -> None:
    module, batch = toy(network), pairs(1, 12)
    assert scores(module, batch, before, after).tolist() == pytest.approx(scores(module, batch).tolist(), abs=1e-5)


@EVERY
def test_the_company_changes_no_score(network: Network) -> None:
    module, batch = toy(network), pairs(2, 12)
    together = scores(module, batch).tolist()
    assert [scores(module, [pair]).tolist()[0] for pair in batch] == pytest.approx(together, abs=1e-5)
    assert scores(module, batch[::-1]).tolist()[::-1] == pytest.approx(together, abs=1e-5)
    assert max(together) - min(together) > 1e-4


@EVERY
def test_scores_and_gradients_are_finite_for_the_shortest_texts(network: Network) -> None:
    module = toy(network)
    for batch in ([([4], [5])], [([4], [4])], [([], [5, 6])], [([4], [])], [([], [])], [([4, 5], [4]), ([6], [])]):
        module.zero_grad()
        found = scores(module, batch)
        assert found.shape == (len(batch),)
        assert found.isfinite().all()
        found.sum().backward()
        assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


@EVERY
def test_gradients_reach_every_parameter_and_no_frozen_embedding(network: Network) -> None:
    module = toy(network)
    scores(module, [([3, 4, 5], [4, 6, 3, 5, 8, 9]), ([7], [7, 7, 3])]).square().sum().backward()
    assert sum(p.numel() for p in module.parameters()) > 0
    untouched = {name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()}
    # kernel biases aside, ReLU may silence a unit, never a whole layer's weight
    assert not untouched
    names = dict(module.named_parameters())
    assert ("table" in names) == (network.embeddings == "trained")
    assert ("table" in module.state_dict()) == (network.embeddings != "none")
    if network.embeddings == "frozen":
        assert not module.get_buffer("table").requires_grad


@EVERY
def test_a_toy_task_is_learnt(network: Network) -> None:
    module = toy(network, seed=5)
    draw = random.Random(0)
    wins, loses = [], []
    for i in range(8):
        query = [3 + i, 3 + (i + 1) % 10]
        other = [token for token in range(3, len(VOCABULARY)) if token not in query]
        wins.append((query, [*draw.sample(other, 3), *query, *draw.sample(other, 3)]))
        loses.append((query, draw.sample(other, 8)))
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        gaps = scores(module, wins) - scores(module, loses)
        loss = torch.nn.functional.softplus(-gaps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    module.eval()
    assert int((scores(module, wins) > scores(module, loses)).sum()) >= 7


@EVERY
def test_the_seed_decides_the_weights(network: Network) -> None:
    batch = pairs(3, 6)
    one, same, other = (scores(toy(network, seed), batch).tolist() for seed in (0, 0, 1))
    assert one == same != other


@EVERY
def test_only_the_document_frequencies_of_the_query_count(network: Network) -> None:
    module, batch = toy(network), [([3, 4], [4, 5, 6]), ([5, 3], [3, 3, 6, 7])]
    changed = copy.deepcopy(module)
    changed.get_buffer("idf")[[6, 7]] = 99.0
    assert torch.equal(scores(changed, batch), scores(module, batch))


@EVERY
def test_what_is_beyond_the_longest_input_is_not_read(network: Network) -> None:
    module = toy(network)
    query, document = [3, 4, 5, 6, 7, 8], [3, 9, 10] * 10
    more = [([*query, 9, 9], document + [3] * 5)]
    assert torch.equal(scores(module, more), scores(module, [(query, document)]))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("dssm", {"hidden": 0}), ("dssm", {"gamma": 0.0}), ("cdssm", {"words": 0}), ("cdssm", {"gamma": -1.0}),
        ("arc_i", {"blocks": 0}), ("arc_ii", {"rows": 0}), ("match_pyramid", {"columns": 0}), ("drmm", {"bins": 1}),
        ("knrm", {"kernels": 1}), ("conv_knrm", {"longest": 0}), ("duet", {"dropout": 1.0}), ("duet", {"window": 0}),
        ("anmm", {"bins": 1}), ("pacrr", {"k": 0}),
    ],
)  # fmt: skip
def test_impossible_sizes_are_refused(kind: str, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as error:
        check({"_target_": type(NETWORKS[kind]), **wrong}, "network")
    assert error.value.key == f"network.{next(iter(wrong))}"


def test_a_window_longer_than_the_document_is_refused() -> None:
    from rerankbench.models.zoo.duet import DUET

    with pytest.raises(ConfigError, match=r"^window: must be at most max_document=30, got 31"):
        toy(DUET(window=31))


def test_windows_without_a_token_say_nothing_in_duet() -> None:
    module = toy(NETWORKS["duet"])
    scores(module, [([3, 4], [5, 6, 3])]).sum().backward()
    gradient = module.get_parameter("layers.distributed.0.weight").grad
    assert gradient is not None
    assert gradient[:, : 3 * 8].any()
    assert not gradient[:, 3 * 8 :].any()
