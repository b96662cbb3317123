"""From a configured model to a language model."""

from __future__ import annotations

from typing import Any

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.lm.language_model import LanguageModel
from rerankbench.usage import Usage


def language_model(model: Any, usage: Usage) -> LanguageModel:
    """The model as a language model; its network loads on first use. Raises ConfigError for an encoder.

    model: a `Model`, or one that is run elsewhere (vLLM, an endpoint) and makes its own language model.
    """
    if hasattr(model, "language_model"):
        made: LanguageModel = model.language_model(usage)
        return made
    if _is_encoder_only(model.config):
        kind = model.config.model_type
        problem = f"is an encoder ({kind}), and a prompt needs a language model: model=smollm2"
        raise ConfigError(key_of(model, "") or "model", problem)
    if model.config.is_encoder_decoder:
        from rerankbench.models.lm.seq2seq import Seq2SeqLM

        return Seq2SeqLM(model, usage)
    from rerankbench.models.lm.causal import CausalLM

    return CausalLM(model, usage)


def _is_encoder_only(config: Any) -> bool:
    """Whether it is BERT or the like: as a causal model it would load with a head of random weights."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decodes
