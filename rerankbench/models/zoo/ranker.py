"""A network with its embeddings and document frequencies, as one torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankbench.models.zoo.network import Network, Sizes, Text

if TYPE_CHECKING:
    import torch


def ranker(network: Network, sizes: Sizes, table: torch.Tensor, idf: torch.Tensor) -> torch.nn.Module:
    """A module `forward(q_ids [B, Q], d_ids [B, D], q_mask, d_mask, q_idf [B, Q]) -> [B]`, layers fresh.

    table: embeddings [V, H], not used by a network that reads none. idf: [V], kept as a buffer, for the caller to look
    up. Masks are bool. What is beyond the longest input that the layers fit is not read.
    """
    import torch

    class Ranker(torch.nn.Module):  # in here, so that configurations that name networks load no torch
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleDict(network.layers(sizes))
            self.idf: torch.Tensor
            self.table: torch.Tensor | None
            self.register_buffer("idf", idf.float())
            if network.embeddings == "trained":
                self.table = torch.nn.Parameter(table.float())
            else:  # a buffer, so that nothing can make it learn
                self.register_buffer("table", table.float() if network.embeddings == "frozen" else None)

        def forward(
            self,
            q_ids: torch.Tensor,
            d_ids: torch.Tensor,
            q_mask: torch.Tensor,
            d_mask: torch.Tensor,
            q_idf: torch.Tensor,
        ) -> torch.Tensor:
            q_places, d_places = _real_first(q_mask)[:, : sizes.query], _real_first(d_mask)[:, : sizes.document]
            query = self._text(q_ids.gather(1, q_places), q_mask.gather(1, q_places))
            document = self._text(d_ids.gather(1, d_places), d_mask.gather(1, d_places))
            return network.score(self.layers, query, document, q_idf.gather(1, q_places))

        def _text(self, ids: torch.Tensor, mask: torch.Tensor) -> Text:
            if self.table is None:
                return Text(ids, mask, self.idf.new_zeros(*ids.shape, 0))
            return Text(ids, mask, torch.nn.functional.embedding(ids, self.table) * mask.unsqueeze(-1))

    return Ranker()


def _real_first(mask: torch.Tensor) -> torch.Tensor:
    """The places of the real tokens in order, then those of the padding, [B, T]."""
    return mask.int().argsort(dim=1, descending=True, stable=True)
