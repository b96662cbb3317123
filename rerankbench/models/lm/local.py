"""What language models on this machine share: a tokenizer that encodes prompts, and loading the network."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.models.lm.prompt_encoder import PromptEncoder
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.usage import Usage


@dataclass
class LocalLM:
    """A model and its tokenizer; subclasses run it."""

    model: Model
    usage: Usage = field(default_factory=Usage)
    encoder_decoder: ClassVar[bool] = False
    """Whether prompts go to an encoder, and the answer to a decoder."""

    @functools.cached_property
    def prompt_encoder(self) -> PromptEncoder:
        """Tokenizer and context; T5 states no limit, having relative positions, and 512 tokens in its tokenizer."""
        return PromptEncoder(self.model, self.model.context, self.encoder_decoder)

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> EncodedPrompt:
        """See LanguageModel."""
        new = 0 if self.encoder_decoder else max_new_tokens
        encoded, truncated = self.prompt_encoder.encode(prompt, query, documents, top, new)
        self.usage.truncated_inputs += truncated
        return encoded

    def readable(self, prompt: EncodedPrompt) -> str:
        """See LanguageModel."""
        return str(self.prompt_encoder.tokenizer.decode(list(prompt.ids)))

    def tokens(self, prompt: EncodedPrompt) -> int:
        """See LanguageModel."""
        return len(prompt.ids)

    def extended(self, prompt: EncodedPrompt, generated: str, forced: str) -> EncodedPrompt:
        """See LanguageModel."""
        return self.prompt_encoder.extended(prompt, generated, forced)

    def load(self, auto_class: str) -> Any:
        """The network by this transformers auto class, ready to run, and to generate greedily."""
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        network = self.model.load(
            getattr(transformers, auto_class).from_pretrained, dtype=self.model.torch_dtype, use_safetensors=True
        )
        return _only_greedy(network.to(self.model.torch_device).eval())


def _only_greedy(network: Any) -> Any:
    """The network without its checkpoint's sampling, penalties and beams; the tokens that begin and end a text remain.

    Qwen2.5, say, ships with a penalty on repetitions, which an order such as `[3] > [1] > [2]` is full of.
    """
    from transformers import GenerationConfig

    stated = network.generation_config
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    kept = {name: getattr(stated, name, None) for name in names}
    network.generation_config = GenerationConfig(do_sample=False, **kept)
    return network
