"""Differences to a base network as files, applied at will: bottleneck adapters, and sparse differences of weights.

A folder holds `adapter.safetensors` and `adapter.json`, which names the base by a hash. Several are applied together:
languages and tasks, trained apart, composed at inference (Litschko et al., arXiv 2204.02292).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

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

    base: the base's fingerprint. tensors: of a bottleneck, `PLACE/PARAMETER`; of a sparse difference, `index/NAME`
    (int64 [k], flat places in the weight) and `value/NAME` (float32 [k], to be added), with names as in the base.
    head: the scoring head's parameters, whole, with names as in the network.
    """

    kind: Kind
    base: str
    tensors: dict[str, torch.Tensor]
    head: dict[str, torch.Tensor]


@dataclass
class Applied:
    """What `applied` replaced, so that `removed` can put it back.

    base: fingerprint of the network before. head: names of the head's parameters that were set.
    """

    base: str
    saved: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]] = field(default_factory=list)
    head: list[str] = field(default_factory=list)


def base_fingerprint(network: torch.nn.Module) -> str:
    """A hash of the base's weights, as bfloat16: the same for the network in float32 and in bfloat16, for any head.

    A pooler does not count: not every head has one. Raises ConfigError for float16, whose values are others.
    """
    import torch

    digest = hashlib.sha256()
    for name, parameter in base_parameters(network):
        if name.startswith("pooler."):
            continue
        if parameter.dtype == torch.float16:
            raise ConfigError("model.dtype", "must be float32 or bfloat16 for a model with adapters, not float16")
        digest.update(f"{name} {list(parameter.shape)}".encode())
        digest.update(parameter.detach().to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:32]


def base_parameters(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The base's own parameters by name, adapters excepted; tied ones once."""
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


def load_difference(folder: Path | str) -> Difference:
    """Read a folder that `save_difference` wrote. Raises ConfigError if there is none, DataError if it is broken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header_file, file = Path(folder).expanduser() / "adapter.json", Path(folder).expanduser() / "adapter.safetensors"
    if not header_file.is_file():
        raise ConfigError("model.adapters", f"no adapter in {folder} (there is no adapter.json)")
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


def applied(network: torch.nn.Module, paths: Sequence[str | Sequence[str]], invertible: bool = True) -> Applied:
    """Apply these differences in place: sparse ones are added up, bottlenecks stacked in order, the last head counts.

    A pair of paths is a split: the first bottleneck adapter for the query's tokens, the second for the document's.
    invertible: whether couplings of the embeddings are applied. Raises ConfigError (key `model.adapters`) where there
    is no such folder, or where a difference belongs to another base.
    """
    import torch

    done = Applied(base_fingerprint(network) if paths else "")
    loaded = [[_belonging(done.base, path) for path in ([one] if isinstance(one, str) else one)] for one in paths]
    for group in loaded:
        if len(group) > 2 or not group or (len(group) == 2 and any(part.kind != "bottleneck" for part in group)):
            raise ConfigError("model.adapters", "a list in the list is a pair of bottleneck adapters: query, document")
    with torch.no_grad():
        _add_sparse(network, [part for group in loaded for part in group if part.kind == "sparse"], done)
        own = dict(network.named_parameters())
        for group in loaded:
            if group[0].kind == "bottleneck":
                steps = [_steps(network, part, invertible) for part in group]
                bottleneck.push(network, steps[0] if len(steps) == 1 else _split(steps[0], steps[1]))
            for name, tensor in group[-1].head.items():
                if name in own and own[name].shape != tensor.shape:  # copy_ would broadcast, without a word
                    shapes = f"{list(tensor.shape)}, the network's {list(own[name].shape)}"
                    raise ConfigError("model.adapters", f"the head's {name} is {shapes}")
                if name in own:  # a head of another task, such as a language model's, has no place here
                    done.saved.append((own[name], None, own[name].detach().clone()))
                    own[name].copy_(tensor)
                    done.head.append(name)
    return done


def removed(network: torch.nn.Module, done: Applied) -> None:
    """Undo `applied`, bitwise, by copying back what it replaced; every bottleneck adapter is taken off."""
    import torch

    bottleneck.clear(network)
    with torch.no_grad():
        for parameter, index, values in reversed(done.saved):
            if index is None:
                parameter.copy_(values)
            else:
                parameter.view(-1)[index] = values
    done.saved.clear()


def _belonging(base: str, path: str) -> Difference:
    difference = load_difference(path)
    if difference.base != base:
        raise ConfigError("model.adapters", f"{path} was trained on another base network")
    return difference


def _add_sparse(network: torch.nn.Module, differences: list[Difference], done: Applied) -> None:
    """Add all differences to the weights at once, in float64, so that their order makes no difference."""
    import torch

    own = dict(base_parameters(network))
    names = sorted(
        {name.removeprefix("index/") for d in differences for name in d.tensors if name.startswith("index/")}
    )
    for name in names:
        if name not in own:
            continue  # such as a pooler, where the network has none
        parameter = own[name]
        parts = [
            (d.tensors[f"index/{name}"], d.tensors[f"value/{name}"])
            for d in differences
            if f"index/{name}" in d.tensors
        ]
        index = torch.unique(torch.cat([flat for flat, _ in parts]))
        total = torch.zeros(len(index), dtype=torch.float64)
        for flat, values in parts:
            total[torch.searchsorted(index, flat)] += values.double()
        index = index.to(parameter.device)
        before = parameter.view(-1)[index]
        done.saved.append((parameter, index, before))
        parameter.view(-1)[index] = (before.double() + total.to(before.device)).to(parameter.dtype)


def _steps(network: torch.nn.Module, difference: Difference, invertible: bool) -> dict[str, torch.nn.Module]:
    """The modules of a bottleneck adapter, by place."""
    steps: dict[str, torch.nn.Module] = {}
    for place in sorted({name.partition("/")[0] for name in difference.tensors}):
        own = {n.partition("/")[2]: t for n, t in difference.tensors.items() if n.partition("/")[0] == place}
        if place == EMBEDDINGS and not invertible:
            continue
        middle = len(own["f.down.bias" if place == EMBEDDINGS else "down.bias"])
        make = bottleneck.coupling if place == EMBEDDINGS else bottleneck.bottleneck
        steps[place] = make(bottleneck.width(network), middle)
        steps[place].load_state_dict(own)
    return steps


def _split(query: dict[str, torch.nn.Module], document: dict[str, torch.nn.Module]) -> dict[str, torch.nn.Module]:
    import torch

    if query.keys() != document.keys():
        raise ConfigError("model.adapters", "the two adapters of a split must adapt the same places")
    return {place: torch.nn.ModuleList([query[place], document[place]]) for place in query}
