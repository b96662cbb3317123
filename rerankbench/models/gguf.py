"""GGUF to safetensors: a quantised checkpoint becomes an ordinary folder that loads in a fraction of a second."""

from __future__ import annotations

from pathlib import Path


def convert(weights: Path, folder: Path) -> None:
    """Write the dequantised model and its tokenizer to `folder`.

    `save_pretrained` refuses a model whose config says it is GGUF-quantised, so the weights move into a fresh model
    whose config does not.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    plain = {k: v for k, v in quantised.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    config = AutoConfig.for_model(**plain)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
