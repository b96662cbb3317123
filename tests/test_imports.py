"""Data goes one way, and so do imports: the rooms of the house, read from their source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rerankbench"
HEAVY = {"torch", "transformers", "mlflow", "hydra", "omegaconf", "numpy", "ranx", "scipy", "rich"}
ORDER = ["benchmarks", "retrievers", "rerankers", "evaluation", "tracking"]
"""From left to right: a room may import from those to its left."""


def _imports(file: Path, top_only: bool = False) -> set[str]:
    """The modules that a file imports, those for type checkers excepted; anywhere, or at module level only."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            if not (top_only and isinstance(child, ast.FunctionDef)):
                visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found


def _files(*rooms: str) -> list[Path]:
    return sorted(file for room in rooms for file in (PACKAGE / room).rglob("*.py"))


def _name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def _roots(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize("file", _files("benchmarks", "retrievers", "rerankers", "models", "evaluation"), ids=_name)
def test_nothing_imports_from_a_room_to_its_right(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0]
    right = ORDER[ORDER.index(room) + 1 :] if room in ORDER else ["tracking", "evaluation"]
    forbidden = {f"rerankbench.{name}" for name in [*right, "evaluate", "train", "cli", "sweep", "compose"]}
    wrong = {m for m in _imports(file) if any(m == name or m.startswith(f"{name}.") for name in forbidden)}
    assert not wrong


@pytest.mark.parametrize("file", [*_files("rerankers/strategies"), PACKAGE / "types.py"], ids=_name)
def test_strategies_and_types_know_no_model(file: Path) -> None:
    imports = _imports(file)
    assert not {"torch", "transformers", "numpy"} & _roots(imports)
    assert not {
        module for module in imports if module.startswith(("rerankbench.models", "rerankbench.rerankers.scorers"))
    }


LAZY = ("training/learner.py", "training/trainer.py", "training/pool.py", "training/masking.py",
        "training/adaptation/row_adamw.py", "models/zoo/", "models/answering.py")  # fmt: skip
"""What is built on torch's own classes, and imported by the functions that need it."""


@pytest.mark.parametrize("file", [file for file in _files(".") if not _name(file).startswith(LAZY)], ids=_name)
def test_torch_and_mlflow_are_imported_where_they_are_used(file: Path) -> None:
    assert not {"torch", "transformers", "mlflow", "ranx", "bm25s"} & _roots(_imports(file, top_only=True))


def test_the_door_imports_the_standard_library_only() -> None:
    for name in ("__init__.py", "__main__.py", "cli.py"):
        roots = _roots(_imports(PACKAGE / name, top_only=True)) - {"rerankbench"}
        assert roots <= sys.stdlib_module_names
    assert not {m for m in _imports(PACKAGE / "cli.py", top_only=True) if m.startswith("rerankbench")}


def test_sub_packages_re_export_nothing() -> None:
    for file in _files("."):
        if file.name == "__init__.py" and file.parent != PACKAGE:
            assert not _imports(file), _name(file)


@pytest.mark.parametrize("words", [["--help"], ["eval", "--help"], ["completion", "bash"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from rerankbench.cli import main; main({words!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not HEAVY & _roots(set(done.stderr.split()))
