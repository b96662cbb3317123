"""No tracking: the run folder is the record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class NoTracking:
    """Imports and writes nothing."""

    def log(self, folder: Path) -> None:
        """Nothing to do."""
