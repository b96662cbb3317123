"""Sequence packing: texts concatenated in one row, each attending to itself alone, so without any padding.

On a CPU the matrix products give a row the same bits in any batch, so a text's states, and with them every score, are
batch-invariant. In bfloat16, where padding changes the last bits, that decides close choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankbench.batching import packs
from rerankbench.models.lm.attention_hook import attention_hook, use_hooked_attention
from rerankbench.models.lm.prefix_cache import PrefixCache
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.lm.prefix_cache import KeysValues


@dataclass
class Segment:
    """A text, or the rest of one behind a prefix. prefix: keys and values of the `prefix_length` tokens before it.

    keys_values: its own, collected during the pass; None where they are not wanted.
    """

    ids: Sequence[int]
    prefix: KeysValues = field(default_factory=list)
    prefix_length: int = 0
    keys_values: KeysValues | None = None


@dataclass
class PackedReader:
    """Runs texts in packs of up to `budget` tokens; a longer text is a pack of its own."""

    network: Any
    budget: int
    usage: Usage
    _cache: PrefixCache = field(default_factory=PrefixCache)

    def prefill(self, inputs: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor, KeysValues]]:
        """Yield (index, hidden state of the last position [1, H], keys and values of all positions)."""
        for pack in packs([len(ids) for ids in inputs], self.budget):
            segments = [Segment(inputs[i], keys_values=[]) for i in pack]
            outputs = self._run(segments)
            self.usage.prompt_tokens += sum(len(inputs[i]) for i in pack)
            for index, segment, states in zip(pack, segments, outputs, strict=True):
                assert segment.keys_values is not None
                yield index, states[-1:], segment.keys_values

    def hidden_states(
        self, inputs: Sequence[tuple[int, ...]], prefixes: Sequence[tuple[int, ...]], last: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, hidden states [≤ last, H] of the `last` positions); prefixes: the cached prefix of each."""
        for pack in packs([len(ids) - len(prefix) for ids, prefix in zip(inputs, prefixes, strict=True)], self.budget):
            wanted = sorted({prefixes[i] for i in pack} - {()})
            new: dict[tuple[int, ...], KeysValues] = {prefix: [] for prefix in wanted if prefix not in self._cache}
            known = {(): [], **new, **{prefix: self._cache[prefix] for prefix in wanted if prefix not in new}}
            segments = [Segment(prefix, keys_values=keys_values) for prefix, keys_values in new.items()]
            for prefix, ids in ((prefixes[i], inputs[i]) for i in pack):
                segments.append(Segment(ids[len(prefix) :], known[prefix], len(prefix)))
            outputs = self._run(segments)[len(new) :]
            for prefix, keys_values in new.items():
                self._cache.add(prefix, keys_values)
            self.usage.prompt_tokens += sum(len(inputs[i]) for i in pack)
            # Each prompt counts its prefix as reused, except that a new prefix had to be computed once.
            self.usage.reused_tokens += sum(len(prefixes[i]) for i in pack) - sum(map(len, new))
            yield from zip(pack, (states[-last:] for states in outputs), strict=True)

    def _run(self, segments: Sequence[Segment]) -> list[torch.Tensor]:
        """The hidden states [T, H] of each segment, from one pass."""
        import torch

        device = self.network.device
        ids = torch.tensor([[token for segment in segments for token in segment.ids]], device=device)
        positions = [torch.arange(len(segment.ids)) + segment.prefix_length for segment in segments]
        with torch.inference_mode(), attention_hook(_PackedAttention(segments)):
            out = self.network.base_model(
                input_ids=ids,
                attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),  # so that none is built
                position_ids=torch.cat(positions)[None].to(device),
                use_cache=False,
            ).last_hidden_state[0]
        self.usage.forward_passes += 1
        return list(out.split([len(segment.ids) for segment in segments]))


def enable_packing(network: Any) -> bool:
    """Set the network's attention to one that can pack, if two texts in one pack give what each gives by itself.

    They do not where tokens meet outside of attention (convolutions, recurrent layers) or where the network computes
    attention in its own way; then it is left as it was.
    """
    import torch

    if network.config.get_text_config()._attn_implementation != "sdpa":
        return False
    texts = [tuple(range(3, 12)), tuple(range(7, 13))]
    with torch.inference_mode():
        alone = [network.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in texts]
    try:
        use_hooked_attention(network)
        first, second = texts
        prefix: KeysValues = []
        segments = [Segment(first), Segment(second[:4], keys_values=prefix), Segment(second[4:], prefix, 4)]
        a, b, c = PackedReader(network, len(first + second), Usage())._run(segments)
        equal = all(map(_nearly_equal, alone, (a, torch.cat([b, c]))))
    except (ValueError, KeyError, TypeError, RuntimeError, ImportError):
        equal = False
    if not equal:
        network.set_attn_implementation("sdpa")
    return equal


def _nearly_equal(states: torch.Tensor, others: torch.Tensor) -> bool:
    return float((states - others).abs().max()) <= 0.05 * float(states.abs().max())


class _PackedAttention:
    """The attention of one packed pass, called layer by layer."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.layer = 0
        self.masks: dict[tuple[int, int], torch.Tensor] = {}

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float | None,
    ) -> torch.Tensor:
        """query: [1, heads, T, size], key and value: [1, key heads, T, size] -> [1, T, heads, size]."""
        import torch

        groups = query.shape[1] // key.shape[1]
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        start = 0
        for segment in self.segments:
            span = slice(start, start := start + len(segment.ids))
            keys, values = key[0, :, span], value[0, :, span]
            if segment.keys_values is not None:
                segment.keys_values.append((keys.clone(), values.clone()))  # a view would hold the whole pack
            if segment.prefix_length:
                before = segment.prefix[self.layer]
                keys, values = torch.cat([before[0], keys], 1), torch.cat([before[1], values], 1)
            # Heads that share keys are adjacent, so that the keys are a view, not copies.
            queries = query[0, :, span].reshape(-1, groups, len(segment.ids), query.shape[3])
            expanded = (-1, groups, -1, -1)
            attended = torch.nn.functional.scaled_dot_product_attention(
                queries,
                keys[:, None].expand(expanded),
                values[:, None].expand(expanded),
                attn_mask=self._mask(segment, query) if segment.prefix_length else None,
                is_causal=not segment.prefix_length,
                scale=scaling,
            )
            out[0, span] = attended.flatten(0, 1).transpose(0, 1)
        self.layer += 1
        return out

    def _mask(self, segment: Segment, query: torch.Tensor) -> torch.Tensor:
        """0 where attention goes, else -inf, [T, prefix + T]: the whole prefix, and the segment up to each position."""
        import torch

        shape = (len(segment.ids), segment.prefix_length + len(segment.ids))
        if shape not in self.masks:
            hidden = torch.full(shape, -torch.inf, dtype=query.dtype, device=query.device)
            self.masks[shape] = hidden.triu(segment.prefix_length + 1)
        return self.masks[shape]
