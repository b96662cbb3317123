"""Low-rank factors of a linear layer: y = Wx + scale·B·diag(g)·A·x, by a forward hook.

The layer keeps its class, its name and its weights' names; the factors are parameters `lora_A` [r, n], `lora_B`
[m, r] and, where there are gates, `lora_gates` [r] of the layer itself. So a deep copy of the network includes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def attach(
    layer: torch.nn.Linear, a: torch.Tensor, b: torch.Tensor, scale: float, gates: torch.Tensor | None = None
) -> None:
    """Add trainable factors a [r, n], b [m, r] and gates [r] to a layer of weight [m, n]; its weight is frozen."""
    import torch

    layer.requires_grad_(False)
    layer.register_parameter("lora_A", torch.nn.Parameter(a.to(layer.weight)))
    layer.register_parameter("lora_B", torch.nn.Parameter(b.to(layer.weight)))
    layer.register_parameter("lora_gates", None if gates is None else torch.nn.Parameter(gates.to(layer.weight)))
    vars(layer)["lora_scale"] = scale
    vars(layer)["lora_hook"] = layer.register_forward_hook(_add_product)


def attached(network: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """The layers that have factors, by name."""
    import torch

    return {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and "lora_hook" in vars(m)}


def product(layer: torch.nn.Linear) -> torch.Tensor:
    """scale·B·diag(g)·A, [m, n]; ranks whose gate is zero are left out."""
    a, b, gates = layer.get_parameter("lora_A"), layer.get_parameter("lora_B"), layer._parameters["lora_gates"]
    scale: float = vars(layer)["lora_scale"]
    if gates is None:
        return scale * (b @ a)
    active = gates.nonzero()[:, 0]
    return scale * ((b[:, active] * gates[active]) @ a[active])


def fold(network: torch.nn.Module) -> None:
    """Add every product to its weight and remove the factors."""
    import torch

    for layer in attached(network).values():
        with torch.no_grad():
            layer.weight += product(layer)
        vars(layer).pop("lora_hook").remove()
        del vars(layer)["lora_scale"], layer.lora_A, layer.lora_B, layer.lora_gates


def _add_product(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import linear

    low = linear(inputs[0], layer.lora_A)
    if layer.lora_gates is not None:
        low = low * layer.lora_gates
    total: torch.Tensor = output + layer.lora_scale * linear(low, layer.lora_B)
    return total
