"""How fast the command line answers: `rerankbench --help` (within 0.3 s), and a misspelt key (within 2 s, exit code 2).

Run: python scripts/bench/startup.py [--runs 9]

Prints the median and the slowest of some warm runs, and exits 1 if a median is over its bar.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

COMMANDS = [
    (["--help"], 0, 0.3),
    (["eval", "reranker.dept=3"], 2, 2.0),
    (["train", "experiment=curriculum", "size=small", "reranker.dept=3"], 2, 2.0),
]
"""Arguments, the exit code to expect, and the bar in seconds."""


def main() -> int:
    """Time both commands and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="how often each command runs (default 9)")
    runs = parser.parse_args().runs
    program = str(Path(sys.executable).with_name("rerankbench"))
    failed = False
    for arguments, expected, bar in COMMANDS:
        seconds = []
        for _ in range(runs + 1):
            began = perf_counter()
            done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
            seconds.append(perf_counter() - began)
            if done.returncode != expected:
                print(f"rerankbench {' '.join(arguments)}: exit code {done.returncode}, expected {expected}")
                print(done.stderr, end="")
                return 1
        warm = seconds[1:]  # the first run also writes byte code and fills the file cache
        median = statistics.median(warm)
        failed |= median > bar
        verdict = "OVER the bar of" if median > bar else "bar"
        print(
            f"rerankbench {' '.join(arguments):<24} median {median:.3f} s, slowest {max(warm):.3f} s of {runs} "
            f"({verdict} {bar} s), exit code {expected}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
