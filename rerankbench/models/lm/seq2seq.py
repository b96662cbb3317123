"""Encoder-decoder language models on transformers: the encoder reads the prompt, the decoder gives the answer."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rerankbench.batching import token_batches
from rerankbench.models.lm.language_model import EncodedPrompt, Sampling
from rerankbench.models.lm.local import LocalLM
from rerankbench.models.lm.padding import padded_rows
from rerankbench.models.lm.sampling import Sampler

if TYPE_CHECKING:
    import torch


@dataclass
class Seq2SeqLM(LocalLM):
    """An encoder-decoder model; the decoder reads the forced start of an answer."""

    encoder_decoder: ClassVar[bool] = True

    @functools.cached_property
    def network(self) -> Any:
        """The network, loaded on first use."""
        return self.load("AutoModelForSeq2SeqLM")

    def readable(self, prompt: EncodedPrompt) -> str:
        """See LanguageModel."""
        text = super().readable(prompt)
        return f"{text}\n[decoder] {prompt.start}" if prompt.start else text

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: the logits of the labels' tokens at the first position behind the forced start."""
        ids = self.prompt_encoder.label_ids(prompts, labels)
        scores: list[list[float | None]] = [[] for _ in prompts]
        for index, logits in self._logits(prompts, [self._decoder_start(prompt.start) for prompt in prompts]):
            scores[index] = logits[-1, ids[index]].tolist()
        return scores

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel."""
        import torch

        added, asked = self.prompt_encoder.continuations(prompts, continuations)
        decoders = [[*self._decoder_start(prompts[index].start), *added[index][:-1]] for index in asked]
        scores = [0.0] * len(prompts)
        for place, logits in self._logits([prompts[index] for index in asked], decoders):
            target = torch.tensor(added[asked[place]], device=logits.device)
            chosen = torch.log_softmax(logits[-len(target) :], dim=-1).gather(1, target[:, None])
            scores[asked[place]] = float(chosen.sum() if total else chosen.mean())
        return scores

    def generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[str]:
        """See LanguageModel."""
        import torch

        n = sampling.n if sampling else 1
        answers = [""] * (len(prompts) * n)
        options: dict[str, Any] = {"max_new_tokens": max_new_tokens}
        if stop:
            options.update(stop_strings=list(stop), tokenizer=self.prompt_encoder.tokenizer)
        by_start: dict[str, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_start.setdefault(prompt.start, []).append(index)
        for start, group in by_start.items():
            begin = torch.tensor([self._decoder_start(start)], device=self.model.torch_device)
            for batch in token_batches([n * len(prompts[i].ids) for i in group], self.model.tokens_per_batch):
                rows = [prompts[group[i]].ids for i in batch]
                if sampling:
                    options["logits_processor"] = [Sampler(sampling, rows)]
                ids, mask = self._padded([row for row in rows for _ in range(n)])
                with torch.inference_mode():
                    out = self.network.generate(input_ids=ids, attention_mask=mask,
                                                decoder_input_ids=begin.expand(len(ids), -1), **options)  # fmt: skip
                out = out[:, begin.shape[1] :]
                self._count(n * sum(map(len, rows)), ids.numel(), passes=out.shape[1])
                for place, row in enumerate(out.tolist()):
                    self.usage.generated_tokens += sum(token != self._padding for token in row)
                    answers[group[batch[place // n]] * n + place % n] = self.prompt_encoder.decode(row)
        return answers

    def _logits(
        self, prompts: Sequence[EncodedPrompt], decoders: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, logits [T, V] in float32 of the decoder's T positions), batch by batch."""
        import torch

        for batch in token_batches([len(prompt.ids) for prompt in prompts], self.model.tokens_per_batch):
            ids, mask = self._padded([prompts[i].ids for i in batch])
            # Padded on the right: the decoder is causal, so what follows an answer cannot change it.
            decoder, _ = self._padded([decoders[i] for i in batch])
            with torch.inference_mode():
                out = self.network(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder, use_cache=False)
            self._count(sum(len(prompts[i].ids) for i in batch), ids.numel(), passes=1)
            for i, logits in zip(batch, out.logits, strict=True):
                yield i, logits[: len(decoders[i])].float()

    def _decoder_start(self, start: str) -> list[int]:
        first = self.network.config.decoder_start_token_id
        first = self._padding if first is None else int(first)
        return [first, *self.prompt_encoder.continuation_ids("", start)]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return padded_rows(rows, self._padding, self.model.torch_device, left=False)

    def _count(self, tokens: int, padded: int, passes: int) -> None:
        self.usage.forward_passes += passes
        self.usage.prompt_tokens += tokens
        self.usage.padded_tokens += padded - tokens

    @functools.cached_property
    def _padding(self) -> int:
        return int(self.prompt_encoder.tokenizer.pad_token_id or 0)
