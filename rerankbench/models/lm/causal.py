"""Causal language models on transformers: only the logits that are asked for, and shared prefixes computed once.

Prompts of one query begin alike (instruction, query, sometimes a document). The keys and values of such a prefix are
cached, and what follows it starts from them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerankbench.batching import token_batches
from rerankbench.models.lm.language_model import EncodedPrompt, Sampling
from rerankbench.models.lm.local import LocalLM
from rerankbench.models.lm.packing import PackedReader, enable_packing
from rerankbench.models.lm.padding import PaddedReader, padded_rows
from rerankbench.models.lm.prefix_cache import shared_prefixes
from rerankbench.models.lm.sampling import Sampler

if TYPE_CHECKING:
    import torch

PACK = 1024
"""Tokens of a pack: the states of more leave a CPU's caches, and its matrix products are as fast with these."""
DECODING_FACTOR = 16
"""On a CPU a batch that generates may have this many times the tokens of another: each step reads the whole network,
however many answers there are."""


@dataclass
class CausalLM(LocalLM):
    """A causal language model. Batches hold up to the model's `tokens_per_batch` tokens."""

    @functools.cached_property
    def network(self) -> Any:
        """The network, loaded on first use."""
        return self.load("AutoModelForCausalLM")

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: the logits of the labels' tokens behind the prompt, and no others."""
        ids = self.prompt_encoder.label_ids(prompts, labels)
        scores: list[list[float | None]] = [[] for _ in prompts]
        for index, states in self.hidden_states([p.ids for p in prompts], [p.prefix_lengths for p in prompts], 1):
            scores[index] = self._logits(states[-1:], ids[index])[0].tolist()
        return scores

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel."""
        import torch

        added, asked = self.prompt_encoder.continuations(prompts, continuations)
        inputs = [(*prompts[index].ids, *added[index][:-1]) for index in asked]
        scores = [0.0] * len(prompts)
        last = max((len(added[index]) for index in asked), default=0)
        for place, states in self.hidden_states(inputs, [prompts[index].prefix_lengths for index in asked], last):
            target = torch.tensor(added[asked[place]], device=states.device)
            logits = self._logits(states[-len(target) :])
            chosen = torch.log_softmax(logits, dim=-1).gather(1, target[:, None])
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
        n = sampling.n if sampling else 1
        answers = [""] * (len(prompts) * n)
        if max_new_tokens < 1:
            return answers
        budget = self.model.tokens_per_batch * (DECODING_FACTOR if self.model.torch_device.type == "cpu" else 1)
        generate = self._decode if self._has_plain_cache else self._generate
        for batch in token_batches([n * (len(prompt.ids) + max_new_tokens) for prompt in prompts], budget):
            rows = [prompts[i].ids for i in batch]
            generated = generate(rows, max_new_tokens, stop, Sampler(sampling, rows) if sampling else None)
            for place, ids in enumerate(generated):
                self.usage.generated_tokens += len(ids)
                answers[batch[place // n] * n + place % n] = self.prompt_encoder.decode(ids)
        return answers

    def _decode(
        self, rows: Sequence[tuple[int, ...]], max_new_tokens: int, stop: Sequence[str], sampler: Sampler | None = None
    ) -> list[list[int]]:
        """The generated ids of each answer, step by step."""
        import torch

        from rerankbench.models.lm.kv_cache import PreallocatedKVCache

        # In bfloat16 a CPU's kernels for a single row round differently from those for several.
        fewest = 2 if self.network.dtype == torch.bfloat16 and self.network.device.type == "cpu" else 1
        copies = sampler.sampling.n if sampler else 1
        row_of = [row for row in range(len(rows)) for _ in range(copies)]
        generated: list[list[int]] = [[] for _ in row_of]
        row_of += [0] * (fewest - len(row_of))
        live = list(range(len(row_of)))  # the answer at each place of the batch
        done = set(range(len(generated), len(row_of)))
        choose: Callable[[torch.Tensor, Sequence[int]], list[int]] = sampler.choose if sampler else _likeliest
        cache = PreallocatedKVCache([len(rows[row]) for row in row_of], max_new_tokens)
        tokens = [0] * len(live)
        for row, states, keys_values in self._reader.prefill(rows):
            for place in (place for place in live if row_of[place] == row):
                cache.insert(place, keys_values)
            first = range(row * copies, (row + 1) * copies)
            tokens[first.start : first.stop] = choose(self._logits(states).expand(copies, -1), first)
        while True:
            for answer, token in zip(live, tokens, strict=True):
                if answer in done:
                    continue
                ids = generated[answer]
                if token not in self._ends:
                    ids.append(token)
                if token in self._ends or len(ids) == max_new_tokens or self._stops(ids, stop):
                    done.add(answer)
            stay = [place for place, answer in enumerate(live) if answer not in done]
            if not stay:
                return generated
            if len(stay) < fewest:
                stay = [*stay, *(place for place, answer in enumerate(live) if answer in done)][:fewest]
            if len(stay) <= len(live) / 2:  # selecting copies all that stay, so it waits until half are done
                cache.select(stay)
                live, tokens = [live[place] for place in stay], [tokens[place] for place in stay]
            with torch.inference_mode():
                out = self.network.base_model(
                    input_ids=torch.tensor(tokens, device=self.network.device)[:, None],
                    attention_mask=cache.mask(),
                    position_ids=cache.lengths[:, None],
                    past_key_values=cache,
                    use_cache=True,
                )
            cache.advance()
            tokens = choose(self._logits(out.last_hidden_state[:, -1]), live)
            self.usage.forward_passes += 1

    def _generate(
        self, rows: Sequence[tuple[int, ...]], max_new_tokens: int, stop: Sequence[str], sampler: Sampler | None
    ) -> list[list[int]]:
        """The same by transformers, for networks that do not keep the keys and values of all positions."""
        import torch

        options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "pad_token_id": self._padding}
        if stop:
            options.update(stop_strings=list(stop), tokenizer=self.prompt_encoder.tokenizer)
        if sampler:
            options["logits_processor"] = [sampler]
            rows = [row for row in rows for _ in range(sampler.sampling.n)]
        ids, mask = padded_rows(rows, self._padding, self.network.device)
        with torch.inference_mode():
            out = self.network.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]
        self.usage.forward_passes += out.shape[1]
        self.usage.prompt_tokens += sum(map(len, rows))
        self.usage.padded_tokens += ids.numel() - sum(map(len, rows))
        return [self._until_end(row) for row in out.tolist()]

    def hidden_states(
        self, inputs: Sequence[Sequence[int]], prefix_lengths: Sequence[Sequence[int]], last: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, last hidden states [≤ last, H] of its `last` positions), batch by batch.

        prefix_lengths: for each input the lengths of prefixes that it may share with others, ascending.
        """
        rows = [tuple(ids) for ids in inputs]
        prefixes = shared_prefixes(rows, prefix_lengths, last) if self._has_plain_cache else [()] * len(rows)
        yield from self._reader.hidden_states(rows, prefixes, last)

    @functools.cached_property
    def _reader(self) -> PaddedReader | PackedReader:
        """Packs on a CPU, where they are fastest and batch-invariant; else padded batches."""
        if self.model.torch_device.type == "cpu" and self._has_plain_cache and enable_packing(self.network):
            return PackedReader(self.network, self.model.batch_tokens or PACK, self.usage)
        return PaddedReader(self.network, self.model.tokens_per_batch, self.usage, self._padding)

    def _stops(self, generated: list[int], stop: Sequence[str]) -> bool:
        return bool(stop) and any(text in self.prompt_encoder.decode(generated[-32:]) for text in stop)

    def _logits(self, states: torch.Tensor, ids: Sequence[int] | None = None) -> torch.Tensor:
        """Logits [T, V] of hidden states [T, H], or [T, L] of these ids only.

        In float32: around 30, bfloat16 cannot represent differences below an eighth.
        """
        import torch

        weight, bias = self._head
        if ids is not None:
            weight, bias = weight[list(ids)], None if bias is None else bias[list(ids)]
        if ids is not None or states.device.type == "cpu":
            states, weight, bias = states.float(), weight.float(), None if bias is None else bias.float()
        with torch.inference_mode():
            logits = torch.nn.functional.linear(states, weight, bias).float()
        config = self.network.config.get_text_config()
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits = logits * scale
        if scale := getattr(config, "logits_scaling", None):  # Granite
            logits = logits / scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
            logits = torch.tanh(logits / cap) * cap
        return logits

    @functools.cached_property
    def _head(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight [V, H] and bias [V] of the output layer; in float32 on a CPU, so that it is converted only once."""
        head = self.network.get_output_embeddings()
        weight, bias = head.weight.detach(), getattr(head, "bias", None)
        if weight.device.type == "cpu":
            weight, bias = weight.float(), None if bias is None else bias.detach().float()
        return weight, bias

    def _until_end(self, row: Sequence[int]) -> list[int]:
        """The generated ids up to and without the end token."""
        return list(row[: next((i for i, token in enumerate(row) if token in self._ends), len(row))])

    @functools.cached_property
    def _ends(self) -> set[int]:
        ends = self.network.generation_config.eos_token_id
        return {self._padding, *(ends if isinstance(ends, list) else [ends])}

    @functools.cached_property
    def _padding(self) -> int:
        tokenizer = self.prompt_encoder.tokenizer
        return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)

    @functools.cached_property
    def _has_plain_cache(self) -> bool:
        """Whether every layer attends to all positions before its own, so that keys and values can be cached."""
        config = self.network.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        return kinds <= {"full_attention"} and not getattr(config, "sliding_window", None)


def _likeliest(logits: torch.Tensor, _: Sequence[int]) -> list[int]:
    """The likeliest next token for each row of logits [B, V]."""
    tokens: list[int] = logits.argmax(-1).tolist()
    return tokens
