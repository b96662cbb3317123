"""AdamW that counts steps for each row or column of a matrix, so that one vector can start again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class RowAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101); with step counts per row or column, by a group's `dim`.

    dim: 0 for rows, 1 for columns, None (the default) for one count a parameter, which is plain AdamW. State of a
    parameter: `exp_avg`, `exp_avg_sq` in its shape, `step` float32 in a shape that broadcasts to it.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "dim": None}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            shape = [size if i == group["dim"] else 1 for i, size in enumerate(parameter.shape)]
            state["step"] = torch.zeros(shape, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        # torch leaves a loaded `step` on the device of the file, which is the CPU.
        step = state["step"] = state["step"].to(parameter.device)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        step += 1
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        size = (square / (1 - beta2**step)).sqrt_().add_(group["eps"])
        parameter.sub_(group["lr"] * (mean / (1 - beta1**step)) / size)
