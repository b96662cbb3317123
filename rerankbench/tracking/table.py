"""The table at the end of a run, made from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.evaluation.records import Comparison, Cost, Metrics
from rerankbench.tracking.records import ANALYSES, AnalysisResult, Estimate, Figure, RunRecord

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ROWS = 10
"""Rows of an analysis's table that are shown; all of them are in its file."""


def show(folder: Path, console: Console | None = None) -> None:
    """Print first stage and reranked compared, with the tests, the cost, what was odd, and where the folder is.

    Of a training also what it did, and trained and untrained compared; then what each analysis found.
    """
    from rich.console import Console

    console = console or Console(highlight=False)
    record = RunRecord.read(folder)
    metrics, benchmark = record.metrics, record.environment.benchmark
    title = f"{benchmark.get('name', '')} {benchmark.get('split', '')}: {metrics.queries:,} queries".strip()
    table = _compared(title, "first", "reranked", metrics.measures)
    table.add_row("judged@10", *(f"{share:.4f}" for share in metrics.judged), style="dim")
    console.print(table)
    if metrics.untrained:
        console.print(_compared("trained compared with untrained", "untrained", "trained", metrics.untrained))
    for name, composition in metrics.compositions.items():
        title = f"{name} composed, compared with zero-shot"
        console.print(_compared(title, "zero-shot", "composed", composition.measures))
    for name, result in record.analyses.items():
        _show_analysis(console, folder, name, result)
    lines = list(_training(metrics))
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in record.cost.seconds.items())
    lines += [f"seconds: {seconds}", _work(record.cost)]
    if odd := _counts(metrics.missing):
        lines.append(f"counted: {odd}")
    lines.append(f"run folder: {folder}")
    if "uri" in (record.config.get("tracking") or {}):
        lines.append("dashboard: rerankbench ui")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _show_analysis(console: Console, folder: Path, name: str, result: AnalysisResult) -> None:
    """The figures in one line, the first rows, and where the rest is."""
    figures = ", ".join(f"{figure.replace('_', ' ')} {_figure(value)}" for figure, value in result.figures.items())
    console.print(f"{name}: {figures}" if figures else name, soft_wrap=True, markup=False)
    if result.rows:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for number, column in enumerate(result.columns):
            numeric = isinstance(result.rows[0][number], int | float)
            table.add_column(Text(column), justify="right" if numeric else "left", no_wrap=numeric)
        for row in result.rows[:ROWS]:
            cells = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in row)
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
        console.print(table)
    more = [f"{len(result.rows) - ROWS:,} more rows in {folder / ANALYSES / name}.csv"] if result.rows[ROWS:] else []
    for line in [*more, *map(str, result.pictures)]:
        console.print(line, soft_wrap=True, markup=False)


def _figure(figure: Figure) -> str:
    if isinstance(figure, Estimate):
        return f"{figure.value:.4f} [{figure.ci95[0]:.4f}, {figure.ci95[1]:.4f}]"
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.4f}"


def _compared(title: str, before: str, after: str, measures: Mapping[str, Comparison]) -> Table:
    """A table of two means and the tests of their difference, green or red where the interval does not hold zero."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measure", no_wrap=True)
    for column in (before, after, "diff.", "95% interval", "p (t)", "p (rand.)"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in measures.items():
        low, high = row.ci95
        numbers = (f"{row.before:.4f}", f"{row.after:.4f}", f"{row.difference:+.4f}", f"{low:+.4f} {high:+.4f}")
        style = "green" if low > 0 else "red" if high < 0 else ""
        table.add_row(Text(name), *numbers, _p(row.p_ttest), _p(row.p_randomization), style=style)
    return table


def _training(metrics: Metrics) -> Iterator[str]:
    """What the training of this run did, in lines; none for a run that trained nothing."""
    training = metrics.training
    if training is None:
        return
    last = training.last
    line = f"training: {last.items:,} groups, {last.steps:,} steps, {last.seconds:,.1f} s"
    if last.best_dev is not None:
        line += f"; best dev {training.dev_measure} {last.best_dev:.4f} at step {last.best_step:,}"
    yield line
    if odd := _counts(training.counts):
        yield f"counted in training: {odd}"
    if metrics.untrained is None and metrics.untrained_reason:
        yield f"not compared with the untrained reranker: {metrics.untrained_reason}"


def _counts(counts: Mapping[str, int]) -> str:
    """The counts that are not zero, readable."""
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)


def _work(cost: Cost) -> str:
    return (
        f"{cost.requests:,} requests ({cost.cache_hits:,} from the store), "
        f"{cost.usage.forward_passes:,} forward passes, {cost.usage.prompt_tokens:,} tokens, "
        f"{cost.documents_per_second:,.0f} documents/s"
    )


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
