"""Where the time goes: by phase, always, and by function, when the configuration asks for it."""

from __future__ import annotations

import cProfile
import io
import logging
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

log = logging.getLogger("rerankbench")


@contextmanager
def profiled(file: Path | None) -> Iterator[None]:
    """Profile the block and write its 60 costliest functions to the file; None profiles nothing."""
    if file is None:
        yield
        return
    profile = cProfile.Profile()
    with profile:
        yield
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(60)
    file.write_text(text.getvalue(), encoding="utf-8")


class Clock:
    """Wall time by phase, each announced when it begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = perf_counter()

    @contextmanager
    def phase(self, name: str, announcement: str) -> Iterator[None]:
        """Time the block under this name; a name used twice adds up."""
        log.info("%s", announcement)
        began = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - began

    def report(self) -> dict[str, float]:
        """Seconds by phase, and in total since the clock was made."""
        return {name: round(s, 3) for name, s in {**self.seconds, "total": perf_counter() - self._began}.items()}
