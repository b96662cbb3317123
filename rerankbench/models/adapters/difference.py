"""Differences to a base network as files: bottleneck adapters, and sparse differences of weights.

A folder holds `adapter.safetensors` and `adapter.json`, which names the base by a hash. Several are applied together:
languages and tasks, trained apart, composed at inference (Litschko et al., arXiv 2204.02292).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from rerankbench.errors import ConfigError, DataError
from rerankbench.models.adapters import bottleneck
from rerankbench.models.adapters.bottleneck import EMBEDDINGS, base_of

if TYPE_CHECKING:
    import torch

SCHEMA = 1
Kind = Literal["bottleneck", "sparse"]


@dataclass(frozen=True)
class Difference:
    """What distinguishes an adapted network from its base.

    base: the base's fingerprint. tensors: of a bottleneck, `MODULE/PARAMETER`; of a sparse difference, `index/NAME`
    (int64 [k], indices into the flat weight) and `value/NAME` (float32 [k], to be added), with names as in the base.
    head: the scoring head's parameters, whole, with names as in the network.
    """

    kind: Kind
    base: str
    tensors: dict[str, torch.Tensor]
    head: dict[str, torch.Tensor]


class AppliedDifferences(NamedTuple):
    """base: fingerprint of the network before. head: names of the head's parameters that were set."""

    base: str
    head: set[str]


def base_fingerprint(network: torch.nn.Module) -> str:
    """A hash of the base's weights, as bfloat16: the same for the network in float32 and in bfloat16, for any head.

    A pooler does not count: not every head has one.
    """
    import torch

    digest = hashlib.sha256()
    for name, parameter in base_parameters(network):
        if name.startswith("pooler."):
            continue
        digest.update(f"{name} {list(parameter.shape)}".encode())
        digest.update(parameter.detach().to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:32]


def base_parameters(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The base's own parameters by name, without adapters; tied ones once."""
    for name, parameter in base_of(network).named_parameters():
        if ".adapters." not in f".{name}":
            yield name, parameter


def save_difference(folder: Path, difference: Difference) -> None:
    """Write the difference to a new or existing folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"part/{name}": tensor for name, tensor in difference.tensors.items()}
    tensors |= {f"head/{name}": tensor for name, tensor in difference.head.items()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / "adapter.safetensors")
    header = {"schema": SCHEMA, "kind": difference.kind, "base": difference.base}
    (folder / "adapter.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")


def load_difference(folder: Path | str, key: str = "") -> Difference:
    """Read a folder that `save_difference` wrote. key: where the configuration names the folder.

    Raises ConfigError (with the key) if there is none, DataError if it is broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header_file, file = Path(folder).expanduser() / "adapter.json", Path(folder).expanduser() / "adapter.safetensors"
    if not header_file.is_file():
        raise ConfigError(key, f"no adapter in {folder} (there is no adapter.json)")
    try:
        header = json.loads(header_file.read_text(encoding="utf-8"))
        schema, kind, base = int(header["schema"]), header["kind"], str(header["base"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(header_file, f"is no header of an adapter: {error!r}") from error
    if schema > SCHEMA:
        raise DataError(header_file, f"written by a newer rerankbench (schema {schema} > {SCHEMA}); upgrade")
    if kind not in get_args(Kind):
        raise DataError(header_file, f"unknown kind {kind!r}")
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(file, f"cannot be read: {error}") from error
    parts = {name.removeprefix("part/"): tensor for name, tensor in tensors.items() if name.startswith("part/")}
    head = {name.removeprefix("head/"): tensor for name, tensor in tensors.items() if name.startswith("head/")}
    return Difference(kind, base, parts, head)


def apply_differences(
    network: torch.nn.Module, paths: Sequence[str | Sequence[str]], key: str = ""
) -> AppliedDifferences:
    """Apply these folders in place: sparse ones are summed, bottlenecks stacked in order, the last head counts.

    A pair of paths is a split: the first bottleneck adapter for the query's tokens, the second for the document's.
    key: where the configuration names the paths. Raises ConfigError (with the key) where there is no such folder, where
    a difference belongs to another base, and for float16, in which no base is recognised.
    """
    import torch

    if any(parameter.dtype == torch.float16 for _, parameter in base_parameters(network)):
        raise ConfigError(key, "needs a model in float32 or bfloat16, not in float16")
    base, head = base_fingerprint(network), set[str]()
    loaded = [[load_difference(path, key) for path in ([one] if isinstance(one, str) else one)] for one in paths]
    for group, path in zip(loaded, paths, strict=True):
        if any(difference.base != base for difference in group):
            raise ConfigError(key, f"{path} was trained on another base network")
        if len(group) > 2 or not group or (len(group) == 2 and any(part.kind != "bottleneck" for part in group)):
            raise ConfigError(key, "a list in the list is a pair of bottleneck adapters: query, document")
    with torch.no_grad():
        _add_sparse(network, [part for group in loaded for part in group if part.kind == "sparse"])
        parameters = dict(network.named_parameters())
        for group in loaded:
            if group[0].kind == "bottleneck":
                parts = [_adapters(network, part) for part in group]
                if parts[0].keys() != parts[-1].keys():
                    raise ConfigError(key, "the two adapters of a split must adapt the same modules")
                split = {name: torch.nn.ModuleList([part[name] for part in parts]) for name in parts[0]}
                bottleneck.add_adapters(network, parts[0] if len(parts) == 1 else split)
            for name, tensor in group[-1].head.items():
                if name not in parameters:  # a head of another task, such as a language model's
                    continue
                if parameters[name].shape != tensor.shape:  # copy_ would broadcast silently
                    shapes = f"{list(tensor.shape)}, the network's {list(parameters[name].shape)}"
                    raise ConfigError(key, f"the head's {name} is {shapes}")
                parameters[name].copy_(tensor)
                head.add(name)
    return AppliedDifferences(base, head)


def _add_sparse(network: torch.nn.Module, differences: list[Difference]) -> None:
    """Add all differences to the weights at once, in float64, so that their order makes no difference."""
    import torch

    for name, parameter in base_parameters(network):  # a pooler's differences are lost where the network has none
        parts = [
            (d.tensors[f"index/{name}"], d.tensors[f"value/{name}"])
            for d in differences
            if f"index/{name}" in d.tensors
        ]
        if not parts:
            continue
        index = torch.unique(torch.cat([indices for indices, _ in parts]))
        total = torch.zeros(len(index), dtype=torch.float64)
        for indices, values in parts:
            total[torch.searchsorted(index, indices)] += values.double()
        index = index.to(parameter.device)
        before = parameter.view(-1)[index]
        parameter.view(-1)[index] = (before.double() + total.to(before.device)).to(parameter.dtype)


def _adapters(network: torch.nn.Module, difference: Difference) -> dict[str, torch.nn.Module]:
    """A bottleneck difference as modules, by the names of the modules that they adapt."""
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in sorted(difference.tensors.items()):
        module, _, parameter = name.partition("/")
        states.setdefault(module, {})[parameter] = tensor
    adapters = {}
    for name, state in states.items():
        coupled = name == EMBEDDINGS
        make = bottleneck.coupling if coupled else bottleneck.bottleneck
        middle = len(state["f.down.bias" if coupled else "down.bias"])
        adapters[name] = make(bottleneck.hidden_size(network), middle)
        adapters[name].load_state_dict(state)
    return adapters
