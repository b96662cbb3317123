"""What language models on this machine share: a tokenizer of their own that fills prompts and reads them back."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rerankbench.models.lm.greedy import only_greedy
from rerankbench.models.lm.language_model import Filled
from rerankbench.models.lm.prompt_encoder import Filler
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.usage import Usage


@dataclass
class LocalLM:
    """A model, its tokenizer, and what it has done; how it is run is up to those built on it."""

    model: Model
    usage: Usage = field(default_factory=Usage)
    encoder: ClassVar[bool] = False
    """Whether prompts go to an encoder, and the answer to a decoder."""

    @functools.cached_property
    def filler(self) -> Filler:
        """Tokenizer and context; T5 states no limit, having relative positions, and 512 tokens in its tokenizer."""
        return Filler(self.model, self.model.context, encoder=self.encoder)

    def fill(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, new_tokens: int = 0
    ) -> Filled:
        """See LanguageModel."""
        filled, cut = self.filler.fill(prompt, query, documents, top, 0 if self.encoder else new_tokens)
        self.usage.truncated_inputs += cut
        return filled

    def readable(self, prompt: Filled) -> str:
        """See LanguageModel."""
        return str(self.filler.backend.decode(list(prompt.ids)))

    def tokens(self, prompt: Filled) -> int:
        """See LanguageModel."""
        return len(prompt.ids)

    def extended(self, prompt: Filled, said: str, forced: str) -> Filled:
        """See LanguageModel."""
        return self.filler.extended(prompt, said, forced)

    def load(self, auto_class: str) -> Any:
        """The network by this transformers auto class, ready to run, and to generate greedily."""
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        network = self.model.load(
            getattr(transformers, auto_class).from_pretrained, dtype=self.model.torch_dtype, use_safetensors=True
        )
        return only_greedy(network.to(self.model.torch_device).eval())
