"""Parts as the configuration makes them: checked against their signature, then built at their place."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError


def configured(key: str, target: Any, **options: Any) -> Any:
    """The part that stands at `key`."""
    return build(check({"_target_": target, **options}, key), key)


def refused(target: Any, **options: Any) -> str:
    """The key, below the part, that is refused."""
    with pytest.raises(ConfigError) as error:
        configured("part", target, **options)
    return error.value.key.removeprefix("part.")
