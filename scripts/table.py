"""Run folders as one Markdown table: quality and cost of each, best nDCG@10 first.

`python scripts/table.py runs/sweeps/*` after a sweep such as the one in the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rerankbench.tracking.run_folder import read_json


def main(folders: list[Path]) -> None:
    """Print the table; folders without a finished run are named on stderr."""
    rows = []
    for folder in folders:
        if not (folder / "metrics.json").is_file():
            print(f"{folder}: not finished", file=sys.stderr)
            continue
        metrics, cost = read_json(folder, "metrics.json"), read_json(folder, "cost.json")
        choices = read_json(folder, "environment.json")["choices"]
        row = metrics["measures"]["ndcg@10"]
        tokens = cost["prompt_tokens"] + cost["generated_tokens"]
        cells = [
            choices["reranker"], f"{row['reranked']:.3f}", f"{row['difference']:+.3f}", f"{row['p_randomization']:.3f}",
            f"{cost['requests']:,}", f"{cost['forward_passes']:,}", f"{tokens:,}", f"{cost['seconds']['rerank']:,.0f}",
            f"{cost['parse_failures']:,}",
        ]  # fmt: skip
        rows.append((row["reranked"], cells))
    heads = ["reranker", "nDCG@10", "diff.", "p", "requests", "passes", "tokens", "seconds", "failures"]
    print("| " + " | ".join(heads) + " |")
    print("|---" + "|---:" * (len(heads) - 1) + "|")
    for _, cells in sorted(rows, key=lambda pair: (-pair[0], pair[1][0])):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
