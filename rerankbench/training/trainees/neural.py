"""A neural ranker in training: fresh layers on an encoder's input embeddings, or a trained one going on."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.models.zoo.checkpoint import is_trained, new_ranker, save_ranker
from rerankbench.rerankers.scorers.neural import Neural
from rerankbench.training.groups import Group
from rerankbench.training.trainees.cross_encoder import in_rows, pointwise_requests
from rerankbench.types import Document

if TYPE_CHECKING:
    import torch

    from rerankbench.rerankers.scorers.neural import Pair


class NeuralTrainee:
    """Reads query and document together, in float32. Fresh layers get weights from torch's seed."""

    def __init__(self, scorer: Neural) -> None:
        self.scorer = scorer
        if not is_trained(scorer.model):
            scorer.ranker = new_ranker(
                scorer.model, scorer.network, scorer.tokenizer, scorer.max_query, scorer.max_document
            )
        self.network: torch.nn.Module = scorer.ranker
        _keep_freed_memory()

    def fit(self, documents: Iterable[Document]) -> None:
        """Take every token's idf, ln((N + 1) / (n + 1)), from the documents of the collection. Before it, all are 1."""
        import torch

        tokenizer = self.scorer.tokenizer.backend.backend_tokenizer
        texts = (document.text for document in documents)
        total, containing = 0, Counter[int]()
        while some := list(islice(texts, 1024)):
            total += len(some)
            for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False):
                containing.update(set(encoding.ids))
        idf = self.network.get_buffer("idf")
        counts = torch.tensor([containing[token] for token in range(len(idf))], dtype=torch.float64)
        idf.copy_(((total + 1) / (counts + 1)).log())

    def inputs(self, groups: Sequence[Group]) -> list[Pair]:
        """One input a candidate, group after group: the token ids of query and document."""
        return self.scorer.inputs(pointwise_requests(groups))

    def length(self, item: Pair) -> int:
        """See Trainee."""
        return len(item[0]) + len(item[1])

    def forward(self, items: Sequence[Pair]) -> list[torch.Tensor]:
        """A score for each pair, in float32 whatever the precision of the stage: kernels are too narrow for less."""
        import torch

        with torch.autocast(self.network.get_buffer("idf").device.type, enabled=False):
            return list(self.scorer.forward(items).unbind())

    def scores(self, groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """See Trainee."""
        return in_rows(groups, outputs, width)

    def save(self, folder: Path) -> None:
        """Write `neural.json`, weights and tokenizer: what the scorer loads as `model.path`."""
        scorer = self.scorer
        save_ranker(folder, self.network, scorer.network, scorer.tokenizer, scorer.max_query, scorer.max_document)


def _keep_freed_memory() -> None:
    """Have glibc, where it is glibc, keep what this process frees.

    The gradient of a whole vocabulary is larger than what it keeps by itself. Given back to the system and faulted in
    anew, it takes half of the time of each step.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
