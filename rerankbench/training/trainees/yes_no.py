"""A causal language model in training: the log-odds of its "yes" over its "no" (arXiv 2003.06713, on decoders)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.errors import ConfigError
from rerankbench.models.lm.language_model import Filled
from rerankbench.rerankers.scorers.yes_no import YesNo
from rerankbench.training.groups import Group
from rerankbench.training.trainees.cross_encoder import in_rows, pointwise_requests, save_network

if TYPE_CHECKING:
    import torch


class YesNoTrainee:
    """Only the two labels' logits behind the prompt are computed; s = logit(yes) - logit(no)."""

    def __init__(self, scorer: YesNo) -> None:
        from rerankbench.models.lm.causal import CausalLM

        self.scorer = replace(scorer, model=replace(scorer.model, dtype="float32"))  # type: ignore[arg-type]
        language_model = self.scorer.language_model
        if not isinstance(language_model, CausalLM):
            raise ConfigError("model", "must be a decoder on this machine to be trained with this scorer")
        self.language_model = language_model
        self.network: torch.nn.Module = language_model.network

    def inputs(self, groups: Sequence[Group]) -> list[Filled]:
        """One prompt a candidate, group after group."""
        return [self.scorer.filled(request) for request in pointwise_requests(groups)]

    def length(self, item: Filled) -> int:
        """See Trainee."""
        return len(item.ids)

    def forward(self, items: Sequence[Filled]) -> list[torch.Tensor]:
        """The log-odds for each prompt. Padded on the right: causal attention never looks there."""
        import torch

        device = next(self.network.parameters()).device
        ends = torch.tensor([len(item.ids) - 1 for item in items], device=device)
        width = max(len(item.ids) for item in items)
        ids = torch.tensor([list(item.ids) + [0] * (width - len(item.ids)) for item in items], device=device)
        mask = torch.arange(width, device=device)[None, :] <= ends[:, None]
        network = self.language_model.network
        states = network.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
        last = states[torch.arange(len(items), device=device), ends]
        head = network.get_output_embeddings()
        labels = torch.tensor([self._labels(item.tail) for item in items], device=device)
        with torch.autocast(device.type, enabled=False):  # in bf16 yes - no would be an eighth off
            logits = torch.einsum("bh,blh->bl", last.float(), head.weight[labels].float())
        return list((logits[:, 0] - logits[:, 1]).unbind())

    def scores(self, groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """See Trainee."""
        return in_rows(groups, outputs, width)

    def save(self, folder: Path) -> None:
        """See Trainee."""
        save_network(self.network, self.language_model.filler.backend, folder)

    def _labels(self, tail: str) -> list[int]:
        return self.language_model.filler.label_ids(tail, self.scorer.prompt.labels or ())
