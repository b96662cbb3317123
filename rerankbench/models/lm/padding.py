"""Texts in batches, padded on the left: what every network can do, and what fills an accelerator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankbench.batching import token_batches
from rerankbench.models.lm.prefix_cache import Beginnings
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.lm.prefix_cache import KeysValues


@dataclass
class Padded:
    """Reads texts in batches of up to `budget` padded tokens, longest first. padding: the token that fills them up."""

    network: Any
    budget: int
    usage: Usage
    padding: int
    _kept: Beginnings = field(default_factory=Beginnings)

    def texts(self, inputs: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor, KeysValues]]:
        """Yield (index, hidden state of the last place [1, H], keys and values of all places)."""
        for batch in token_batches([len(ids) for ids in inputs], self.budget):
            rows = [inputs[i] for i in batch]
            states, layers = self._read(rows)
            self.usage.prompt_tokens += sum(map(len, rows))
            for row, index in enumerate(batch):
                width = len(inputs[index])
                yield index, states[row, -1:], [(k[row, :, -width:], v[row, :, -width:]) for k, v in layers]

    def states(
        self, inputs: Sequence[tuple[int, ...]], beginnings: Sequence[tuple[int, ...]], keep: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, hidden states [≤ keep, H] of the last `keep` places); beginnings: what each may start from."""
        import torch

        lengths = [len(ids) - len(beginning) for ids, beginning in zip(inputs, beginnings, strict=True)]
        for batch in token_batches(lengths, self.budget):
            known, new = self._known({beginnings[i] for i in batch} - {()})
            past, past_mask = self._past([beginnings[i] for i in batch], known)
            ids, mask = padded_rows([inputs[i][len(beginnings[i]) :] for i in batch], self.padding, self.network.device)
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
            # Each prompt that starts from a beginning adds it, the first one too, which had to read it.
            self.usage.reused_tokens += sum(len(beginnings[i]) for i in batch) - new
            yield from zip(batch, out[:, -keep:], strict=True)

    def _read(self, inputs: Sequence[Sequence[int]]) -> tuple[torch.Tensor, KeysValues]:
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
        """What was read of these beginnings, now or before, and how many of their tokens had to be read now.

        Each is read alone, which makes it the same in any company.
        """
        new = sorted(beginning for beginning in wanted if beginning not in self._kept)
        known = {beginning: self._kept[beginning] for beginning in wanted - set(new)}
        for beginning in new:
            known[beginning] = [(keys[0], values[0]) for keys, values in self._read([beginning])[1]]
            self._kept.add(beginning, known[beginning])
        return known, sum(map(len, new))

    def _past(
        self, beginnings: Sequence[tuple[int, ...]], known: dict[tuple[int, ...], KeysValues]
    ) -> tuple[Any, torch.Tensor]:
        """The cache from which a batch starts, beginnings padded on the left, and its mask [B, P]."""
        import torch
        from transformers import DynamicCache

        width = max(map(len, beginnings))
        mask = torch.tensor([[0] * (width - len(b)) + [1] * len(b) for b in beginnings], device=self.network.device)
        if not width:
            return None, mask.reshape(len(beginnings), 0).long()
        layers = len(next(iter(known.values())))
        return DynamicCache([_stacked(beginnings, width, known, layer) for layer in range(layers)]), mask

    def _count(self, padded: int, read: int) -> None:
        self.usage.forward_passes += 1
        self.usage.padded_tokens += padded - read


def padded_rows(
    inputs: Sequence[Sequence[int]], padding: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [B, T], padded on the left."""
    import torch

    width = max(map(len, inputs))
    ids = [[padding] * (width - len(row)) + list(row) for row in inputs]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in inputs]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _stacked(
    beginnings: Sequence[tuple[int, ...]], width: int, known: dict[tuple[int, ...], KeysValues], layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [B, heads, width, size] of one layer."""
    one = next(iter(known.values()))[layer]
    if all(b == beginnings[0] for b in beginnings):
        keys, values = (tensor.expand(len(beginnings), *tensor.shape) for tensor in one)
        return keys, values
    stacked = []
    for part in (0, 1):
        whole = one[part].new_zeros(len(beginnings), one[part].shape[0], width, one[part].shape[2])
        for row, beginning in enumerate(beginnings):
            if beginning:
                whole[row, :, width - len(beginning) :] = known[beginning][layer][part]
        stacked.append(whole)
    return stacked[0], stacked[1]
