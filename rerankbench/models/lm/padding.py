"""Batches padded on the left: what every network can run, and what uses an accelerator fully."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankbench.batching import token_batches
from rerankbench.models.lm.prefix_cache import PrefixCache
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.lm.prefix_cache import KeysValues


@dataclass
class PaddedReader:
    """Runs texts in batches of up to `budget` padded tokens, longest first. padding: the id of the padding token."""

    network: Any
    budget: int
    usage: Usage
    padding: int
    _cache: PrefixCache = field(default_factory=PrefixCache)

    def prefill(self, inputs: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor, KeysValues]]:
        """Yield (index, hidden state of the last position [1, H], keys and values of all positions)."""
        for batch in token_batches([len(ids) for ids in inputs], self.budget):
            rows = [inputs[i] for i in batch]
            states, layers = self._run(rows)
            self.usage.prompt_tokens += sum(map(len, rows))
            for row, index in enumerate(batch):
                width = len(inputs[index])
                yield index, states[row, -1:], [(k[row, :, -width:], v[row, :, -width:]) for k, v in layers]

    def hidden_states(
        self, inputs: Sequence[tuple[int, ...]], prefixes: Sequence[tuple[int, ...]], last: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, hidden states [≤ last, H] of the `last` positions); prefixes: the cached prefix of each."""
        import torch

        lengths = [len(ids) - len(prefix) for ids, prefix in zip(inputs, prefixes, strict=True)]
        for batch in token_batches(lengths, self.budget):
            known, new = self._known({prefixes[i] for i in batch} - {()})
            past, past_mask = self._past([prefixes[i] for i in batch], known)
            ids, mask = padded_rows([inputs[i][len(prefixes[i]) :] for i in batch], self.padding, self.network.device)
            mask = torch.cat([past_mask, mask], dim=1)
            with torch.inference_mode():
                out = self.network.base_model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, past_mask.shape[1] :],
                    past_key_values=past,
                    use_cache=past is not None,
                ).last_hidden_state
            self._count(ids.numel(), sum(lengths[i] for i in batch))
            self.usage.prompt_tokens += sum(len(inputs[i]) for i in batch)
            # Each prompt counts its prefix as reused, except that a new prefix had to be computed once.
            self.usage.reused_tokens += sum(len(prefixes[i]) for i in batch) - new
            yield from zip(batch, out[:, -last:], strict=True)

    def _run(self, inputs: Sequence[Sequence[int]]) -> tuple[torch.Tensor, KeysValues]:
        """Hidden states [B, T, H], and for each layer keys and values [B, heads, T, size], of one batch."""
        import torch
        from transformers import DynamicCache

        ids, mask = padded_rows(inputs, self.padding, self.network.device)
        with torch.inference_mode():
            out = self.network.base_model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                past_key_values=DynamicCache(),
                use_cache=True,
            )
        self._count(ids.numel(), sum(map(len, inputs)))
        return out.last_hidden_state, [(layer.keys, layer.values) for layer in out.past_key_values.layers]

    def _known(self, wanted: set[tuple[int, ...]]) -> tuple[dict[tuple[int, ...], KeysValues], int]:
        """The keys and values of these prefixes, and how many tokens had to be computed for that.

        Each prefix is run alone, which makes it batch-invariant.
        """
        new = sorted(prefix for prefix in wanted if prefix not in self._cache)
        known = {prefix: self._cache[prefix] for prefix in wanted - set(new)}
        for prefix in new:
            known[prefix] = [(keys[0], values[0]) for keys, values in self._run([prefix])[1]]
            self._cache.add(prefix, known[prefix])
        return known, sum(map(len, new))

    def _past(
        self, prefixes: Sequence[tuple[int, ...]], known: Mapping[tuple[int, ...], KeysValues]
    ) -> tuple[Any, torch.Tensor]:
        """The cache from which a batch starts, prefixes padded on the left, and its mask [B, P]."""
        import torch
        from transformers import DynamicCache

        width = max(map(len, prefixes))
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prefixes], device=self.network.device)
        if not width:
            return None, mask.reshape(len(prefixes), 0).long()
        layers = len(next(iter(known.values())))
        return DynamicCache([_stacked(prefixes, width, known, layer) for layer in range(layers)]), mask

    def _count(self, padded: int, tokens: int) -> None:
        self.usage.forward_passes += 1
        self.usage.padded_tokens += padded - tokens


def padded_rows(
    inputs: Sequence[Sequence[int]], padding: int, device: torch.device, left: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [B, T], padded on the left or the right."""
    import torch

    width = max(map(len, inputs))

    def padded(row: list[int], filler: int) -> list[int]:
        gap = [filler] * (width - len(row))
        return gap + row if left else row + gap

    ids = torch.tensor([padded(list(row), padding) for row in inputs], device=device)
    return ids, torch.tensor([padded([1] * len(row), 0) for row in inputs], device=device)


def _stacked(
    prefixes: Sequence[tuple[int, ...]], width: int, known: Mapping[tuple[int, ...], KeysValues], layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [B, heads, width, size] of one layer."""
    one = next(iter(known.values()))[layer]
    if all(prefix == prefixes[0] for prefix in prefixes):
        keys, values = (tensor.expand(len(prefixes), *tensor.shape) for tensor in one)
        return keys, values
    stacked = []
    for part in (0, 1):
        whole = one[part].new_zeros(len(prefixes), one[part].shape[0], width, one[part].shape[2])
        for row, prefix in enumerate(prefixes):
            if prefix:
                whole[row, :, width - len(prefix) :] = known[prefix][layer][part]
        stacked.append(whole)
    return stacked[0], stacked[1]
