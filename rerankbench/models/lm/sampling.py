"""Drawing tokens so that a sample depends on its prompt and the seed alone, not on the batch."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from rerankbench.models.lm.language_model import Sampling
from rerankbench.store import content_hash

if TYPE_CHECKING:
    import torch


def prompt_seed(sampling: Sampling, ids: Sequence[int]) -> int:
    """A seed of 31 bits for one prompt."""
    return int(content_hash(sampling.seed, list(ids))[:8], 16) >> 1


class Sampler:
    """Draws the next tokens of sequences, `sampling.n` for each prompt; each sequence has a random stream of its own.

    It is also a logits processor for transformers: it leaves only the token it drew, which greedy decoding then takes.
    """

    def __init__(self, sampling: Sampling, prompts: Sequence[Sequence[int]]) -> None:
        self.sampling = sampling
        seeds = [prompt_seed(sampling, ids) for ids in prompts]
        self.streams = [Random(f"{seed} {k}") for seed in seeds for k in range(sampling.n)]

    def choose(self, logits: torch.Tensor, sequences: Sequence[int]) -> list[int]:
        """The next token of each of these sequences; logits: [B, V], float32 (nucleus sampling, arXiv 1904.09751)."""
        import torch

        probabilities = (logits / self.sampling.temperature).softmax(-1)
        probabilities, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(-1) - probabilities
        inside = torch.where(before < self.sampling.top_p, probabilities, 0)
        draws = logits.new_tensor([[self.streams[i].random()] for i in sequences])
        cumulative = inside.cumsum(-1)
        places = (cumulative <= draws * cumulative[:, -1:]).sum(-1, keepdim=True)
        last = (inside > 0).sum(-1, keepdim=True) - 1  # where rounding takes the draw past the end
        drawn: list[int] = tokens.gather(-1, torch.minimum(places, last))[:, 0].tolist()
        return drawn

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits [B, V] with the drawn token alone above -inf."""
        import torch

        drawn = torch.tensor(self.choose(scores.float(), range(len(scores))), device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn[:, None], 0.0)
