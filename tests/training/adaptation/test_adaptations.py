"""What holds for every adaptation: `apply` and `merge` keep the outputs, the rest is frozen, a resumed run is exact."""

from __future__ import annotations

import copy
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
from rerankbench.training.adaptation.adaptation import Adaptation
from rerankbench.training.adaptation.bottleneck import Bottleneck
from rerankbench.training.adaptation.codyra import CoDyRA
from rerankbench.training.adaptation.freeze import Freeze
from rerankbench.training.adaptation.full import Full
from rerankbench.training.adaptation.lora import LoRA
from rerankbench.training.adaptation.sparse_mask import SparseMask
from rerankbench.training.adaptation.switch_lora import SwitchLoRA
from tests.training.adaptation.toy_training import KINDS, changed, network, optimizer_of, outputs, train, values

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
    net = network(kind)
    applied = ADAPTATIONS[name]().apply(net, seed=3)
    return net, applied, optimizer_of(applied, learning_rate)


@every_network
@every_adaptation
def test_applying_it_leaves_the_outputs_as_they_were(name: str, kind: str) -> None:
    before = outputs(network(kind))
    net, _, _ = _adapted(name, kind)
    torch.testing.assert_close(outputs(net), before, atol=1e-5, rtol=0)


@every_network
@every_adaptation
def test_training_moves_the_outputs_and_what_is_frozen_stays_bitwise(name: str, kind: str) -> None:
    net, applied, optimizer = _adapted(name, kind)
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    before, there = values(net), outputs(net)
    train(applied, optimizer, range(6), 6)
    assert not torch.allclose(outputs(net), there, atol=1e-3)
    moved = changed(net, before)
    # SwitchLoRA corrects the weights for switched vectors; no others change them.
    assert not {n for n in moved & frozen if not (name.startswith("switch") and "weight" in n)}
    assert frozen


@every_network
@every_adaptation
def test_merging_gives_a_plain_network_with_the_same_outputs(name: str, kind: str) -> None:
    net, applied, optimizer = _adapted(name, kind)
    plain = set(network(kind).state_dict())
    train(applied, optimizer, range(6), 6)
    before = outputs(net)
    applied.merge()
    torch.testing.assert_close(outputs(net), before, atol=1e-5, rtol=1e-5)
    assert all(parameter.requires_grad for parameter in net.parameters())
    if name not in ("bottleneck", "invertible"):  # these cannot be merged
        assert set(net.state_dict()) == plain


@every_adaptation
def test_merging_a_copy_leaves_the_training_alone(name: str) -> None:
    results = []
    for interrupted in (False, True):
        net, applied, optimizer = _adapted(name, "bert_score")
        torch.manual_seed(0)
        train(applied, optimizer, range(4), 8)
        if interrupted:
            copied, there = copy.deepcopy(applied), outputs(net)
            copied.merge()
            torch.testing.assert_close(outputs(copied.network), there, atol=1e-5, rtol=1e-5)
            assert torch.equal(outputs(net), there)
        train(applied, optimizer, range(4, 8), 8)
        results.append(values(net))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@every_adaptation
@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_training_ends_as_an_uninterrupted_one(name: str, stop: int, tmp_path: Path) -> None:
    net, applied, optimizer = _adapted(name, "bert_score")
    train(applied, optimizer, range(stop), 8)
    saved = {"network": net.state_dict(), "optimizer": optimizer.state_dict(), "adaptation": applied.state()}
    torch.save(saved, tmp_path / "saved.pt")  # written now: further training must not change it
    train(applied, optimizer, range(stop, 8), 8)

    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    other, resumed, another = _adapted(name, "bert_score")
    other.load_state_dict(saved["network"])
    resumed.load_state(saved["adaptation"])
    another.load_state_dict(saved["optimizer"])
    train(resumed, another, range(stop, 8), 8)
    there = values(net)
    assert not changed(other, there)
    assert resumed.report() == applied.report()


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


@every_adaptation
def test_a_configuration_can_be_applied_to_two_networks_at_once(name: str) -> None:
    adaptation = ADAPTATIONS[name]()
    runs = []
    for seed in (1, 2):
        net = network("bert_score", seed)
        applied = adaptation.apply(net, seed)
        runs.append((net, applied, optimizer_of(applied)))
    for step in range(6):
        for _, applied, optimizer in runs:
            train(applied, optimizer, range(step, step + 1), 6)
    for seed, (net, applied, _) in zip((1, 2), runs, strict=True):
        alone = network("bert_score", seed)
        applied_alone = ADAPTATIONS[name]().apply(alone, seed)
        train(applied_alone, optimizer_of(applied_alone), range(6), 6)
        assert not changed(net, values(alone))
        assert applied.report() == applied_alone.report()


def test_full_training_leaves_the_network_as_it_is() -> None:
    net = network("bert_score")
    applied = Full().apply(net, seed=0)
    assert applied.network is net and applied.optimizer(0.1, 0.1) is None and applied.eligible_as_best
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not changed(net, values(network("bert_score")))


@pytest.mark.parametrize("file", sorted((conf_folder() / "recipe" / "adaptation").glob("*.yaml")), ids=lambda f: f.stem)
def test_options_build_and_state_only_what_differs_from_the_defaults(file: Path) -> None:
    node = check(OmegaConf.to_container(OmegaConf.load(file)), "adaptation")
    built = build(node, "adaptation")
    assert isinstance(built, Adaptation)
    stated = {key: value for key, value in node.items() if key != "_target_"}
    assert all(getattr(type(built)(), key) != value for key, value in stated.items())


@pytest.mark.parametrize(
    ("target", "key", "value"),
    [
        ("freeze.Freeze", "layers", -1),
        ("lora.LoRA", "rank", 0),
        ("lora.LoRA", "dropout", 1.0),
        ("switch_lora.SwitchLoRA", "rank", 1),
        ("switch_lora.SwitchLoRA", "interval", 9.0),
        ("switch_lora.SwitchLoRA", "freeze", 0),
        ("switch_lora.SwitchLoRA", "ratio", 0.0),
        ("codyra.CoDyRA", "rank", 0),
        ("codyra.CoDyRA", "threshold", -1.0),
        ("codyra.CoDyRA", "beta2", 1.0),
        ("bottleneck.Bottleneck", "reduction", 0),
        ("sparse_mask.SparseMask", "weights", 0.0),
        ("sparse_mask.SparseMask", "full", 1.0),
        ("sparse_mask.SparseMask", "l1", -0.1),
    ],
)
def test_values_out_of_bounds_name_their_key(target: str, key: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        _built(target, **{key: value})
    assert caught.value.key == f"recipe.adaptation.{key}"


@pytest.mark.parametrize(
    ("target", "key", "value"),
    [
        ("lora.LoRA", "targets", ["quary"]),
        ("freeze.Freeze", "train", ["nothing*"]),
        ("freeze.Freeze", "layers", 4),
        ("switch_lora.SwitchLoRA", "rank", 16),
        ("bottleneck.Bottleneck", "base_adapters", ["nowhere"]),
        ("sparse_mask.SparseMask", "base_adapters", ["nowhere"]),
    ],
)
def test_what_does_not_fit_the_network_names_its_key(target: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        _built(target, **{key: value}).apply(network("bert"), 0)
    assert caught.value.key == f"recipe.adaptation.{key}"


def test_a_network_without_known_feed_forward_sub_layers_gets_no_bottlenecks() -> None:
    net = network("bert")
    net.encoder.layer = torch.nn.ModuleList()
    with pytest.raises(ConfigError, match="knows no feed-forward sub-layers in a BertModel") as caught:
        _built("bottleneck.Bottleneck").apply(net, 0)
    assert caught.value.key == "recipe.adaptation"


def _built(target: str, **values: Any) -> Any:
    node = {"_target_": f"rerankbench.training.adaptation.{target}", **values}
    return build(check(node, "recipe.adaptation"), "recipe.adaptation")
