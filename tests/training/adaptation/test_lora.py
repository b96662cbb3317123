"""LoRA by peft: which layers it takes, and that its variants are peft's."""

from __future__ import annotations

import pytest
import torch

from rerankbench.training.adaptation.lora import LoRA
from tests.training.adaptation.toy_training import network, optimizer_of, train


def _adapted(net: torch.nn.Module) -> set[str]:
    return {name.partition(".lora_A")[0] for name, _ in net.named_parameters() if ".lora_A" in name}


def test_encoders_get_it_at_query_and_value_and_causal_models_everywhere_in_their_blocks() -> None:
    bert, llama = network("bert_score"), network("llama")
    LoRA(rank=2).apply(bert, 0)
    LoRA(rank=2).apply(llama, 0)
    attention = {f"bert.encoder.layer.{i}.attention.self.{name}" for i in range(3) for name in ("query", "value")}
    assert _adapted(bert) == attention
    assert len(_adapted(llama)) == 2 * 7 and "lm_head" not in _adapted(llama)


def test_targets_are_endings_of_names() -> None:
    net = network("bert_score")
    LoRA(rank=2, targets=["intermediate.dense"]).apply(net, 0)
    assert _adapted(net) == {f"bert.encoder.layer.{i}.intermediate.dense" for i in range(3)}


@pytest.mark.parametrize(("rslora", "scale"), [(False, 32 / 4), (True, 32 / 2)])
def test_the_product_counts_as_the_variant_says(rslora: bool, scale: float) -> None:
    net = network("bert")
    applied = LoRA(rank=4, rslora=rslora, targets=["query"]).apply(net, 0)
    train(applied, optimizer_of(applied), range(2), 2)
    layer = net.get_submodule("encoder.layer.1.attention.self.query")
    expected = layer.base_layer.weight + scale * layer.lora_B.default.weight @ layer.lora_A.default.weight  # type: ignore[union-attr, operator]
    applied.merge()
    torch.testing.assert_close(net.get_submodule("encoder.layer.1.attention.self.query").weight, expected)


def test_dora_has_magnitudes_and_a_network_can_be_adapted_again() -> None:
    net, adaptation = network("bert"), LoRA(rank=4, dora=True)
    for _ in range(2):
        applied = adaptation.apply(net, 0)
        assert any("magnitude" in name for name, _ in net.named_parameters())
        applied.merge()
        assert not hasattr(net, "peft_config")
