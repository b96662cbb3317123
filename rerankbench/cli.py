"""The command line's entry: runs a command, and turns every mistake into one line and an exit code.

Imports nothing beyond the standard library before it knows which command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from rerankbench.commands.table import command, help_text
    from rerankbench.errors import UserError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words or words[0] == "help" or {"-h", "--help"} & set(words):
            print(help_text(), end="")
            return 0 if words else 2
        if words[0] == "--version":
            from rerankbench import __version__

            print(f"rerankbench {__version__}")
            return 0
        return command(words[0]).run(words[1:])
    except UserError as error:
        if os.environ.get("RERANKBENCH_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with the same run_dir resumes the run", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("RERANKBENCH_DEBUG"):
            raise
        if "No space left" in str(error):
            print(f"error: the disk is full ({error}); make room and run the same command again", file=sys.stderr)
            return 2
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("this is a bug; the trace is in the run folder's log.txt, or set RERANKBENCH_DEBUG=1", file=sys.stderr)
        return 1
