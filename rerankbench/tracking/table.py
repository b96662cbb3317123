"""The table at the end of a run, made from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.tracking.run_folder import read_json

if TYPE_CHECKING:
    from rich.console import Console


def show(folder: Path, console: Console | None = None) -> None:
    """Print first stage and reranked side by side, with the tests, the cost, and where the folder is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = console or Console(highlight=False)
    metrics, cost = read_json(folder, "metrics.json"), read_json(folder, "cost.json")
    benchmark = read_json(folder, "environment.json").get("benchmark", {})
    title = f"{benchmark.get('name', '')} {benchmark.get('split', '')}: {metrics['queries']} queries".strip()
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    for column in ("first", "reranked", "diff.", "95 % interval", "p (t)", "p (rand.)"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in metrics["measures"].items():
        low, high = row["ci95"]
        numbers = (f"{row['first_stage']:.4f}", f"{row['reranked']:.4f}", f"{row['difference']:+.4f}")
        tests = (f"{low:+.3f} … {high:+.3f}", _p(row["p_ttest"]), _p(row["p_randomization"]))
        table.add_row(name, *numbers, *tests)
    judged = metrics["judged@10"]
    table.add_row("judged@10", f"{judged['first_stage']:.4f}", f"{judged['reranked']:.4f}")
    console.print(table)
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in cost["seconds"].items())
    console.print(f"seconds: {seconds}", soft_wrap=True)
    console.print(
        f"{cost['requests']:,} requests ({cost['cache_hits']:,} from the store), "
        f"{cost['forward_passes']:,} forward passes, {cost['prompt_tokens']:,} tokens, "
        f"{cost['documents_per_second']:,.0f} documents/s",
        soft_wrap=True,
    )
    if odd := {name: count for name, count in metrics["missing"].items() if count}:
        counted = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in odd.items())
        console.print(f"counted: {counted}", soft_wrap=True)
    console.print(f"run folder: {folder}", soft_wrap=True)


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
