"""The table at the end of a run, made from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.tracking.run_folder import read_config, read_json

if TYPE_CHECKING:
    from rich.console import Console


def show(folder: Path, console: Console | None = None) -> None:
    """Print first stage and reranked side by side, with the tests, the cost, what was odd, and where the folder is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console(highlight=False)
    metrics, cost = read_json(folder, "metrics.json"), read_json(folder, "cost.json")
    benchmark = read_json(folder, "environment.json").get("benchmark", {})
    title = f"{benchmark.get('name', '')} {benchmark.get('split', '')}: {metrics['queries']:,} queries".strip()
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    for column in ("first", "reranked", "diff.", "95% interval", "p (t)", "p (rand.)"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in metrics["measures"].items():
        low, high = row["ci95"]
        numbers = (f"{row['first_stage']:.4f}", f"{row['reranked']:.4f}", f"{row['difference']:+.4f}")
        table.add_row(
            name, *numbers, f"{low:+.4f} {high:+.4f}", _p(row["p_ttest"]), _p(row["p_randomization"]), style=_style(row)
        )
    judged = metrics["judged@10"]
    table.add_row("judged@10", f"{judged['first_stage']:.4f}", f"{judged['reranked']:.4f}", style="dim")
    console.print(table)
    lines = [f"seconds: {', '.join(f'{phase} {value:.1f}' for phase, value in cost['seconds'].items())}", _work(cost)]
    if odd := {name: count for name, count in metrics["missing"].items() if count}:
        counted = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in odd.items())
        lines.append(f"counted: {counted}")
    lines.append(f"run folder: {folder}")
    if "uri" in (read_config(folder).get("tracking") or {}):
        lines.append("dashboard: rerankbench ui")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _work(cost: Mapping[str, Any]) -> str:
    return (
        f"{cost['requests']:,} requests ({cost['cache_hits']:,} from the store), "
        f"{cost['forward_passes']:,} forward passes, {cost['prompt_tokens']:,} tokens, "
        f"{cost['documents_per_second']:,.0f} documents/s"
    )


def _style(row: Mapping[str, Any]) -> str:
    """Green or red where the interval does not hold zero."""
    low, high = row["ci95"]
    return "green" if low > 0 else "red" if high < 0 else ""


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
