"""The captured rows are those of the attention matrices that transformers computes eagerly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.lm.attention_capture import capture_attention, enable_capture
from tests.models.toy_causal import save

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},  # norms on queries and keys
    "mistral": {"sliding_window": 9},
    "gemma3_text": {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
}


def _load(path: str, attention: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, attn_implementation=attention).eval()


def _save(folder: Path, family: str) -> str:
    return save(folder, family, **FAMILIES[family])


def _eager(path: str, ids: Any, rows: range) -> Any:
    """Mean over rows, sum over heads and layers, [T], from the full matrices."""
    import torch

    with torch.inference_mode():
        layers = _load(path, "eager")(ids, output_attentions=True).attentions
    return sum(layer[0, :, rows].mean(1).sum(0) for layer in layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_equal_the_eager_computation_fresh_and_from_a_cache(family: str, tmp_path: Path) -> None:
    import torch
    from transformers import DynamicCache

    path = _save(tmp_path, family)
    ids = torch.randint(3, 259, (1, 40), generator=torch.Generator().manual_seed(1))
    rows = range(32, 38)
    expected = _eager(path, ids, rows)
    network = enable_capture(_load(path, "sdpa"))
    with torch.inference_mode():
        with capture_attention(rows) as fresh:
            network.base_model(input_ids=ids)
        cache = DynamicCache()
        other = torch.cat([ids[:, :30], ids[:, :7]], dim=1)
        network.base_model(input_ids=other, past_key_values=cache, use_cache=True)
        cache.crop(30 - 37)
        with capture_attention(range(2, 8)) as cached:
            network.base_model(input_ids=ids[:, 30:], past_key_values=cache, use_cache=True)
    assert fresh.total is not None and cached.total is not None
    assert torch.allclose(fresh.total, expected, atol=1e-4)
    assert torch.allclose(cached.total, expected, atol=1e-4)
    assert float(fresh.total.sum()) == pytest.approx(3 * 4, abs=1e-4), "every row of every head sums to 1"


def test_the_output_is_that_of_the_plain_network_with_capture_or_without(tmp_path: Path) -> None:
    import torch

    path = _save(tmp_path, "llama")
    ids = torch.arange(3, 30)[None]
    with torch.inference_mode():
        expected = _load(path, "sdpa")(ids).logits
        network = enable_capture(_load(path, "sdpa"))
        without = network(ids).logits
        with capture_attention(range(2, 5)):
            captured = network(ids).logits
    assert torch.equal(without, expected) and torch.equal(captured, expected)


def test_a_network_whose_attention_is_capped_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "gemma2", sliding_window=9)
    with pytest.raises(ConfigError, match="attention"):
        enable_capture(_load(path, "eager"))
