"""The table at the end of a run, made from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.tracking.run_folder import read_config, read_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(folder: Path, console: Console | None = None) -> None:
    """Print first stage and reranked side by side, with the tests, the cost, what was odd, and where the folder is.

    Of a training also what it was, and trained and untrained side by side.
    """
    from rich.console import Console

    console = console or Console(highlight=False)
    metrics, cost = read_json(folder, "metrics.json"), read_json(folder, "cost.json")
    benchmark = read_json(folder, "environment.json").get("benchmark", {})
    title = f"{benchmark.get('name', '')} {benchmark.get('split', '')}: {metrics['queries']:,} queries".strip()
    table = _table(title, "first", "reranked")
    for name, row in metrics["measures"].items():
        _add(table, name, row["first_stage"], row["reranked"], row)
    judged = metrics["judged@10"]
    table.add_row("judged@10", f"{judged['first_stage']:.4f}", f"{judged['reranked']:.4f}", style="dim")
    console.print(table)
    if untrained := metrics.get("untrained"):
        table = _table("trained beside untrained", "untrained", "trained")
        for name, row in untrained.items():
            _add(table, name, row["untrained"], metrics["measures"][name]["reranked"], row)
        console.print(table)
    for name, composition in (metrics.get("compositions") or {}).items():
        table = _table(f"{name} composed beside zero-shot", "zero-shot", "composed")
        for measure, row in composition["measures"].items():
            _add(table, measure, row["zero_shot"], row["composed"], row)
        console.print(table)
    lines = list(_training(metrics))
    lines += [f"seconds: {', '.join(f'{phase} {value:.1f}' for phase, value in cost['seconds'].items())}", _work(cost)]
    if odd := _counted(metrics["missing"]):
        lines.append(f"counted: {odd}")
    lines.append(f"run folder: {folder}")
    if "uri" in (read_config(folder).get("tracking") or {}):
        lines.append("dashboard: rerankbench ui")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _table(title: str, before: str, after: str) -> Table:
    """An empty table of two paired columns and the tests of their difference."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    for column in (before, after, "diff.", "95% interval", "p (t)", "p (rand.)"):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _add(table: Table, name: str, before: float, after: float, tests: Mapping[str, Any]) -> None:
    """A row, green or red where the interval does not hold zero."""
    low, high = tests["ci95"]
    numbers = (f"{before:.4f}", f"{after:.4f}", f"{tests['difference']:+.4f}", f"{low:+.4f} {high:+.4f}")
    style = "green" if low > 0 else "red" if high < 0 else ""
    table.add_row(name, *numbers, _p(tests["p_ttest"]), _p(tests["p_randomization"]), style=style)


def _training(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What the training of this run was, in lines; none for a run that trained nothing."""
    training = metrics.get("training")
    if training is None:
        return
    groups = training.get("groups", training.get("passages", 0))
    line = f"training: {groups:,} groups, {training['steps']:,} steps, {training['seconds']:,.1f} s"
    if training.get("best_dev") is not None:
        measure = training.get("dev_measure", "measure")
        line += f"; best dev {measure} {training['best_dev']:.4f} at step {training['best_step']:,}"
    yield line
    if odd := _counted(training.get("counts") or {}):
        yield f"counted in training: {odd}"
    if metrics.get("untrained") is None and metrics.get("untrained_reason"):
        yield f"not compared with the untrained reranker: {metrics['untrained_reason']}"


def _counted(counts: Mapping[str, int]) -> str:
    """The counts that are not zero, readable."""
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)


def _work(cost: Mapping[str, Any]) -> str:
    return (
        f"{cost['requests']:,} requests ({cost['cache_hits']:,} from the store), "
        f"{cost['forward_passes']:,} forward passes, {cost['prompt_tokens']:,} tokens, "
        f"{cost['documents_per_second']:,.0f} documents/s"
    )


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
