"""Texts one behind the other in a single row, each attending to itself alone: no padding, and no company that matters.

On a CPU the matrix products give a row the same bits in any company, so a text's states, and with them every score,
do not depend on what it is read beside. In bfloat16, where padding shifts the last bits, that decides close choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankbench.batching import packs
from rerankbench.models.lm.prefix_cache import Beginnings
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.lm.prefix_cache import KeysValues

NAME = "rerankbench_packed"


@dataclass
class Piece:
    """A text, or what follows a beginning whose keys and values are known. read: its own, filled while it is read."""

    ids: Sequence[int]
    behind: KeysValues = field(default_factory=list)
    places_behind: int = 0
    read: KeysValues | None = None


@dataclass
class Packed:
    """Reads texts in packs of up to `budget` tokens; a longer text is a pack of its own."""

    network: Any
    budget: int
    usage: Usage
    _kept: Beginnings = field(default_factory=Beginnings)

    def texts(self, inputs: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor, KeysValues]]:
        """Yield (index, hidden state of the last place [1, H], keys and values of all places)."""
        for pack in packs([len(ids) for ids in inputs], self.budget):
            pieces = [Piece(inputs[i], read=[]) for i in pack]
            found = self._run(pieces)
            self.usage.prompt_tokens += sum(len(inputs[i]) for i in pack)
            for index, piece, states in zip(pack, pieces, found, strict=True):
                assert piece.read is not None
                yield index, states[-1:], piece.read

    def states(
        self, inputs: Sequence[tuple[int, ...]], beginnings: Sequence[tuple[int, ...]], keep: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index, hidden states [≤ keep, H] of the last `keep` places); beginnings: what each may start from."""
        for pack in packs([len(ids) - len(b) for ids, b in zip(inputs, beginnings, strict=True)], self.budget):
            wanted = sorted({beginnings[i] for i in pack} - {()})
            new: dict[tuple[int, ...], KeysValues] = {b: [] for b in wanted if b not in self._kept}
            known = {(): [], **new, **{b: self._kept[b] for b in wanted if b not in new}}
            pieces = [Piece(b, read=read) for b, read in new.items()]
            for b, ids in ((beginnings[i], inputs[i]) for i in pack):
                pieces.append(Piece(ids[len(b) :], known[b], len(b)))
            found = self._run(pieces)[len(new) :]
            for beginning, read in new.items():
                self._kept.add(beginning, read)
            self.usage.prompt_tokens += sum(len(inputs[i]) for i in pack)
            # Each prompt that starts from a beginning adds it, the first one too, which had to read it.
            self.usage.reused_tokens += sum(len(beginnings[i]) for i in pack) - sum(map(len, new))
            yield from zip(pack, (states[-keep:] for states in found), strict=True)

    def _run(self, pieces: Sequence[Piece]) -> list[torch.Tensor]:
        """The hidden states [T, H] of each piece, from one pass."""
        import torch

        device = self.network.device
        ids = torch.tensor([[token for piece in pieces for token in piece.ids]], device=device)
        places = [torch.arange(len(p.ids)) + p.places_behind for p in pieces]
        with torch.inference_mode(), _packing(pieces):
            out = self.network.base_model(
                input_ids=ids,
                attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),  # of ours: none is to be made
                position_ids=torch.cat(places)[None].to(device),
                use_cache=False,
            ).last_hidden_state[0]
        self.usage.forward_passes += 1
        return list(out.split([len(piece.ids) for piece in pieces]))


def packable(network: Any) -> bool:
    """Make the network's attention that of packs, if two texts read in one pack come out as each by itself.

    They do not where places meet outside of attention (convolutions, recurrent layers) or where attention is computed
    in a way of the network's own; then it is left as it was.
    """
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if network.config.get_text_config()._attn_implementation != "sdpa":
        return False
    texts = [tuple(range(3, 12)), tuple(range(7, 13))]
    with torch.inference_mode():
        alone = [network.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in texts]
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    try:
        network.set_attn_implementation(NAME)
        first, second = texts
        read: KeysValues = []
        pieces = [Piece(first), Piece(second[:4], read=read), Piece(second[4:], read, 4)]
        a, b, c = Packed(network, len(first + second), Usage())._run(pieces)
        near = all(map(_near, alone, (a, torch.cat([b, c]))))
    except (ValueError, KeyError, TypeError, RuntimeError, ImportError):
        near = False
    if not near:
        network.set_attn_implementation("sdpa")
    return near


def _near(states: torch.Tensor, others: torch.Tensor) -> bool:
    return float((states - others).abs().max()) <= 0.05 * float(states.abs().max())


class _Pack:
    """The pieces that are being read, and the layer that they have reached."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.layer = 0
        self.masks: dict[tuple[int, int], torch.Tensor] = {}

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """query: [1, heads, T, size], key and value: [1, key heads, T, size] -> [1, T, heads, size]."""
        import torch

        groups = query.shape[1] // key.shape[1]
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        start = 0
        for piece in self.pieces:
            own = slice(start, start := start + len(piece.ids))
            keys, values = key[0, :, own], value[0, :, own]
            if piece.read is not None:
                piece.read.append((keys.clone(), values.clone()))  # a view would hold on to the whole pack
            if piece.places_behind:
                before = piece.behind[self.layer]
                keys, values = torch.cat([before[0], keys], 1), torch.cat([before[1], values], 1)
            # Heads that share keys stand side by side, so that the keys are a view, not copies.
            wanted = query[0, :, own].reshape(-1, groups, len(piece.ids), query.shape[3])
            many = (-1, groups, -1, -1)
            attended = torch.nn.functional.scaled_dot_product_attention(
                wanted,
                keys[:, None].expand(many),
                values[:, None].expand(many),
                attn_mask=self._mask(piece, query) if piece.places_behind else None,
                is_causal=not piece.places_behind,
                scale=scaling,
            )
            out[0, own] = attended.flatten(0, 1).transpose(0, 1)
        self.layer += 1
        return out

    def _mask(self, piece: Piece, query: torch.Tensor) -> torch.Tensor:
        """0 where attention goes, else -inf, [T, places behind + T]: to all behind, and to its own up to each place."""
        import torch

        shape = (len(piece.ids), piece.places_behind + len(piece.ids))
        if shape not in self.masks:
            hidden = torch.full(shape, -torch.inf, dtype=query.dtype, device=query.device)
            self.masks[shape] = hidden.triu(piece.places_behind + 1)
        return self.masks[shape]


_packs: list[_Pack] = []
"""The one that is being read; empty otherwise."""


@contextmanager
def _packing(pieces: Sequence[Piece]) -> Iterator[None]:
    _packs.append(_Pack(pieces))
    try:
        yield
    finally:
        _packs.pop()


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in every layer: outside of packs, plain scaled dot product attention."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if _packs:
        return _packs[-1].attend(query, key, value, scaling), None
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    return output, None
