"""What a person sees while a long phase runs: a bar on a terminal, one log line a phase everywhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")
log = logging.getLogger("rerankbench")


class Advance(Protocol):
    """Call it with the number of steps just done, and how many more there are than was known."""

    def __call__(self, steps: int = 1, more: int = 0) -> None: ...


@contextmanager
def bar(label: str, total: int | None = None) -> Iterator[Advance]:
    """A progress bar on stderr while the block runs; silent where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda steps=1, more=0: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)

        def advance(steps: int = 1, more: int = 0) -> None:
            known = progress.tasks[0].total
            progress.update(task, advance=steps, total=known if known is None else known + more)

        yield advance


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar that moves on after each."""
    with bar(label, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def talking() -> Iterator[None]:
    """While the block runs, log lines appear on stderr as they come, so that no phase is silent."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
