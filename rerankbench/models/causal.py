"""Causal language models on transformers: only the logits that are asked for, and shared beginnings read once.

Prompts of one query begin alike (instruction, query, sometimes a document). That beginning is run once, its keys and
values are kept, and every batch starts from them; a batch may mix beginnings, padded on the left.
"""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankbench.models.encoder import token_batches
from rerankbench.models.language_model import Filled
from rerankbench.models.local_lm import LocalLM

if TYPE_CHECKING:
    import torch

    KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
    """Of one prompt's beginning, for each layer: [heads, T, size] twice."""

MIN_SHARED = 8
"""Tokens a beginning must have to be worth keeping."""
LIKELY_SHARED = 1 / 8
"""What stands before the first document, if it is a larger part of its prompt than this, is kept although no other
prompt of the call has it: the next round of a sequential strategy will ask about the same query."""
KEPT_BYTES = 1 << 30
"""Bytes of keys and values that are kept; the least recently used go first."""


@dataclass
class CausalLM(LocalLM):
    """A causal language model. Batches hold up to the model's `tokens_per_batch` padded tokens, longest first."""

    _kept: OrderedDict[tuple[int, ...], Any] = field(default_factory=OrderedDict)

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

        Prompts are read in small batches, which suits a CPU's caches; answers are written many at once, since each
        step reads the whole network however many they are. An answer that is done leaves the batch.
        """
        answers = [""] * len(prompts)
        at_once = self.model.tokens_per_batch * (8 if self.model.torch_device.type == "cpu" else 1)
        for batch in token_batches([len(prompt.ids) + new_tokens for prompt in prompts], at_once):
            rows = [prompts[i].ids for i in batch]
            written = self._write(rows, new_tokens, stop) if self._can_reuse else self._generate(rows, new_tokens, stop)
            for index, own in zip(batch, written, strict=True):
                self.usage.generated_tokens += len(own)
                answers[index] = self.filler.decode(own)
        return answers

    def _write(self, rows: Sequence[tuple[int, ...]], new_tokens: int, stop: Sequence[str]) -> list[list[int]]:
        """The greedy answers, step by step, from the kept keys and values of all but the last token of each prompt."""
        import torch
        from transformers import DynamicCache

        beginnings = [ids[:-1] for ids in rows]
        new = sorted(set(beginnings) - {()}, key=lambda b: (len(b), b))
        self._read(new, self.model.tokens_per_batch)
        past, mask = self._past(beginnings)
        past = past or DynamicCache()
        for beginning in set(beginnings):
            self._kept.pop(beginning, None)
        written: list[list[int]] = [[] for _ in rows]
        live = list(range(len(rows)))
        token = torch.tensor([[ids[-1]] for ids in rows], device=mask.device)
        self.usage.prompt_tokens += sum(map(len, rows))
        for _ in range(new_tokens):
            mask = torch.cat([mask, torch.ones_like(token)], dim=1)
            with torch.inference_mode():
                out = self.network.base_model(
                    input_ids=token,
                    attention_mask=mask,
                    position_ids=mask.sum(1, keepdim=True) - 1,
                    past_key_values=past,
                    use_cache=True,
                )
                token = self._logits(out.last_hidden_state[:, -1]).argmax(-1, keepdim=True)
            self.usage.forward_passes += 1
            stay = []
            for place, (row, said) in enumerate(zip(live, token[:, 0].tolist(), strict=True)):
                if said in self._ends:
                    continue
                written[row].append(said)
                if not (stop and any(text in self.filler.decode(written[row][-32:]) for text in stop)):
                    stay.append(place)
            if not stay:
                break
            if len(stay) < len(live):
                chosen = torch.tensor(stay, device=mask.device)
                past.batch_select_indices(chosen)
                mask, token, live = mask[chosen], token[chosen], [live[place] for place in stay]
        return written

    def _generate(self, rows: Sequence[tuple[int, ...]], new_tokens: int, stop: Sequence[str]) -> list[list[int]]:
        """The same by transformers, for networks whose keys and values are not kept whole."""
        import torch

        options: dict[str, Any] = {"max_new_tokens": new_tokens, "pad_token_id": self._padding}
        if stop:
            options.update(stop_strings=list(stop), tokenizer=self.filler.backend)
        ids, mask = self._padded(rows)
        with torch.inference_mode():
            out = self.network.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]
        self.usage.forward_passes += out.shape[1]
        self._count(rows, ids.numel())
        return [self._until_end(row) for row in out.tolist()]

    def _read(self, beginnings: Sequence[tuple[int, ...]], budget: int) -> None:
        """Run beginnings in batches of up to `budget` padded tokens and keep their keys and values."""
        import torch
        from transformers import DynamicCache

        for batch in token_batches([len(b) for b in beginnings], budget):
            ids, mask = self._padded([beginnings[i] for i in batch])
            with torch.inference_mode():
                out = self.network.base_model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                    past_key_values=DynamicCache(),
                    use_cache=True,
                )
            self.usage.forward_passes += 1
            self.usage.padded_tokens += ids.numel() - sum(len(beginnings[i]) for i in batch)
            layers = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
            for row, i in enumerate(batch):
                width = len(beginnings[i])
                # Copies: a view would hold on to the whole batch.
                own = [(k[row, :, -width:].clone(), v[row, :, -width:].clone()) for k, v in layers]
                self._kept[beginnings[i]] = own

    def states(
        self, inputs: Sequence[Sequence[int]], cuts: Sequence[Sequence[int]], keep: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, last hidden states [≤ keep, H] of its last `keep` places), batch by batch.

        cuts: for each input the places up to which it may share its beginning with others, ascending.
        """
        import torch

        shared = self._shared([tuple(ids) for ids in inputs], cuts, keep)
        lengths = [len(ids) - len(beginning) for ids, beginning in zip(inputs, shared, strict=True)]
        for batch in token_batches(lengths, self.model.tokens_per_batch):
            new = sorted({shared[i] for i in batch} - self._kept.keys() - {()})
            self._read(new, budget=1)  # each alone, which makes them the same in any company
            self.usage.reused_tokens -= sum(map(len, new))  # each prompt that starts from one adds it, the first, too
            past, past_mask = self._past([shared[i] for i in batch])
            ids, mask = self._padded([inputs[i][len(shared[i]) :] for i in batch])
            mask = torch.cat([past_mask, mask], dim=1)
            places = (mask.cumsum(1) - 1).clamp(min=0)[:, past_mask.shape[1] :]
            with torch.inference_mode():
                out = self.network.base_model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=places,
                    past_key_values=past,
                    use_cache=past is not None,
                ).last_hidden_state
            self.usage.forward_passes += 1
            self._count([inputs[i] for i in batch], ids.numel())
            self.usage.reused_tokens += sum(len(shared[i]) for i in batch)
            self._forget()
            yield from zip(batch, out[:, -keep:], strict=True)

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

    def _shared(
        self, inputs: Sequence[tuple[int, ...]], cuts: Sequence[Sequence[int]], keep: int
    ) -> list[tuple[int, ...]]:
        """The beginning of each input that is kept: the longest one that others share, or one that is likely to be.

        This depends on the inputs alone, not on what is kept already, and so does every score, to the last bit.
        """
        if not self._can_reuse:
            return [()] * len(inputs)
        candidates = [
            [ids[:cut] for cut in sorted(places, reverse=True) if MIN_SHARED <= cut <= len(ids) - keep]
            for ids, places in zip(inputs, cuts, strict=True)
        ]
        counts = Counter(beginning for own in candidates for beginning in own)
        chosen = []
        for ids, own, places in zip(inputs, candidates, cuts, strict=True):
            first = own[-1] if own else ()
            likely = first if len(first) == min(places, default=0) > LIKELY_SHARED * len(ids) else ()
            chosen.append(next((beginning for beginning in own if counts[beginning] > 1), likely))
        return chosen

    def _past(self, beginnings: Sequence[tuple[int, ...]]) -> tuple[Any, torch.Tensor]:
        """The cache from which a batch starts, beginnings padded on the left, and its mask [B, P]."""
        import torch
        from transformers import DynamicCache

        width = max(map(len, beginnings))
        mask = torch.tensor([[0] * (width - len(b)) + [1] * len(b) for b in beginnings], device=self.model.torch_device)
        if not width:
            return None, mask.reshape(len(beginnings), 0).long()
        for beginning in beginnings:
            if beginning:
                self._kept.move_to_end(beginning)
        return DynamicCache([self._layer(beginnings, width, layer) for layer in range(self._layers)]), mask

    def _layer(
        self, beginnings: Sequence[tuple[int, ...]], width: int, layer: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, heads, width, size] of one layer."""
        import torch

        one = self._kept[next(b for b in beginnings if b)][layer]
        if all(b == beginnings[0] for b in beginnings):
            keys, values = (tensor.expand(len(beginnings), *tensor.shape) for tensor in one)
            return keys, values
        stacked = []
        for part in (0, 1):
            whole = torch.zeros(len(beginnings), one[part].shape[0], width, one[part].shape[2],
                                dtype=one[part].dtype, device=one[part].device)  # fmt: skip
            for row, beginning in enumerate(beginnings):
                if beginning:
                    whole[row, :, width - len(beginning) :] = self._kept[beginning][layer][part]
            stacked.append(whole)
        return stacked[0], stacked[1]

    def _forget(self) -> None:
        sizes = {b: sum(k.nbytes + v.nbytes for k, v in layers) for b, layers in self._kept.items()}
        held = sum(sizes.values())
        while held > KEPT_BYTES:
            held -= sizes[self._kept.popitem(last=False)[0]]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask [B, T], padded on the left."""
        import torch

        width = max(map(len, rows))
        ids = [[self._padding] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return (
            torch.tensor(ids, device=self.model.torch_device),
            torch.tensor(mask, device=self.model.torch_device),
        )

    def _count(self, rows: Sequence[Sequence[int]], padded: int) -> None:
        self.usage.prompt_tokens += sum(map(len, rows))
        self.usage.padded_tokens += max(0, padded - sum(map(len, rows)))

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
    def _layers(self) -> int:
        return int(self.network.config.get_text_config().num_hidden_layers)

    @functools.cached_property
    def _can_reuse(self) -> bool:
        """Keys and values can be kept where every layer attends to everything before it."""
        config = self.network.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        return kinds <= {"full_attention"} and not getattr(config, "sliding_window", None)
