"""Tokens are drawn with the probabilities of the softmax, cut at top_p."""

from __future__ import annotations

from collections import Counter

import pytest

from rerankbench.models.lm.language_model import Sampling
from rerankbench.models.lm.sampling import Sampler, prompt_seed


def _frequencies(sampling: Sampling, logits: list[float]) -> dict[int, float]:
    import torch

    sampler = Sampler(sampling, [(1, 2, 3)])
    drawn = sampler.choose(torch.tensor([logits] * sampling.n), range(sampling.n))
    return {token: count / sampling.n for token, count in Counter(drawn).items()}


def test_frequencies_are_those_of_the_softmax() -> None:
    import torch

    logits = [0.0, 2.0, 1.0, -1.0]
    for temperature in (0.5, 1.0, 3.0):
        expected = (torch.tensor(logits) / temperature).softmax(-1).tolist()
        found = _frequencies(Sampling(n=20_000, temperature=temperature), logits)
        assert [found.get(token, 0.0) for token in range(4)] == pytest.approx(expected, abs=0.02)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    found = _frequencies(Sampling(n=5_000, top_p=0.7), [0.0, 2.0, 1.0, -1.0])  # 0.09, 0.64, 0.24, 0.03
    assert set(found) == {1, 2}
    assert found[1] == pytest.approx(0.64 / 0.88, abs=0.03)


def test_a_prompt_has_its_own_seed() -> None:
    seeds = {prompt_seed(Sampling(seed=seed), ids) for seed in (0, 1) for ids in ((1, 2), (2, 1), (12,))}
    assert len(seeds) == 6 and all(0 <= seed < 2**31 for seed in seeds)
