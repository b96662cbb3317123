"""Where the time goes, by function, when the configuration asks for it."""

from __future__ import annotations

import cProfile
import io
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
