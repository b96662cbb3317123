"""A GGUF checkpoint becomes an ordinary folder that computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights and byte-level tokens, as a GGUF file with quantised matrices."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    hidden, layers, heads, middle = 32, 2, 2, 64
    tokens = ["<|end|>", *"abcdehilost", "Ġ", "th", "the"]
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(middle)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    draw = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = draw.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values + 1)
        else:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(tokens), hidden)
    add("output_norm.weight", hidden)
    for layer in range(layers):
        for part in ("q", "k", "v", "output"):
            add(f"blk.{layer}.attn_{part}.weight", hidden, hidden)
        add(f"blk.{layer}.ffn_gate.weight", middle, hidden)
        add(f"blk.{layer}.ffn_up.weight", middle, hidden)
        add(f"blk.{layer}.ffn_down.weight", hidden, middle)
        add(f"blk.{layer}.attn_norm.weight", hidden)
        add(f"blk.{layer}.ffn_norm.weight", hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _logits(network: Any, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return network.eval()(torch.tensor([ids])).logits[0]


def test_the_converted_folder_reads_and_computes_as_the_gguf_file(weights: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rerankbench.models.gguf import convert

    convert(weights, tmp_path / "converted")
    assert [file.name for file in (tmp_path / "converted").glob("*.safetensors")] == ["model.safetensors"]
    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "converted")
    ids = tokenizer("the slide")["input_ids"]
    assert ids == AutoTokenizer.from_pretrained(**source)("the slide")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the slide"
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "converted", dtype=torch.float32)
    expected = _logits(AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32), ids)
    assert torch.allclose(_logits(network, ids), expected, atol=1e-5)
    assert not hasattr(network.config, "quantization_config")
