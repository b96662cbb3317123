"""What holds for every adaptation: outputs stay at `apply` and `merge`, the rest is frozen, a resumed run is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.options import conf_folder
from rerankbench.errors import ConfigError
from rerankbench.training.adaptation.bottleneck import Bottleneck
from rerankbench.training.adaptation.codyra import CoDyRA
from rerankbench.training.adaptation.freeze import Freeze
from rerankbench.training.adaptation.lora import LoRA
from rerankbench.training.adaptation.sparse_mask import SparseMask
from rerankbench.training.adaptation.switch_lora import SwitchLoRA
from tests.training.adaptation.toy_training import KINDS, changed, network, optimizer_of, outputs, train, twin, values

Make = Callable[[], Any]
ADAPTATIONS: dict[str, Make] = {
    "freeze": lambda: Freeze(layers=1),
    "lora": lambda: LoRA(rank=4),
    "rslora": lambda: LoRA(rank=4, rslora=True),
    "dora": lambda: LoRA(rank=4, dora=True),
    "switch_lora": lambda: SwitchLoRA(rank=4, interval=2, freeze=1, ratio=1.0),
    "switch_lora_resting": lambda: SwitchLoRA(rank=6, interval=6, freeze=3, ratio=1.0),
    "switch_lora_random": lambda: SwitchLoRA(rank=4, interval=2, freeze=1, ratio=1.0, order="random"),
    "codyra": lambda: CoDyRA(rank=4, threshold=0.5),
    "codyra_released": lambda: CoDyRA(rank=4, threshold=0.5, variant="released"),
    "bottleneck": lambda: Bottleneck(reduction=4),
    "invertible": lambda: Bottleneck(reduction=4, invertible=True),
    "sparse_mask": lambda: SparseMask(weights=0.05, full=0.5),
}
every_adaptation = pytest.mark.parametrize("name", ADAPTATIONS)
every_network = pytest.mark.parametrize("kind", KINDS)


def _adapted(name: str, kind: str, learning_rate: float = 0.01) -> tuple[Any, Any, Any]:
    net, adaptation = network(kind), ADAPTATIONS[name]()
    adaptation.apply(net, seed=3)
    return net, adaptation, optimizer_of(net, adaptation, learning_rate)


@every_network
@every_adaptation
def test_applying_it_leaves_the_outputs_as_they_were(name: str, kind: str) -> None:
    before = outputs(network(kind))
    net, _, _ = _adapted(name, kind)
    torch.testing.assert_close(outputs(net), before, atol=1e-5, rtol=0)


@every_network
@every_adaptation
def test_training_moves_the_outputs_and_what_is_frozen_stays_bitwise(name: str, kind: str) -> None:
    net, adaptation, optimizer = _adapted(name, kind)
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    before, there = values(net), outputs(net)
    train(net, adaptation, optimizer, range(6), 6)
    assert not torch.allclose(outputs(net), there, atol=1e-3)
    moved = changed(net, before)
    # SwitchLoRA's weights take up what switched vectors leave; no others do.
    assert not {n for n in moved & frozen if not (name.startswith("switch") and "weight" in n)}
    assert frozen


@every_network
@every_adaptation
def test_merging_gives_a_plain_network_with_the_same_outputs(name: str, kind: str) -> None:
    net, adaptation, optimizer = _adapted(name, kind)
    plain = set(network(kind).state_dict())
    train(net, adaptation, optimizer, range(6), 6)
    before = outputs(net)
    adaptation.merge(net.eval())
    torch.testing.assert_close(outputs(net), before, atol=1e-5, rtol=1e-5)
    assert all(parameter.requires_grad for parameter in net.parameters())
    if name not in ("bottleneck", "invertible"):  # these cannot be merged
        assert set(net.state_dict()) == plain


@every_adaptation
def test_merging_a_copy_leaves_the_training_alone(name: str) -> None:
    results = []
    for interrupted in (False, True):
        net, adaptation, optimizer = _adapted(name, "bert_score")
        torch.manual_seed(0)
        train(net, adaptation, optimizer, range(4), 8)
        if interrupted:
            copied, there = twin(net), outputs(net)
            adaptation.merge(copied)
            torch.testing.assert_close(outputs(copied), there, atol=1e-5, rtol=1e-5)
            assert torch.equal(outputs(net), there)
        train(net, adaptation, optimizer, range(4, 8), 8)
        results.append(values(net))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@every_adaptation
@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_training_goes_on_as_the_undisturbed_one(name: str, stop: int, tmp_path: Path) -> None:
    net, adaptation, optimizer = _adapted(name, "bert_score")
    train(net, adaptation, optimizer, range(stop), 8)
    saved = {"network": net.state_dict(), "optimizer": optimizer.state_dict(), "adaptation": adaptation.state()}
    torch.save(saved, tmp_path / "saved.pt")  # written now: what goes on must not change it
    train(net, adaptation, optimizer, range(stop, 8), 8)

    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    other, resumed, another = _adapted(name, "bert_score")
    other.load_state_dict(saved["network"])
    resumed.load_state(saved["adaptation"])
    another.load_state_dict(saved["optimizer"])
    train(other, resumed, another, range(stop, 8), 8)
    there = values(net)
    assert not changed(other, there)
    assert resumed.report() == adaptation.report()


@every_adaptation
def test_the_seed_decides(name: str) -> None:
    nets = []
    for seed in (1, 1, 2):
        net = network("bert_score")
        state = torch.get_rng_state()
        ADAPTATIONS[name]().apply(net, seed)
        assert torch.equal(state, torch.get_rng_state())
        nets.append(values(net))
    first, again, other = nets
    assert all(torch.equal(first[n], again[n]) for n in first)
    if name not in ("freeze", "sparse_mask"):  # these draw nothing
        assert any(not torch.equal(first[n], other[n]) for n in first)


@pytest.mark.parametrize("kind", ["bert_score", "llama_score"])
@every_adaptation
def test_the_scoring_head_is_trained(name: str, kind: str) -> None:
    net, _, _ = _adapted(name, kind)
    head = {n: p.requires_grad for n, p in net.named_parameters() if n.startswith(("classifier", "score"))}
    assert head and all(head.values())


@pytest.mark.parametrize("file", sorted((conf_folder() / "recipe" / "adaptation").glob("*.yaml")), ids=lambda f: f.stem)
def test_options_build_and_name_every_parameter_with_its_default(file: Path) -> None:
    node = check(OmegaConf.to_container(OmegaConf.load(file)), "adaptation")
    built = build(node, "adaptation")
    if file.stem == "full":
        assert built is None
        return
    stated = {key: value for key, value in node.items() if key != "_target_"}
    default = type(built)(dora=True) if file.stem == "dora" else type(built)()
    public = {key: value for key, value in vars(default).items() if not key.startswith("_")}
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in public.items()} == stated


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Freeze(layers=-1), "layers"),
        (lambda: LoRA(rank=0), "rank"),
        (lambda: LoRA(dropout=1.0), "dropout"),
        (lambda: SwitchLoRA(rank=1), "rank"),
        (lambda: SwitchLoRA(interval=9.0), "interval"),
        (lambda: SwitchLoRA(freeze=0), "freeze"),
        (lambda: SwitchLoRA(ratio=0.0), "ratio"),
        (lambda: CoDyRA(rank=0), "rank"),
        (lambda: CoDyRA(threshold=-1.0), "threshold"),
        (lambda: CoDyRA(beta2=1.0), "beta2"),
        (lambda: Bottleneck(reduction=0), "reduction"),
        (lambda: SparseMask(weights=0.0), "weights"),
        (lambda: SparseMask(full=1.0), "full"),
        (lambda: SparseMask(l1=-0.1), "l1"),
        (lambda: LoRA(targets=["quary"]).apply(network("bert"), 0), "adaptation.targets"),
        (lambda: Freeze(train=["nothing*"]).apply(network("bert"), 0), "adaptation.train"),
        (lambda: Freeze(layers=4).apply(network("bert"), 0), "adaptation.layers"),
        (lambda: SwitchLoRA(rank=16).apply(network("bert"), 0), "adaptation.rank"),
    ],
)
def test_mistakes_name_their_key(make: Make, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == key
