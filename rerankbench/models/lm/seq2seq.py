"""Encoder-decoder language models on transformers: the prompt is encoded, the answer is what the decoder says first."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rerankbench.batching import token_batches
from rerankbench.models.lm.language_model import Filled
from rerankbench.models.lm.local import LocalLM

if TYPE_CHECKING:
    import torch


@dataclass
class Seq2SeqLM(LocalLM):
    """An encoder-decoder model; the forced start of an answer is read by the decoder."""

    encoder: ClassVar[bool] = True

    @functools.cached_property
    def network(self) -> Any:
        """The network, loaded on first use."""
        return self.load("AutoModelForSeq2SeqLM")

    def readable(self, prompt: Filled) -> str:
        """See LanguageModel."""
        text = super().readable(prompt)
        return f"{text}\n[decoder] {prompt.start}" if prompt.start else text

    def label_scores(self, prompts: Sequence[Filled], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: the logits of the labels' tokens at the first place behind the forced start."""
        ids = {start: self.filler.label_ids(start, labels) for start in {prompt.start for prompt in prompts}}
        scores: list[list[float | None]] = [[] for _ in prompts]
        for index, logits in self._logits(prompts, [self._start(p.start) for p in prompts]):
            scores[index] = logits[-1, ids[prompts[index].start]].tolist()
        return scores

    def log_likelihoods(
        self, prompts: Sequence[Filled], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel."""
        import torch

        added = [self.filler.continuation_ids(p.start, text) for p, text in zip(prompts, continuations, strict=True)]
        asked = [index for index, ids in enumerate(added) if ids]
        decoders = [[*self._start(prompts[index].start), *added[index][:-1]] for index in asked]
        scores = [0.0] * len(prompts)
        for place, logits in self._logits([prompts[index] for index in asked], decoders):
            target = torch.tensor(added[asked[place]], device=logits.device)
            found = torch.log_softmax(logits[-len(target) :], dim=-1).gather(1, target[:, None])
            scores[asked[place]] = float(found.sum() if total else found.mean())
        return scores

    def generate(self, prompts: Sequence[Filled], new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """See LanguageModel."""
        import torch

        answers = [""] * len(prompts)
        options: dict[str, Any] = {"max_new_tokens": new_tokens}
        if stop:
            options.update(stop_strings=list(stop), tokenizer=self.filler.backend)
        by_start: dict[str, list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_start.setdefault(prompt.start, []).append(index)
        for start, group in by_start.items():
            begin = torch.tensor([self._start(start)], device=self.model.torch_device)
            for batch in token_batches([len(prompts[i].ids) for i in group], self.model.tokens_per_batch):
                own = [group[i] for i in batch]
                ids, mask = self._padded([prompts[i].ids for i in own])
                with torch.inference_mode():
                    out = self.network.generate(input_ids=ids, attention_mask=mask,
                                                decoder_input_ids=begin.expand(len(own), -1), **options)  # fmt: skip
                out = out[:, begin.shape[1] :]
                self._count([prompts[i] for i in own], ids.numel(), passes=out.shape[1])
                for index, row in zip(own, out.tolist(), strict=True):
                    self.usage.generated_tokens += sum(token != self._padding for token in row)
                    answers[index] = self.filler.decode(row)
        return answers

    def _logits(
        self, prompts: Sequence[Filled], decoders: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, logits [T, V] in float32 of the decoder's T places), batch by batch."""
        import torch

        for batch in token_batches([len(prompt.ids) for prompt in prompts], self.model.tokens_per_batch):
            ids, mask = self._padded([prompts[i].ids for i in batch])
            width = max(len(decoders[i]) for i in batch)
            # Padded on the right: the decoder is causal, so what follows an answer cannot change it.
            decoder = torch.tensor(
                [list(decoders[i]) + [self._padding] * (width - len(decoders[i])) for i in batch], device=ids.device
            )
            with torch.inference_mode():
                out = self.network(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder, use_cache=False)
            self._count([prompts[i] for i in batch], ids.numel(), passes=1)
            for i, logits in zip(batch, out.logits, strict=True):
                yield i, logits[: len(decoders[i])].float()

    def _start(self, start: str) -> list[int]:
        first = self.network.config.decoder_start_token_id
        first = self._padding if first is None else int(first)
        return [first, *self.filler.continuation_ids("", start)]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask [B, T], padded on the right."""
        import torch

        width = max(map(len, rows))
        ids = [list(row) + [self._padding] * (width - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self.model.torch_device), torch.tensor(mask, device=self.model.torch_device)

    def _count(self, prompts: Sequence[Filled], padded: int, passes: int) -> None:
        read = sum(len(prompt.ids) for prompt in prompts)
        self.usage.forward_passes += passes
        self.usage.prompt_tokens += read
        self.usage.padded_tokens += padded - read

    @functools.cached_property
    def _padding(self) -> int:
        return int(self.filler.backend.pad_token_id or 0)
