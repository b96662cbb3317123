"""Training bottleneck adapters: the base stays, the files bring the trained network back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rerankbench.models.adapters.difference import applied, base_parameters
from rerankbench.training.adaptation.bottleneck import Bottleneck
from tests.training.adaptation.toy_training import network, optimizer_of, outputs, train, values


def _trained(kind: str, **options: Any) -> tuple[Any, Bottleneck]:
    net, adaptation = network(kind), Bottleneck(**{"reduction": 4} | options)
    adaptation.apply(net, seed=0)
    train(net, adaptation, optimizer_of(net, adaptation), range(4), 4)
    return net, adaptation


@pytest.mark.parametrize("invertible", [False, True])
@pytest.mark.parametrize("kind", ["bert_score", "llama_score", "bert_words"])
def test_saved_adapters_make_the_base_the_trained_network(kind: str, invertible: bool, tmp_path: Path) -> None:
    net, adaptation = _trained(kind, invertible=invertible)
    fresh = dict(base_parameters(network(kind)))
    assert all(torch.equal(parameter, fresh[name]) for name, parameter in base_parameters(net))
    adaptation.save(net, tmp_path)
    base = network(kind)
    applied(base, [str(tmp_path / "adapters" / "trained")])
    assert torch.equal(outputs(base), outputs(net))


def test_a_checkpoint_is_the_plain_network_and_the_folder_holds_the_whole_stack(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    language, adaptation = _trained("bert_words", invertible=True)
    adaptation.save(language, tmp_path / "language")
    below = str(tmp_path / "language" / "adapters" / "trained")
    net, ranking = _trained("bert_score", below=[below])
    net.save_pretrained(tmp_path / "checkpoint")
    ranking.save(net, tmp_path / "checkpoint")
    assert set(load_file(tmp_path / "checkpoint" / "model.safetensors")) == set(network("bert_score").state_dict())
    folders = sorted((tmp_path / "checkpoint" / "adapters").iterdir())
    assert [folder.name for folder in folders] == ["00", "trained"]
    loaded = type(net).from_pretrained(tmp_path / "checkpoint").eval()
    applied(loaded, [str(folder) for folder in folders])
    assert torch.equal(outputs(loaded), outputs(net))


def test_what_lies_below_is_frozen(tmp_path: Path) -> None:
    language, adaptation = _trained("bert_words", invertible=True)
    adaptation.save(language, tmp_path)
    net = network("bert_score")
    ranking = Bottleneck(reduction=8, below=[str(tmp_path / "adapters" / "trained")])
    ranking.apply(net, seed=0)
    before = values(net)
    train(net, ranking, optimizer_of(net, ranking), range(3), 3)
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert {n for n in moved if ".adapters." not in n} == {"classifier.weight", "classifier.bias"}
    assert {n.partition(".adapters.")[2].partition(".")[0] for n in moved if ".adapters." in n} == {"1"}
