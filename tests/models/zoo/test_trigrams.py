"""Word hashing: token ids suffice, because the layer knows each token's trigrams."""

from __future__ import annotations

import torch

from rerankbench.models.zoo.trigrams import token_vectors, trigram_layer, trigrams


def test_trigrams_of_words_and_pieces() -> None:
    assert trigrams("cat") == ["#ca", "cat", "at#"]
    assert trigrams("Cat") == trigrams("Ġcat") == trigrams("▁cat") == trigrams("cat")
    assert trigrams("##ing") == ["ing", "ng#"]
    assert trigrams("a") == ["#a#"]
    assert trigrams("##s") == ["s#"]
    assert trigrams("") == ["##"]


def test_a_token_is_the_sum_of_its_trigrams() -> None:
    torch.manual_seed(0)
    layer = trigram_layer(("cat", "at", "caterpillar", "cat"), 5000, 6)
    ids, mask = torch.tensor([[0, 2, 3]]), torch.tensor([[True, True, False]])
    found = token_vectors(layer, ids, mask)
    table = layer.get_buffer("trigrams")
    weight = layer.get_parameter("weight")
    assert torch.allclose(found[0, 0], weight[table[0][:3]].sum(0), atol=1e-6)
    assert not found[0, 2].any()
    assert len(set(table[0].tolist()) & set(table[1].tolist())) == 2  # at# is shared, and the filling
    assert torch.equal(table[0], table[3])


def test_filling_has_no_gradient() -> None:
    layer = trigram_layer(("a", "caterpillar"), 50, 4)
    token_vectors(layer, torch.tensor([[0]]), torch.tensor([[True]])).sum().backward()
    gradient = layer.get_parameter("weight").grad
    assert gradient is not None
    assert int(gradient.abs().sum(1).count_nonzero()) == 1
