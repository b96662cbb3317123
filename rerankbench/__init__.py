"""rerankbench: a config-driven experiment runner for text reranking."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerankbench.library import load_reranker as load_reranker

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load_reranker`, imported when it is first asked for."""
    if name == "load_reranker":
        from rerankbench.library import load_reranker

        return load_reranker
    raise AttributeError(f"module 'rerankbench' has no attribute {name!r}")
