"""The engine beside one query at a time: the same strategy, model and queries, all side by side or one after another.

Sequential strategies ask little at once; the engine fills batches from many queries. Results must be identical.
`--decode N`: every answer is generated for exactly N tokens, as by a model that follows the format; a small model stops
after a few, and then nearly all the time goes into reading prompts.
On a busy machine the ratio of CPU time with OMP_NUM_THREADS=1 is the one to look at: waiting is no part of it.
`python scripts/bench/engine.py [reranker …] [--queries 30] [--depth 20] [--dtype float32] [--decode N] [--set …]`
"""

from __future__ import annotations

import argparse
from time import perf_counter, process_time
from typing import Any

from peers import load_average, pydocs_lists  # the folder of this script is on the path

from rerankbench import load_reranker


def main() -> None:
    """Measure and print a line for each reranker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rerankers", nargs="*", default=["setwise_heapsort", "rankgpt"])
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--decode", type=int, help="tokens of every answer")
    parser.add_argument("--set", nargs="*", default=[], help="more overrides")
    options = parser.parse_args()
    print(load_average())
    lists = pydocs_lists(options.queries, options.depth)
    for name in options.rerankers:
        times: dict[str, float] = {}
        work: dict[str, float] = {}
        orders: dict[str, Any] = {}
        answers: dict[str, dict[str, str]] = {"together": {}, "apart": {}}
        for way in ("together", "apart"):
            reranker = load_reranker(name, f"model.dtype={options.dtype}", *options.set)
            scorer = reranker.reranker.scorer
            if options.decode:
                decode_exactly(scorer, options.decode)
            reranker.rank(*lists[0])  # loads the model
            scorer.record = lambda request, prompt, answer, kept=answers[way]: kept.update({prompt: str(answer)})
            before = (scorer.usage.prompt_tokens, scorer.usage.generated_tokens)
            began, worked = perf_counter(), process_time()
            parts = [lists] if way == "together" else [[one] for one in lists]
            orders[way] = [[one.index for one in ranking] for part in parts for ranking in reranker.rank_all(part)]
            times[way], work[way] = perf_counter() - began, process_time() - worked
            read, written = scorer.usage.prompt_tokens - before[0], scorer.usage.generated_tokens - before[1]
        same = sum(a == b for a, b in zip(orders["together"], orders["apart"], strict=True))
        same_answers = sum(answers["apart"].get(prompt) == answer for prompt, answer in answers["together"].items())
        forced = f", {options.decode} tokens an answer forced" if options.decode else ""
        print(f"{name}, {options.dtype}, depth {options.depth}, {read:,} tokens read and {written:,} written{forced}: "
              f"apart {times['apart']:.1f} s, together {times['together']:.1f} s, "
              f"ratio {times['apart'] / times['together']:.2f} (of CPU time {work['apart'] / work['together']:.2f}: "
              f"{work['apart']:.1f} and {work['together']:.1f} s), {same} of {len(lists)} orders and "
              f"{same_answers} of {len(answers['together'])} answers identical", flush=True)  # fmt: skip


def decode_exactly(scorer: Any, tokens: int) -> None:
    """Have every answer generated for this many tokens, whatever ends it."""
    scorer.max_new_tokens = lambda request: tokens
    scorer.language_model._ends = set()


if __name__ == "__main__":
    main()
