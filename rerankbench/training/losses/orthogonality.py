"""A penalty on views of the same thing that are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def orthogonality(views: torch.Tensor) -> torch.Tensor:
    """Σ_{a,b} (cos(view_a, view_b) - [a = b])² of each item: [B, V, d] -> [B]. 0 iff all views are orthogonal.

    To be used on the anchor vectors, one a view. MVP, arXiv 2509.07485.
    """
    import torch
    from torch.nn.functional import normalize

    unit = normalize(views.to(torch.promote_types(views.dtype, torch.float32)), dim=-1)
    identity = torch.eye(views.shape[1], dtype=unit.dtype, device=unit.device)
    return ((unit @ unit.mT - identity) ** 2).sum((1, 2))
