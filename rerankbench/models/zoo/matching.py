"""What the networks share: similarities of all pairs of tokens, and ways to pool them that padding cannot enter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rerankbench.models.zoo.network import Text

if TYPE_CHECKING:
    import torch


def cells(query: Text, document: Text) -> torch.Tensor:
    """Which pairs of tokens are real, [B, Q, D] bool."""
    return query.mask[:, :, None] & document.mask[:, None, :]


def exact(query: Text, document: Text) -> torch.Tensor:
    """Which pairs are the same token, [B, Q, D] bool."""
    return (query.ids[:, :, None] == document.ids[:, None, :]) & cells(query, document)


def cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines of all pairs of vectors, [B, Q, H] and [B, D, H] -> [B, Q, D]; 0 with a zero vector."""
    from torch.nn.functional import normalize

    return normalize(first, dim=-1) @ normalize(second, dim=-1).transpose(1, 2)


def similarity(query: Text, document: Text) -> torch.Tensor:
    """Cosines of the embeddings, [B, Q, D]: exactly 1 for the same token, 0 in padding."""
    cosines = cosine(query.vectors, document.vectors)
    return cosines.masked_fill(exact(query, document), 1.0) * cells(query, document)


def softmax(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Over the last dimension, of the real cells only; all zero where there is none. Both [B, T]."""
    import torch

    filled = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    return filled.softmax(-1) * mask


def kernels(similarities: torch.Tensor, query: Text, document: Text, count: int, log1p: bool) -> torch.Tensor:
    """Soft match counts by `count` RBF kernels, log-summed over the query, [B, Q, D] -> [B, count].

    The first kernel (mean 1, width 0.001) counts exact matches; the others cover [-1, 1] evenly: with 11, means ±0.1,
    ±0.3, … and width 0.1. The mask comes before the sum over the document: a padded cell's zero is a similarity, too.
    Xiong et al., arXiv 1706.06613.
    """
    import torch

    step = 2 / (count - 1)
    means = [1.0] + [1 - step * (i + 0.5) for i in range(count - 1)]
    widths = [0.001] + [step / 2] * (count - 1)
    mean, width = similarities.new_tensor(means), similarities.new_tensor(widths)
    hits = torch.exp(-((similarities.float().unsqueeze(-1) - mean) ** 2) / (2 * width**2))  # [B, Q, D, K]
    counts = (hits * document.mask[:, None, :, None]).sum(2)
    logs = counts.log1p() if log1p else 0.01 * counts.clamp(min=1e-10).log()
    return (logs * query.mask[:, :, None]).sum(1)


def histogram(similarities: torch.Tensor, weights: torch.Tensor, bins: int) -> torch.Tensor:
    """Sums of weights by similarity, [B, Q, D] twice -> [B, Q, bins].

    The last bin is of exact matches (above 0.999); the others divide [-1, 1] evenly. Padded cells must weigh 0.
    """
    inner = bins - 1
    places = ((similarities + 1) / 2 * inner).long().clamp(0, inner - 1).masked_fill(similarities > 0.999, inner)
    return weights.new_zeros(*weights.shape[:2], bins).scatter_add(2, places, weights)


def ngrams(layer: Any, vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A Conv1d over the n-gram that begins at each token, [B, T, H] -> [B, T, F]; zero where there is no token."""
    from torch.nn.functional import pad

    padded = pad(vectors.transpose(1, 2), (0, layer.kernel_size[0] - 1))
    outputs: torch.Tensor = layer(padded).transpose(1, 2)
    return outputs * mask.unsqueeze(-1)


def grid_max(image: torch.Tensor, query: Text, document: Text, rows: int, columns: int) -> torch.Tensor:
    """The largest values of a rows × columns grid laid over the real part of an image, [B, C, Q, D] -> [B, C, r, c].

    The values must be ≥ 0; the grid follows each pair's own lengths, and a text shorter than the grid is stretched
    (dynamic pooling, Socher et al., NIPS 2011).
    """
    import torch

    across = [(image * part[:, None, None, :]).amax(3) for part in _parts(document.mask, columns)]  # each [B, C, Q]
    stripes = torch.stack(across, 3)
    return torch.stack([(stripes * part[:, None, :, None]).amax(2) for part in _parts(query.mask, rows)], 2)


def _parts(mask: torch.Tensor, count: int) -> list[torch.Tensor]:
    """The real tokens in `count` parts of even size, each [B, T] bool; they overlap where there are too few."""
    import torch

    lengths = mask.sum(1, keepdim=True)
    places = torch.arange(mask.shape[1], device=mask.device)
    starts = [lengths * i // count for i in range(count)]
    ends = [-(-lengths * (i + 1) // count) for i in range(count)]
    return [(places >= start) & (places < end) & mask for start, end in zip(starts, ends, strict=True)]
