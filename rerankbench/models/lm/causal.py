"""Causal language models on transformers: only the logits that are asked for, and shared beginnings read once.

Prompts of one query begin alike (instruction, query, sometimes a document). That beginning is run once, its keys and
values are kept, and what follows starts from them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerankbench.batching import token_batches
from rerankbench.models.lm.language_model import Filled
from rerankbench.models.lm.local import LocalLM
from rerankbench.models.lm.packing import Packed, packable
from rerankbench.models.lm.padding import Padded, padded_rows
from rerankbench.models.lm.prefix_cache import shared_beginnings

if TYPE_CHECKING:
    import torch

PACK = 1024
"""Tokens of a pack: the states of more leave a CPU's caches, and its matrix products are as fast with these."""
AT_ONCE = 16
"""How many times the tokens of a batch may be behind the answers that a CPU writes at once."""


@dataclass
class CausalLM(LocalLM):
    """A causal language model. Batches hold up to the model's `tokens_per_batch` tokens."""

    @functools.cached_property
    def network(self) -> Any:
        """The network, loaded on first use."""
        return self.load("AutoModelForCausalLM")

    def label_scores(self, prompts: Sequence[Filled], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: the logits of the labels' tokens behind the prompt, and no others."""
        ids = {tail: self.filler.label_ids(tail, labels) for tail in {prompt.tail for prompt in prompts}}
        scores: list[list[float | None]] = [[] for _ in prompts]
        for index, states in self.states([prompt.ids for prompt in prompts], [p.cuts for p in prompts], 1):
            scores[index] = self._logits(states[-1:], ids[prompts[index].tail])[0].tolist()
        return scores

    def log_likelihoods(
        self, prompts: Sequence[Filled], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel."""
        import torch

        added = [self.filler.continuation_ids(p.tail, text) for p, text in zip(prompts, continuations, strict=True)]
        asked = [index for index, ids in enumerate(added) if ids]
        whole = [(*prompts[index].ids, *added[index][:-1]) for index in asked]
        scores = [0.0] * len(prompts)
        keep = max((len(added[index]) for index in asked), default=0)
        for place, states in self.states(whole, [prompts[index].cuts for index in asked], keep):
            target = torch.tensor(added[asked[place]], device=states.device)
            logits = self._logits(states[-len(target) :])
            found = torch.log_softmax(logits, dim=-1).gather(1, target[:, None])
            scores[asked[place]] = float(found.sum() if total else found.mean())
        return scores

    def generate(self, prompts: Sequence[Filled], new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """See LanguageModel.

        Answers are written many at once, since each step reads the whole network however many they are.
        """
        answers = [""] * len(prompts)
        if new_tokens < 1:
            return answers
        at_once = self.model.tokens_per_batch * (AT_ONCE if self.model.torch_device.type == "cpu" else 1)
        for batch in token_batches([len(prompt.ids) + new_tokens for prompt in prompts], at_once):
            rows = [prompts[i].ids for i in batch]
            written = self._write(rows, new_tokens, stop) if self._can_reuse else self._generate(rows, new_tokens, stop)
            for index, own in zip(batch, written, strict=True):
                self.usage.generated_tokens += len(own)
                answers[index] = self.filler.decode(own)
        return answers

    def _write(self, rows: Sequence[tuple[int, ...]], new_tokens: int, stop: Sequence[str]) -> list[list[int]]:
        """The greedy answers, step by step."""
        import torch

        from rerankbench.models.lm.kv_cache import Growing

        # In bfloat16 the kernels that a CPU has for a single row round otherwise than those for several.
        fewest = 2 if self.network.dtype == torch.bfloat16 and self.network.device.type == "cpu" else 1
        live = [*range(len(rows)), *range(len(rows), fewest)]  # whose answers the places of the batch are
        done = set(range(len(rows), fewest))
        past = Growing([len(rows[row % len(rows)]) for row in live], new_tokens)
        said = [0] * len(live)
        for row, states, read in self._reader.texts(rows):
            for place in range(row, len(live), len(rows)):
                past.put(place, read)
            said[row] = self._likeliest(states)[0]
        written: list[list[int]] = [[] for _ in rows]
        while True:
            for row, token in zip(live, said, strict=True):
                if row in done:
                    continue
                ended = token in self._ends
                if not ended:
                    written[row].append(token)
                if ended or len(written[row]) == new_tokens or self._stops(written[row], stop):
                    done.add(row)
            stay = [place for place, row in enumerate(live) if row not in done]
            if not stay:
                return written
            if len(stay) < fewest:
                stay = [*stay, *(place for place, row in enumerate(live) if row in done)][:fewest]
            if len(stay) <= len(live) / 2:  # leaving is a copy of all that stay, so answers leave by the dozen
                past.keep(stay)
                live, said = [live[place] for place in stay], [said[place] for place in stay]
            with torch.inference_mode():
                out = self.network.base_model(
                    input_ids=torch.tensor(said, device=self.network.device)[:, None],
                    attention_mask=past.mask(),
                    position_ids=past.lengths[:, None],
                    past_key_values=past,
                    use_cache=True,
                )
            past.grow()
            said = self._likeliest(out.last_hidden_state[:, -1])
            self.usage.forward_passes += 1

    def _generate(self, rows: Sequence[tuple[int, ...]], new_tokens: int, stop: Sequence[str]) -> list[list[int]]:
        """The same by transformers, for networks whose keys and values are not kept whole."""
        import torch

        options: dict[str, Any] = {"max_new_tokens": new_tokens, "pad_token_id": self._padding}
        if stop:
            options.update(stop_strings=list(stop), tokenizer=self.filler.backend)
        ids, mask = padded_rows(rows, self._padding, self.network.device)
        with torch.inference_mode():
            out = self.network.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]
        self.usage.forward_passes += out.shape[1]
        self.usage.prompt_tokens += sum(map(len, rows))
        self.usage.padded_tokens += ids.numel() - sum(map(len, rows))
        return [self._until_end(row) for row in out.tolist()]

    def states(
        self, inputs: Sequence[Sequence[int]], cuts: Sequence[Sequence[int]], keep: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, last hidden states [≤ keep, H] of its last `keep` places), batch by batch.

        cuts: for each input the places up to which it may share its beginning with others, ascending.
        """
        whole = [tuple(ids) for ids in inputs]
        shared = shared_beginnings(whole, cuts, keep) if self._can_reuse else [()] * len(whole)
        yield from self._reader.states(whole, shared, keep)

    @functools.cached_property
    def _reader(self) -> Padded | Packed:
        """Packs on a CPU, where they cost least and their kernels are the same for any company; else batches."""
        if self.model.torch_device.type == "cpu" and self._can_reuse and packable(self.network):
            return Packed(self.network, self.model.batch_tokens or PACK, self.usage)
        return Padded(self.network, self.model.tokens_per_batch, self.usage, self._padding)

    def _stops(self, written: list[int], stop: Sequence[str]) -> bool:
        return bool(stop) and any(text in self.filler.decode(written[-32:]) for text in stop)

    def _likeliest(self, states: torch.Tensor) -> list[int]:
        """The likeliest next token behind each of the states [T, H]."""
        found: list[int] = self._logits(states).argmax(-1).tolist()
        return found

    def _logits(self, states: torch.Tensor, ids: Sequence[int] | None = None) -> torch.Tensor:
        """Logits [T, V] of hidden states [T, H], or [T, L] of these ids only.

        In float32: at 30, bfloat16 tells nothing apart that is less than an eighth away.
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
        """Weight [V, H] and bias [V] of the output layer; in float32 on a CPU, where it is converted only once."""
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
        backend = self.filler.backend
        return next((i for i in (backend.pad_token_id, backend.eos_token_id) if i is not None), 0)

    @functools.cached_property
    def _can_reuse(self) -> bool:
        """Keys and values can be kept where every layer attends to everything before it."""
        config = self.network.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        return kinds <= {"full_attention"} and not getattr(config, "sliding_window", None)
