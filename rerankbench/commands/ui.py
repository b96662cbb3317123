"""`rerankbench ui`: the MLflow dashboard on the tracking store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str], folders: Sequence[Path], host: str = "127.0.0.1", port: str = "5000") -> int:
    """Serve the dashboard until interrupted. Raises ConfigError where nothing is tracked."""
    from rerankbench.config.compose import compose
    from rerankbench.errors import ConfigError
    from rerankbench.tracking.mlflow import ui_command

    if not port.isdigit():
        raise ConfigError("--port", f"must be a number, got {port!r}")
    tracking = compose("eval", words, folders).config.tracking
    if "uri" not in tracking:
        raise ConfigError("tracking", "there is no dashboard without tracking=mlflow")
    print(f"MLflow dashboard: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    line = ui_command(tracking.uri, host, int(port))
    os.execv(line[0], line)
