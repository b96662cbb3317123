"""Yes or no: is the document relevant? The log-probability of "yes" (Nogueira et al., arXiv 2003.06713; and others)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.models.lm.padding import padded_rows
from rerankbench.rerankers.requests import Failure, Pointwise
from rerankbench.rerankers.scorers.prompted import Prompted, require_two_labels
from rerankbench.rerankers.trainable import TrainableScorer, in_float32

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class YesNo(Prompted, TrainableScorer):
    """Log of the softmax over the prompt's two labels, at the first of them; in (-inf, 0].

    The logarithm distinguishes what probabilities near 0 and 1 would tie. One forward pass, nothing generated. In
    training the score is the log-odds, logit(yes) - logit(no), whose log-sigmoid this is; that of a decoder only.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise

    def __post_init__(self) -> None:
        require_two_labels(self.prompt, "a relevant document")

    def answer(self, requests: Sequence[Pointwise]) -> list[float | Failure]:
        """One score for each request; a failure where the model does not return both labels' scores."""
        return self.label_shares(requests, [self.encode_prompt(request) for request in requests])

    def for_training(self) -> Self:
        """See TrainableScorer."""
        self.causal_lm("to be trained with this scorer")
        scorer = in_float32(self)
        _ = scorer.module
        return scorer

    @property
    def module(self) -> Any:
        """See TrainableScorer."""
        return self.causal_lm("to be trained with this scorer").network

    def inputs(self, requests: Sequence[Pointwise]) -> list[EncodedPrompt]:
        """One prompt for each request."""
        return [self.encode_prompt(request) for request in requests]

    def length(self, item: EncodedPrompt) -> int:
        """See TrainableScorer."""
        return len(item.ids)

    def forward(self, items: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """The log-odds for each prompt: only the two labels' logits behind it are computed."""
        import torch

        network = self.module
        device = next(network.parameters()).device
        # Padded on the right: causal attention never looks there.
        ids, mask = padded_rows([item.ids for item in items], 0, device, left=False)
        states = network.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = states[torch.arange(len(items), device=device), mask.sum(1) - 1]
        encoder = self.causal_lm("to be trained with this scorer").prompt_encoder
        labels = torch.tensor(encoder.label_ids(items, self.prompt.labels or ()), device=device)
        weight = network.get_output_embeddings().weight
        with torch.autocast(device.type, enabled=False):  # in bf16 the difference would be off by up to an eighth
            logits = torch.einsum("bh,blh->bl", last.float(), weight[labels].float())
        return list((logits[:, 0] - logits[:, 1]).unbind())

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TrainableScorer."""
        import torch

        return torch.stack(list(outputs)).float()

    def save(self, folder: Path) -> None:
        """See TrainableScorer."""
        from rerankbench.models.encoders.saving import save_network

        lm = self.causal_lm("to be saved")
        save_network(lm.network, lm.prompt_encoder.tokenizer, folder)
