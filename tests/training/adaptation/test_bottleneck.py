"""Training bottleneck adapters: the base is unchanged, the files restore the trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rerankbench.models.adapters.difference import apply_differences, base_parameters
from rerankbench.training.adaptation.bottleneck import AppliedBottleneck, Bottleneck
from tests.training.adaptation.toy_training import network, optimizer_of, outputs, train, values


def _trained(kind: str, **options: Any) -> tuple[Any, AppliedBottleneck]:
    net = network(kind)
    applied = Bottleneck(**{"reduction": 4} | options).apply(net, seed=0)
    train(applied, optimizer_of(applied), range(4), 4)
    return net, applied


@pytest.mark.parametrize("invertible", [False, True])
@pytest.mark.parametrize("kind", ["bert_score", "llama_score", "bert_words"])
def test_saved_adapters_make_the_base_the_trained_network(kind: str, invertible: bool, tmp_path: Path) -> None:
    net, applied = _trained(kind, invertible=invertible)
    fresh = dict(base_parameters(network(kind)))
    assert all(torch.equal(parameter, fresh[name]) for name, parameter in base_parameters(net))
    applied.save(tmp_path)
    base = network(kind)
    apply_differences(base, [str(tmp_path / "adapters" / "trained")])
    assert torch.equal(outputs(base), outputs(net))


def test_a_checkpoint_is_the_plain_network_and_the_folder_holds_the_whole_stack(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    _, language = _trained("bert_words", invertible=True)
    language.save(tmp_path / "language")
    base_adapter = str(tmp_path / "language" / "adapters" / "trained")
    net, ranking = _trained("bert_score", base_adapters=[base_adapter])
    net.save_pretrained(tmp_path / "checkpoint")
    ranking.save(tmp_path / "checkpoint")
    assert set(load_file(tmp_path / "checkpoint" / "model.safetensors")) == set(network("bert_score").state_dict())
    folders = sorted((tmp_path / "checkpoint" / "adapters").iterdir())
    assert [folder.name for folder in folders] == ["00", "trained"]
    loaded = type(net).from_pretrained(tmp_path / "checkpoint").eval()
    apply_differences(loaded, [str(folder) for folder in folders])
    assert torch.equal(outputs(loaded), outputs(net))


def test_base_adapters_are_frozen(tmp_path: Path) -> None:
    _, language = _trained("bert_words", invertible=True)
    language.save(tmp_path)
    net = network("bert_score")
    ranking = Bottleneck(reduction=8, base_adapters=[str(tmp_path / "adapters" / "trained")]).apply(net, seed=0)
    before = values(net)
    train(ranking, optimizer_of(ranking), range(3), 3)
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert {n for n in moved if ".adapters." not in n} == {"classifier.weight", "classifier.bias"}
    assert {n.partition(".adapters.")[2].partition(".")[0] for n in moved if ".adapters." in n} == {"1"}
