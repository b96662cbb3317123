"""Freeze: exactly the parameters that it names are trained."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.training.adaptation.freeze import Freeze
from tests.training.adaptation.toy_training import network


def _trained(kind: str, **options: Any) -> set[str]:
    net = network(kind)
    Freeze(**options).apply(net, 0)
    return {name for name, parameter in net.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_last_blocks_and_what_follows_them(layers: int) -> None:
    every = {name for name, _ in network("bert_score").named_parameters()}
    last = {n for n in every if any(f".layer.{i}." in n for i in range(3 - layers, 3))}
    after = {n for n in every if "pooler" in n or n.startswith("classifier")}
    assert _trained("bert_score", layers=layers) == last | after


def test_all_blocks_without_embeddings_or_with_them() -> None:
    every = {name for name, _ in network("llama").named_parameters()}
    embeddings = {n for n in every if "embed_tokens" in n}
    assert _trained("llama", layers=None) == every - embeddings
    assert _trained("llama", layers=None, embeddings=True) == every


def test_patterns_choose_alone_and_the_head_comes_with_them() -> None:
    trained = _trained("bert_score", train=["*.bias"])
    assert {n for n in trained if not n.endswith(".bias")} == {"classifier.weight"}
    assert "bert.embeddings.LayerNorm.bias" in trained
