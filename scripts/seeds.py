"""Two ways of training over several seeds, side by side: nDCG@10 of each run, and a paired test over seeds x queries.

`python scripts/seeds.py runs/with-0 runs/with-1 -- runs/without-0 runs/without-1`, the same seeds in the same order.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rerankbench.evaluation.significance import paired
from rerankbench.tracking.records import RunRecord

MEASURE = "ndcg@10"


def per_query(record: RunRecord) -> dict[str, float]:
    """Query → nDCG@10 of the trained reranker."""
    return {values.query: values.reranked for values in record.per_query if values.measure == MEASURE}


def main(words: list[str]) -> None:
    """Print the table."""
    cut = words.index("--")
    first, second = [Path(w) for w in words[:cut]], [Path(w) for w in words[cut + 1 :]]
    pairs = list(zip(first, second, strict=True))
    print(f"| seed | {first[0].name} … | {second[0].name} … | difference |\n|---|---:|---:|---:|")
    left: list[float] = []
    right: list[float] = []
    for one, other in pairs:
        record = RunRecord.read(one)
        mine, theirs = per_query(record), per_query(RunRecord.read(other))
        assert mine.keys() == theirs.keys(), f"{one} and {other} have other queries"
        left += [mine[query] for query in mine]
        right += [theirs[query] for query in mine]
        means = sum(mine.values()) / len(mine), sum(theirs.values()) / len(theirs)
        print(f"| {record.config['seed']} | {means[0]:.4f} | {means[1]:.4f} | {means[0] - means[1]:+.4f} |")
    test = paired(right, left, seed=0)
    low, high = test["ci95"]
    print(f"| all | {sum(left) / len(left):.4f} | {sum(right) / len(right):.4f} | {test['difference']:+.4f}"
          f" [{low:+.4f}, {high:+.4f}], p = {test['p_randomization']:.4f} |")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
