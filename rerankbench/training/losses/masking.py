"""Softmax, pairs and ranks over lists with padding: a list is a row of [B, N]; padded cells have mask False."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def log_softmax(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-softmax over the cells with mask True; 0 elsewhere."""
    # The lowest finite number, not -inf: a row with no cell at all would be nan, and 0 · nan is nan in the gradient.
    return scores.masked_fill(~mask, _lowest(scores)).log_softmax(-1).masked_fill(~mask, 0)


def logsumexp(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp over the last dimension's cells with mask True; the lowest finite number, about, if there is none."""
    return scores.masked_fill(~mask, _lowest(scores)).logsumexp(-1)


def _lowest(scores: torch.Tensor) -> float:
    import torch

    return torch.finfo(scores.dtype).min


def differences(values: torch.Tensor) -> torch.Tensor:
    """values[i] - values[j] in row i, column j: [B, N] -> [B, N, N]."""
    return values[:, :, None] - values[:, None, :]


def distinct_pairs(mask: torch.Tensor) -> torch.Tensor:
    """Pairs of two different candidates, none padded: [B, N, N]."""
    import torch

    return mask[:, :, None] & mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)


def ordered_pairs(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pairs whose row has the higher label: [B, N, N]. A tie is no pair."""
    return distinct_pairs(mask) & (labels[:, :, None] > labels[:, None, :])


def has_levels(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Lists with two different labels: [B]. Others have no order to learn."""
    import torch

    highest = labels.masked_fill(~mask, -torch.inf).amax(1)
    return mask.any(1) & (highest > labels.masked_fill(~mask, torch.inf).amin(1))


def ranks(keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Ranks from 1 by keys, highest first, ties in the order given, padding last: [B, N] int64, without gradient."""
    import torch

    order = keys.detach().masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1) + 1


def average_ranks(keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Ranks from 1 by keys, highest first, ties at the mean of their places: [B, N] float, without gradient."""
    keys = keys.detach()
    pairs = distinct_pairs(mask)
    above = (keys[:, None, :] > keys[:, :, None]) & pairs
    tied = (keys[:, None, :] == keys[:, :, None]) & pairs
    return (1 + above.sum(2) + tied.sum(2) / 2).to(keys.dtype)


def soft_ranks(scores: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
    """Differentiable ranks 1 + Σ_{j≠i} σ((s_j - s_i)/T): [B, N]. Qin et al., Information Retrieval 2010."""
    ahead = (-differences(scores) / temperature).sigmoid()
    return 1 + (ahead * distinct_pairs(mask)).sum(2)
