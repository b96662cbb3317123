"""The penalty on views that are alike."""

from __future__ import annotations

import pytest
import torch

from rerankbench.training.losses.orthogonality import orthogonality


def test_values() -> None:
    views = torch.tensor(
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]], [[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64
    )
    assert orthogonality(views).tolist() == pytest.approx([0, 0.72, 2])
    assert orthogonality(7 * views).tolist() == pytest.approx([0, 0.72, 2])


def test_gradient_and_empty_views() -> None:
    views = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(orthogonality, (views,))
    assert orthogonality(torch.zeros(1, 2, 4, dtype=torch.bfloat16)).isfinite().all()
