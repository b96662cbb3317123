"""`python -m rerankbench` is the console script."""

from rerankbench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
