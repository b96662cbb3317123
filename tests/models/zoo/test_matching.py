"""The shared pieces against plain loops over the real tokens."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.models.zoo import matching
from rerankbench.models.zoo.network import Text


def _text(lengths: list[int], seed: int, width: int = 3) -> Text:
    generator = torch.Generator().manual_seed(seed)
    longest = max(1, *lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    ids = torch.randint(0, 5, mask.shape, generator=generator)
    vectors = torch.randn(5, width, generator=torch.Generator().manual_seed(9))[ids] * mask.unsqueeze(-1)
    return Text(ids, mask, vectors)


lengths = st.lists(st.integers(0, 7), min_size=2, max_size=2)


@given(lengths, lengths, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_similarity_is_the_cosine_and_one_for_the_same_token(q: list[int], d: list[int], seed: int) -> None:
    query, document = _text(q, seed), _text(d, seed + 1)
    found = matching.similarity(query, document)
    for b in range(2):
        for i in range(found.shape[1]):
            for j in range(found.shape[2]):
                value = float(found[b, i, j])
                if i >= q[b] or j >= d[b]:
                    assert value == 0
                elif query.ids[b, i] == document.ids[b, j]:
                    assert value == 1
                else:
                    pair = (query.vectors[b, i], document.vectors[b, j])
                    assert value == pytest.approx(float(torch.cosine_similarity(*pair, dim=0)), abs=1e-6)


@given(lengths, lengths, st.integers(0, 99), st.booleans())
@settings(deadline=None, max_examples=30)
def test_kernels_are_masked_before_the_sum(q: list[int], d: list[int], seed: int, log1p: bool) -> None:
    query, document = _text(q, seed), _text(d, seed + 1)
    similarities = matching.similarity(query, document)
    found = matching.kernels(similarities, query, document, 11, log1p)
    means = [1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9]
    for b in range(2):
        for k, mean in enumerate(means):
            width = 0.1 if k else 0.001
            expected = 0.0
            for i in range(q[b]):
                values = [float(similarities[b, i, j]) for j in range(d[b])]
                count = sum(math.exp(-((value - mean) ** 2) / (2 * width**2)) for value in values)
                expected += math.log1p(count) if log1p else 0.01 * math.log(max(count, 1e-10))
            assert float(found[b, k]) == pytest.approx(expected, abs=1e-4)


def test_a_padded_cell_would_have_been_a_soft_match() -> None:
    """The trap itself: unmasked, each pad adds exp(-1/2) to the kernels at ±0.1."""
    query, document = _text([1], 0), _text([2], 1)
    longer = Text(*(torch.cat([part, torch.zeros_like(part)], 1) for part in (document.ids, document.mask)),
                  torch.cat([document.vectors, torch.zeros_like(document.vectors)], 1))  # fmt: skip
    short, long = (matching.kernels(matching.similarity(query, d), query, d, 11, True) for d in (document, longer))
    assert torch.allclose(short, long, atol=1e-6)
    unmasked = Text(longer.ids, torch.ones_like(longer.mask), longer.vectors)
    wrong = matching.kernels(matching.similarity(query, longer), query, unmasked, 11, True)
    assert float(wrong[0, 5].expm1() - short[0, 5].expm1()) == pytest.approx(2 * math.exp(-0.5), abs=1e-4)


@given(lengths, lengths, st.integers(0, 99), st.integers(2, 31))
@settings(deadline=None, max_examples=40)
def test_histograms_count_real_cells_once(q: list[int], d: list[int], seed: int, bins: int) -> None:
    query, document = _text(q, seed), _text(d, seed + 1)
    similarities, real = matching.similarity(query, document), matching.cells(query, document).float()
    counts = matching.histogram(similarities, real, bins)
    assert torch.equal(counts.sum(2), real.sum(2))  # none of the padding, no real cell lost
    assert torch.equal(counts[:, :, -1], matching.exact(query, document).sum(2).float())
    sums = matching.histogram(similarities, similarities, bins)
    assert torch.allclose(sums.sum(2), similarities.sum(2), atol=1e-5)


def test_histogram_places() -> None:
    values = torch.tensor([[[-1.0, -0.51, -0.49, 0.0, 0.998, 0.9995, 1.0]]])
    found = matching.histogram(values, torch.ones_like(values), 5)
    assert found.tolist() == [[[2.0, 1.0, 1.0, 1.0, 2.0]]]


@given(lengths, lengths, st.integers(0, 99), st.integers(1, 4), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_the_grid_follows_each_pair(q: list[int], d: list[int], seed: int, rows: int, columns: int) -> None:
    query, document = _text(q, seed), _text(d, seed + 1)
    shape = (2, 3, *matching.cells(query, document).shape[1:])
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * matching.cells(query, document)[:, None]
    found = matching.grid_max(image, query, document, rows, columns)
    for b in range(2):
        if q[b] and d[b]:
            real = image[b, :, : q[b], : d[b]]
            expected = torch.nn.functional.adaptive_max_pool2d(real, (rows, columns))
            assert torch.allclose(found[b], expected)
        else:
            assert not found[b].any()


def test_ngrams_begin_at_each_token_and_end_with_zeros() -> None:
    layer = torch.nn.Conv1d(2, 1, 3, bias=False)
    torch.nn.init.ones_(layer.weight)
    vectors = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 1.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, True, False]])
    assert matching.ngrams(layer, vectors, mask)[0, :, 0].tolist() == [7.0, 6.0, 4.0, 0.0]


def test_softmax_is_over_the_real_cells() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    found = matching.softmax(torch.tensor([[1.0, 1.0, 9.0], [1.0, 2.0, 3.0]]), mask)
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
