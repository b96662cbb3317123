"""Our three encoder scorers beside sentence-transformers at its defaults: same pairs, same weights, same threads, fp32.

Run: python scripts/bench/encoders.py [--data BEIR_FOLDER] [--pairs 600] [--rounds 5] [--only NAME ...] [--busy]

The pairs are queries of the embedded pydocs benchmark (or of a collection), each with ten documents drawn with a seed;
the network is all-MiniLM-L6-v2, as a cross-encoder with a head drawn with a seed. Each round runs both sides, the
first one in turn, after a warm-up, and nothing is remembered from round to round. The peer is asked for each
distinct text once, as a careful user would.

Prints for each scorer the seconds (best and median), the ratio, the arithmetic done per second as a share of what a
large sgemm reaches in the same process, and the share of padding. Arithmetic counts real tokens only, so padding and
Python lower the share. Exits 1 if scores differ by more than 1e-4, or if we are slower.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import sentence_transformers
import torch
import transformers
from sentence_transformers.util import pairwise_cos_sim
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerankbench.benchmarks.local import Local
from rerankbench.benchmarks.pydocs import PyDocs
from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.types import Candidate, Document, Query
from rerankbench.usage import Usage

PER_QUERY = 10
TOLERANCE = 1e-4
Pairs = Sequence[tuple[str, str]]
Clock = Callable[[], float]


class Scorer(Protocol):
    """What the three scorers have in common."""

    usage: Usage

    def answer(self, requests: Sequence[Pointwise]) -> Sequence[Any]:
        """One score a request."""
        ...


@dataclass(frozen=True)
class Contest:
    """Two ways to the same scores: a scorer of ours, made anew for each round, and a function of the peer."""

    name: str
    ours: Callable[[], Scorer]
    theirs: Callable[[Pairs], Any]
    peer: str


def draw_pairs(data: Path | None, n: int) -> list[tuple[str, str]]:
    """Queries with ten documents each, of whatever length they come."""
    benchmark = (PyDocs() if data is None else Local(path=str(data))).load()
    draw = random.Random(0)
    documents = [document.text for document in benchmark.corpus]
    queries = [query.text for query in benchmark.queries]
    pairs: list[tuple[str, str]] = []
    while len(pairs) < n:
        query = draw.choice(queries)
        pairs += [(query, document) for document in draw.sample(documents, PER_QUERY)]
    return pairs[:n]


def contests(minilm: Model, headed: Path) -> list[Contest]:
    """Cross-encoder, bi-encoder and late interaction, each beside the peer's class for it."""
    folder = minilm.location
    cross = sentence_transformers.CrossEncoder(str(headed), device="cpu")
    single = sentence_transformers.SentenceTransformer(folder, device="cpu")
    token, normalize = _peer_modules(folder)
    multi = sentence_transformers.MultiVectorEncoder(modules=[token, normalize], device="cpu")

    def cross_theirs(pairs: Pairs) -> Any:
        return cross.predict(list(pairs), activation_fn=torch.nn.Identity())  # logits, as ours

    def single_theirs(pairs: Pairs) -> Any:
        rows, left, right = _distinct(pairs)
        vectors = single.encode(rows, convert_to_tensor=True)
        return pairwise_cos_sim(vectors[left], vectors[right])

    def multi_theirs(pairs: Pairs) -> Any:
        rows, left, right = _distinct(pairs)
        vectors = multi.encode(rows)
        return multi.similarity_pairwise([vectors[i] for i in left], [vectors[i] for i in right])

    headed_model = Model(path=str(headed), dtype="float32", device="cpu")
    return [
        Contest("cross_encoder", lambda: CrossEncoder(model=headed_model), cross_theirs, "CrossEncoder.predict"),
        Contest("bi_encoder", lambda: BiEncoder(model=minilm), single_theirs, "SentenceTransformer.encode"),
        Contest(
            "late_interaction",
            lambda: LateInteraction(model=minilm, skip_punctuation=False),
            multi_theirs,
            "MultiVectorEncoder.encode",
        ),
    ]


def _peer_modules(folder: str) -> list[torch.nn.Module]:
    """The network with normalised token vectors: what the peer's MaxSim needs, without its random projection."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Transformer

    return [Transformer(folder, max_seq_length=256), Normalize(module_input_name="token_embeddings")]


def _distinct(pairs: Pairs) -> tuple[list[str], list[int], list[int]]:
    """The distinct texts, and for each pair the rows of its query and of its document."""
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair))}
    return list(rows), [rows[query] for query, _ in pairs], [rows[document] for _, document in pairs]


def save_headed(minilm: Model, folder: Path) -> None:
    """The network with a scoring head of one output, drawn with a seed, so that both sides load the same."""
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_pretrained(minilm.location, num_labels=1, dtype=torch.float32)
    torch.nn.init.normal_(network.classifier.weight, std=0.2)  # scores about one apart, as of a trained head
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm.location).save_pretrained(folder)


def sgemm_rate(clock: Clock, size: int = 2048) -> float:
    """The best of five products of large fp32 matrices, in FLOP/s."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    seconds = []
    for _ in range(5):
        began = clock()
        left @ right
        seconds.append(clock() - began)
    return float(2 * size**3 / min(seconds))


def flops(config: Any, lengths: Sequence[int]) -> float:
    """Of a BERT encoder on inputs of these lengths: its matrix products, and attention over the input's own tokens."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    linear = 2 * (4 * hidden**2 + 2 * hidden * inner)
    return float(sum(layers * length * (linear + 4 * length * hidden) for length in lengths))


def input_lengths(contest: Contest, pairs: Pairs, folder: str) -> list[int]:
    """Tokens of each input that the network has to read."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if contest.name == "cross_encoder":
        ids = tokenizer([q for q, _ in pairs], [d for _, d in pairs], truncation=True, max_length=512)["input_ids"]
    else:
        ids = tokenizer(_distinct(pairs)[0], truncation=True, max_length=256)["input_ids"]
    return [len(row) for row in ids]


def run(contest: Contest, pairs: Pairs, rounds: int, work: float, clock: Clock) -> bool:
    """Print a contest's table; whether the scores agreed and we were not slower."""
    requests = [
        Pointwise(Query(query, query), Candidate(Document(document, document), 0, 0.0)) for query, document in pairs
    ]
    warm = Pointwise(Query("w", "warm up"), Candidate(Document("w", "nothing that comes again"), 0, 0.0))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    difference, rate, usage = 0.0, sgemm_rate(clock), Usage()
    for number in range(rounds):
        scorer = contest.ours()
        scorer.answer([warm])
        contest.theirs([("warm up", "nothing that comes again")])
        sides: dict[str, Callable[[], Any]] = {
            "ours": lambda scorer=scorer: scorer.answer(requests),  # type: ignore[misc]
            "theirs": lambda: contest.theirs(pairs),
        }
        scores = {}
        for side in sorted(sides, reverse=number % 2 == 1):
            began = clock()
            scores[side] = torch.as_tensor(sides[side]())
            seconds[side].append(clock() - began)
        difference = max(difference, float((scores["ours"] - scores["theirs"]).abs().max()))
        rate = max(rate, sgemm_rate(clock))
        usage = scorer.usage
    best = {side: min(values) for side, values in seconds.items()}
    median = {side: statistics.median(values) for side, values in seconds.items()}
    paired = statistics.median(theirs / ours for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True))
    padded = usage.padded_tokens / (usage.prompt_tokens + usage.padded_tokens)
    print(f"{contest.name}")
    for side, label in (("ours", "rerankbench"), ("theirs", contest.peer)):
        share = work / best[side] / rate
        print(f"  {label:<28} best {best[side]:7.3f} s  median {median[side]:7.3f} s  {share:.2f} of sgemm")
    print(f"  ratio: best {best['theirs'] / best['ours']:.2f}, median of pairs {paired:.2f}; ", end="")
    print(f"sgemm {rate / 1e9:.0f} GFLOP/s; padding {padded:.1%} of tokens; scores within {difference:.1e}", flush=True)
    return difference <= TOLERANCE and best["ours"] <= best["theirs"]


def main() -> int:
    """Run the contests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a collection in BEIR layout instead of pydocs")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="which of cross_encoder, bi_encoder, late_interaction")
    parser.add_argument("--busy", action="store_true", help="one thread, processor time: for a machine that is in use")
    options = parser.parse_args()
    clock = process_time if options.busy else perf_counter
    if options.busy:
        torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    load = os.getloadavg()[0]
    warning = ": in use, expect noise (or measure with --busy)" if load > 0.5 and not options.busy else ""
    print(f"load average {load:.2f}{warning}")
    words = ["reranker=bi_encoder", "model=minilm", "model.dtype=float32", "model.device=cpu"]
    minilm: Model = build(compose("eval", words).parts["reranker"]["scorer"]["model"], "reranker.scorer.model")
    pairs = draw_pairs(options.data, options.pairs)
    print(f"{len(pairs)} pairs, torch {torch.__version__}, {torch.get_num_threads()} threads, fp32, ", end="")
    print(f"sentence-transformers {sentence_transformers.__version__}, {clock.__name__}")
    good = True
    with tempfile.TemporaryDirectory() as name:
        headed = Path(name) / "headed"
        save_headed(minilm, headed)
        config = AutoModelForSequenceClassification.from_pretrained(headed).config
        for contest in contests(minilm, headed):
            if not options.only or contest.name in options.only:
                lengths = input_lengths(contest, pairs, minilm.location)
                print(f"{contest.name}: {len(lengths)} inputs, {sum(lengths):,} tokens", flush=True)
                good &= run(contest, pairs, options.rounds, flops(config, lengths), clock)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
