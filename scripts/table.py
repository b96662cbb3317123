"""Run folders as one Markdown table: quality and cost of each, best nDCG@10 first.

`python scripts/table.py runs/sweeps/*` after a sweep such as the one in the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rerankbench.tracking.records import RunRecord


def main(folders: list[Path]) -> None:
    """Print the table; folders without a finished run are named on stderr."""
    rows = []
    for folder in folders:
        if not (folder / "metrics.json").is_file():
            print(f"{folder}: not finished", file=sys.stderr)
            continue
        record = RunRecord.read(folder)
        row, cost = record.metrics.measures["ndcg@10"], record.cost
        tokens = cost.usage.prompt_tokens + cost.usage.generated_tokens
        cells = [
            record.environment.choices["reranker"], f"{row.after:.3f}", f"{row.difference:+.3f}",
            f"{row.p_randomization:.3f}", f"{cost.requests:,}", f"{cost.usage.forward_passes:,}", f"{tokens:,}",
            f"{cost.seconds['rerank']:,.0f}", f"{cost.parse_failures:,}",
        ]  # fmt: skip
        rows.append((row.after, cells))
    heads = ["reranker", "nDCG@10", "diff.", "p", "requests", "passes", "tokens", "seconds", "failures"]
    print("| " + " | ".join(heads) + " |")
    print("|---" + "|---:" * (len(heads) - 1) + "|")
    for _, cells in sorted(rows, key=lambda pair: (-pair[0], pair[1][0])):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
