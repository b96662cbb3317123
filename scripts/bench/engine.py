"""The engine beside one query at a time: the same strategy, model and queries, all side by side or one after another.

Sequential strategies ask little at once; the engine fills batches from many queries. Results must be identical.
`python scripts/bench/engine.py [reranker …] [--queries 30] [--depth 20] [--dtype float32]`
"""

from __future__ import annotations

import argparse
from time import perf_counter

from peers import load_average, pydocs_lists  # the folder of this script is on the path

from rerankbench import load_reranker


def main() -> None:
    """Measure and print a line for each reranker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rerankers", nargs="*", default=["setwise_heapsort", "rankgpt"])
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--set", nargs="*", default=[], help="more overrides")
    options = parser.parse_args()
    print(load_average())
    lists = pydocs_lists(options.queries, options.depth)
    for name in options.rerankers:
        times = {}
        orders = {}
        for way in ("together", "apart"):
            reranker = load_reranker(name, f"model.dtype={options.dtype}", *options.set)
            reranker.rank(*lists[0])  # loads the model
            began = perf_counter()
            parts = [lists] if way == "together" else [[one] for one in lists]
            orders[way] = [[one.index for one in ranking] for part in parts for ranking in reranker.rank_all(part)]
            times[way] = perf_counter() - began
        same = sum(a == b for a, b in zip(orders["together"], orders["apart"], strict=True))
        ratio = times["apart"] / times["together"]
        print(f"{name}, {options.dtype}: apart {times['apart']:.1f} s, together {times['together']:.1f} s,"
              f" ratio {ratio:.2f}, {same} of {len(lists)} orders identical")  # fmt: skip


if __name__ == "__main__":
    main()
