"""All eleven networks at toy size, and random inputs for them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from rerankbench.models.zoo.anmm import ANMM
from rerankbench.models.zoo.arc_i import ArcI
from rerankbench.models.zoo.arc_ii import ArcII
from rerankbench.models.zoo.cdssm import CDSSM
from rerankbench.models.zoo.conv_knrm import ConvKNRM
from rerankbench.models.zoo.drmm import DRMM
from rerankbench.models.zoo.dssm import DSSM
from rerankbench.models.zoo.duet import DUET
from rerankbench.models.zoo.knrm import KNRM
from rerankbench.models.zoo.match_pyramid import MatchPyramid
from rerankbench.models.zoo.network import Network, Sizes
from rerankbench.models.zoo.pacrr import PACRR
from rerankbench.models.zoo.ranker import ranker

if TYPE_CHECKING:
    import torch

    Pair = tuple[list[int], list[int]]

NETWORKS: dict[str, Network] = {
    "dssm": DSSM(buckets=97, hidden=12, output=8),
    "cdssm": CDSSM(buckets=97, width=8, filters=12, output=8),
    "arc_i": ArcI(filters=8, hidden=8),
    "arc_ii": ArcII(filters=6, first=4, second=6, rows=2, columns=3, hidden=8),
    "match_pyramid": MatchPyramid(filters=4, hidden=8),
    "drmm": DRMM(),
    "knrm": KNRM(),
    "knrm_log1p": KNRM(kernels=5, log1p=True),
    "conv_knrm": ConvKNRM(filters=8),
    "duet": DUET(filters=8, window=5),
    "anmm": ANMM(bins=20, hidden=8),
    "pacrr": PACRR(filters=4, hidden=8),
}
VOCABULARY = (
    "[PAD]",
    "[UNK]",
    "##ing",
    "cat",
    "dog",
    "mat",
    "the",
    "garden",
    "roses",
    "stock",
    "fell",
    "red",
    "a",
    "of",
)
QUERY, DOCUMENT = 6, 30


def toy(network: Network, seed: int = 0) -> torch.nn.Module:
    """A fresh ranker, in evaluation mode."""
    import torch

    torch.manual_seed(seed)
    sizes = Sizes(VOCABULARY, 8, QUERY, DOCUMENT)
    return ranker(network, sizes, torch.randn(len(VOCABULARY), 8), torch.rand(len(VOCABULARY)) + 0.1).eval()


def pairs(seed: int, n: int) -> list[Pair]:
    """Queries and documents of all lengths, none at all included."""
    draw = random.Random(seed)

    def text(longest: int) -> list[int]:
        return [draw.randrange(1, len(VOCABULARY)) for _ in range(draw.randint(0, longest))]

    return [(text(QUERY), text(DOCUMENT)) for _ in range(n)]


def scores(module: torch.nn.Module, batch: list[Pair], before: int = 0, after: int = 0) -> torch.Tensor:
    """Scores [B] of a batch, with this many pads more on both sides of each query and document."""
    import torch

    def padded(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(1, *map(len, texts)) + before + after
        ids = torch.full((len(texts), width), 3)  # a real token's id: only the mask tells padding
        mask = torch.zeros(len(texts), width, dtype=torch.bool)
        for row, text in enumerate(texts):
            ids[row, before : before + len(text)] = torch.tensor(text, dtype=torch.long)
            mask[row, before : before + len(text)] = True
        return ids, mask

    q_ids, q_mask = padded([query for query, _ in batch])
    d_ids, d_mask = padded([document for _, document in batch])
    found: torch.Tensor = module(q_ids, d_ids, q_mask, d_mask, module.get_buffer("idf")[q_ids])
    return found
