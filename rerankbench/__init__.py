"""rerankbench: a config-driven experiment runner for text reranking."""

__version__ = "0.1.0"
