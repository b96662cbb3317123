"""Passages with some of their tokens masked, and the module that learns to predict them."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import torch

from rerankbench.batching import token_batches
from rerankbench.models.adapters.bottleneck import base_of
from rerankbench.models.encoders.encoder import Encoded, Encoder, Tokenizer
from rerankbench.training.module import StepStatistics
from rerankbench.training.sources import stable_seed

_HELD_OUT = 64


@dataclass(frozen=True, slots=True)
class MaskedPassage:
    """A passage as the network reads it, and the token to predict at each masked position."""

    encoded: Encoded
    targets: dict[int, int]


class Passages:
    """Texts cut into passages of at most `length` tokens, special ones included.

    Of a passage a share `masked` of the tokens, at least one, is to be predicted: 8 of 10 are replaced by the mask, 1
    by any token, 1 stays (BERT, arXiv 1810.04805); which ones depends on seed, epoch and passage alone.
    """

    def __init__(self, texts: Iterable[str], tokenizer: Tokenizer, length: int, masked: float, seed: int) -> None:
        self.tokenizer, self.masked, self.seed = tokenizer, masked, seed
        longest = length - tokenizer.single.size
        passages = [part for ids in _read(tokenizer, texts) for part in _parts(ids, longest)]
        every = max(20, -(-len(passages) // _HELD_OUT))
        self.held_out = passages[every - 1 :: every]
        """Passages that are not trained on: one of 20, at most 64."""
        del passages[every - 1 :: every]
        self._ids = passages

    def __len__(self) -> int:
        return len(self._ids)

    def group(self, epoch: int, index: int) -> MaskedPassage:
        """The passage as it is masked in this epoch."""
        return self._mask(self._ids[index], stable_seed(self.seed, epoch, index))

    def unseen(self) -> list[MaskedPassage]:
        """The held-out passages, always masked in the same way."""
        return [self._mask(ids, stable_seed(self.seed, "held out", i)) for i, ids in enumerate(self.held_out)]

    def _mask(self, ids: Sequence[int], seed: int) -> MaskedPassage:
        rng, backend = random.Random(seed), self.tokenizer.backend
        encoded = self.tokenizer.assemble(self.tokenizer.single, list(ids))
        before = len(self.tokenizer.single.before)
        chosen = sorted(rng.sample(range(len(ids)), max(1, round(self.masked * len(ids)))))
        for position in chosen:
            draw = rng.random()
            if draw < 0.9:
                shown = backend.mask_token_id if draw < 0.8 else rng.randrange(len(backend))
                encoded.ids[before + position] = shown
        return MaskedPassage(encoded, {before + position: ids[position] for position in chosen})


def _read(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    remaining = iter(texts)
    while chunk := list(islice(remaining, 1000)):
        yield from tokenizer.read(chunk)


def _parts(ids: Sequence[int], longest: int) -> list[array[int]]:
    """Parts of equal length, so that the last one is not a few tokens; of a text without words, none."""
    count = -(-len(ids) // longest)
    bounds = [len(ids) * i // count for i in range(count + 1)] if count else [0]
    return [array("i", ids[start:end]) for start, end in pairwise(bounds)]


class MaskedTokenModule(torch.nn.Module):
    """`forward(passages)` is the summed cross-entropy of their masked tokens; for GroupTrainer."""

    weighting = None

    def __init__(self, encoder: Encoder, batch_tokens: int) -> None:
        super().__init__()
        self.network: torch.nn.Module = encoder.network
        self.encoder, self.batch_tokens = encoder, batch_tokens
        self.progress, self.statistics = 0.0, StepStatistics()
        self._masked: tuple[torch.Tensor, torch.Tensor] | None = None
        # The projection onto the vocabulary costs more than a small network: it is done for masked tokens only.
        encoder.network.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0][self._masked],))

    def forward(self, passages: list[MaskedPassage]) -> torch.Tensor:
        """A scalar."""
        lengths = [len(passage.encoded.ids) for passage in passages]
        total = torch.zeros((), device=self.encoder.network.device)
        for batch in token_batches(lengths, self.batch_tokens):
            total = total + self._loss([passages[i] for i in batch])
            self.statistics.padded += len(batch) * lengths[batch[0]]
        self.statistics.tokens += sum(lengths)
        return total

    def count(self, passages: list[MaskedPassage]) -> float:
        """How many tokens are masked."""
        return float(sum(len(passage.targets) for passage in passages))

    def mean_loss(self, passages: Sequence[MaskedPassage]) -> float | None:
        """Mean cross-entropy of the masked tokens, without training; None for no passages."""
        training, statistics = self.network.training, self.statistics
        self.network.eval()
        self.statistics = StepStatistics()
        try:
            with torch.inference_mode():
                return float(self(list(passages))) / self.count(list(passages)) if passages else None
        finally:
            self.network.train(training)
            self.statistics = statistics

    def _loss(self, passages: list[MaskedPassage]) -> torch.Tensor:
        device = self.encoder.network.device
        cells = [(row, position, token) for row, p in enumerate(passages) for position, token in p.targets.items()]
        rows, positions, tokens = torch.tensor(cells, device=device).T
        self._masked = rows, positions
        logits = self.network(**self.encoder.padded([passage.encoded for passage in passages])).logits
        return torch.nn.functional.cross_entropy(logits.float(), tokens, reduction="sum")


def masked_language_model(network: torch.nn.Module, model: Any) -> Any:
    """The model's masked language model around the network's encoder, which both share from then on.

    Its head is tied to the encoder's word embeddings, as the checkpoint has it; what a checkpoint lacks is drawn from
    torch's seed. Raises ConfigError for a checkpoint that is no masked language model of this kind.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    loaded = model.load(transformers.AutoModelForMaskedLM.from_pretrained, dtype=torch.float32, use_safetensors=True)
    base = base_of(network)
    setattr(loaded, loaded.base_model_prefix, base)
    if loaded.config.tie_word_embeddings:
        loaded.get_output_embeddings().weight = base.get_input_embeddings().weight  # type: ignore[operator]
    return loaded.to(next(base.parameters()).device)
