"""No tracking: the run folder is all there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class NoTracking:
    """Logs nothing."""

    def log(self, folder: Path) -> None:
        """Do nothing."""
