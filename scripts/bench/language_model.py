"""Yes/no scoring beside the plain way: `model(**batch)` with all its logits, at equal batch size.

Shows what label-only logits and shared prefixes bring, on the same prompts, weights, threads and number format, in
one process, alternating. `python scripts/bench/language_model.py [--queries 10] [--depth 20] [--rounds 3]`
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import torch
from peers import load_average, pydocs_lists  # the folder of this script is on the path

from rerankbench import load_reranker
from rerankbench.batching import token_batches
from rerankbench.rerankers.requests import Pointwise
from rerankbench.types import Candidate, Document, Query


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    print(load_average())
    requests = [
        Pointwise(Query(str(place), query), Candidate(Document(str(rank), text), rank, 0.0))
        for place, (query, documents) in enumerate(pydocs_lists(options.queries, options.depth))
        for rank, text in enumerate(documents)
    ]
    ours, plain = [], []
    for number in range(options.rounds + 1):  # the first is a warm-up
        scorer = load_reranker("yes_no", f"model.dtype={options.dtype}").reranker.scorer
        model = scorer.language_model
        prompts = [scorer.encode_prompt(request) for request in requests]
        labels = model.prompt_encoder.label_ids(prompts[:1], scorer.prompt.labels)[0]
        model.network  # noqa: B018 (loaded before the clock starts)
        began = perf_counter()
        mine = scorer.answer(requests)
        middle = perf_counter()
        theirs = _plainly(model, [prompt.ids for prompt in prompts], labels)
        ended = perf_counter()
        if number:
            ours.append(middle - began)
            plain.append(ended - middle)
    apart = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    tokens = sum(len(prompt.ids) for prompt in prompts)
    print(f"{len(requests)} prompts, {tokens:,} tokens, {model.usage.reused_tokens:,} of them reused, {options.dtype}")
    print(f"plain: {statistics.median(plain):.2f} s, ours: {statistics.median(ours):.2f} s")
    print(f"ratio {statistics.median(plain) / statistics.median(ours):.2f}, scores apart by at most {apart:.1e}")


def _plainly(model, prompts: list[tuple[int, ...]], labels: list[int]) -> list[float]:  # type: ignore[no-untyped-def]
    """Padded batches of the same sizes, whole prompts, all logits."""
    scores = [0.0] * len(prompts)
    for batch in token_batches([len(ids) for ids in prompts], model.model.tokens_per_batch):
        width = max(len(prompts[i]) for i in batch)
        ids = torch.tensor([[0] * (width - len(prompts[i])) + list(prompts[i]) for i in batch])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
        with torch.inference_mode():
            logits = model.network(input_ids=ids, attention_mask=mask).logits[:, -1].float()
        found = torch.log_softmax(logits[:, labels], dim=-1)[:, 0]
        for i, score in zip(batch, found.tolist(), strict=True):
            scores[i] = score
    return scores


if __name__ == "__main__":
    main()
