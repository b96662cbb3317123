"""The package's architecture, read from its source: which rooms import which, what loads when, and what is shared."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rerankbench"

ROOMS = (
    ("errors", "types", "usage", "batching", "store", "progress", "profiling", "prompt"),
    ("config",),
    ("benchmarks",),
    ("models",),
    ("retrievers",),
    ("rerankers",),
    ("evaluation",),
    ("training",),
    ("tracking",),
    ("analyses",),
    ("evaluate", "train", "library"),
    ("commands",),
    ("cli", "__main__"),
)
"""From left to right: a module imports from its own room and those to its left. Folders, and modules beside them."""

HEAVY = {"torch", "transformers", "peft", "trl", "accelerate", "safetensors", "tokenizers", "gguf", "vllm", "numpy",
         "scipy", "ranx", "bm25s", "rank_bm25", "Stemmer", "ir_datasets", "mlflow", "matplotlib", "huggingface_hub",
         "urllib3", "rich"}  # fmt: skip
"""What only functions import."""

LAZY = {"models/endpoint/client.py", "models/lm/kv_cache.py", "training/adaptation/row_adamw.py",
        "training/in_batch.py", "training/masked_tokens.py", "training/module.py", "training/trainer.py"}  # fmt: skip
"""What is built on classes of heavy packages; only functions, and each other, import these modules."""

BY_NAME = {"config/targets.py", "commands/table.py"}
"""What imports modules by their names: the targets of a configuration, and the commands' own folder."""

NOT_ON_WINDOWS = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}

IMPORTS = (ast.Import, ast.ImportFrom)
SHARED_STATE: set[str] = set()
"""Module-level names that functions may change: `module.NAME`. Nothing is: a run in another thread would see it."""

MUTATORS = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end", "pop", "popitem",
            "popleft", "remove", "reverse", "setdefault", "sort", "update"}  # fmt: skip


def _name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


FILES = sorted(PACKAGE.rglob("*.py"), key=_name)
each_file = pytest.mark.parametrize("file", FILES, ids=_name)


def _module(file: Path) -> str:
    return ".".join(("rerankbench", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {_module(file): file for file in FILES}


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def _imports(file: Path, top_only: bool = False) -> frozenset[str]:
    """The dotted names that a file imports, those for type checkers excepted; anywhere, or at module level only."""
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
            if not (top_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
                visit(child)

    visit(_tree(file))
    return frozenset(found)


def _own(file: Path, top_only: bool = False) -> set[str]:
    """The modules of this package that a file imports."""
    names = {name if name in MODULES else name.rpartition(".")[0] for name in _imports(file, top_only)}
    return (names & MODULES.keys()) - {"rerankbench"}  # the package itself has the version only


def _roots(names: frozenset[str] | set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def _room(module: str) -> int:
    """The place of a module's room. Every one must have a place."""
    part = module.split(".")[1]
    return next(place for place, names in enumerate(ROOMS) if part in names)


def _is_lazy(file: Path) -> bool:
    return _name(file) in LAZY


@pytest.mark.parametrize("part", sorted({_name(file).split("/")[0] for file in FILES} - {"__init__.py"}))
def test_every_room_and_every_module_beside_them_has_its_place(part: str) -> None:
    assert [names for names in ROOMS if part.removesuffix(".py") in names]
    assert part.endswith(".py") or (PACKAGE / part / "__init__.py").is_file()


def test_no_place_is_left_over() -> None:
    parts = {_name(file).split("/")[0].removesuffix(".py") for file in FILES}
    assert {name for names in ROOMS for name in names} <= parts
    assert {_name(file) for file in FILES if HEAVY & _roots(_imports(file, top_only=True))} == LAZY


@each_file
def test_nothing_imports_from_a_room_to_its_right(file: Path) -> None:
    module = _module(file)
    if module != "rerankbench":
        assert not {other for other in _own(file) if _room(other) > _room(module)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({_module(file): _own(file) for file in FILES}).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@each_file
def test_nothing_is_imported_by_a_dotted_string(file: Path) -> None:
    importers = re.compile(r"importlib($|\.(import_module|util|machinery))|pkgutil|runpy")
    nodes = list(ast.walk(_tree(file)))
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not [name for name in _imports(file) if importers.match(name)] or _name(file) in BY_NAME
    assert not called & {"__import__", "exec"}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    named = [text for text in texts if {text, re.sub(r"[.:]\w+$", "", text)} & (MODULES.keys() - {"rerankbench"})]
    assert not named or _name(file) == "config/moved.py"  # a table of names, of which none is imported


@pytest.mark.parametrize(
    "file", [f for f in FILES if _name(f).startswith(("rerankers/strategies/", "types.py"))], ids=_name
)
def test_strategies_and_types_know_no_model(file: Path) -> None:
    assert not {"torch", "transformers", "numpy"} & _roots(_imports(file))
    assert not {m for m in _own(file) if m.startswith(("rerankbench.models", "rerankbench.rerankers.scorers"))}


@each_file
def test_heavy_packages_are_imported_where_they_are_used(file: Path) -> None:
    if not _is_lazy(file):
        assert not HEAVY & _roots(_imports(file, top_only=True))
        assert not {module for module in _own(file, top_only=True) if _is_lazy(MODULES[module])}
    assert not NOT_ON_WINDOWS & _roots(_imports(file, top_only=True))


def test_all_other_modules_load_without_them() -> None:
    blocked = sorted({*HEAVY, *NOT_ON_WINDOWS})
    modules = [_module(file) for file in FILES if not _is_lazy(file) and file.name != "__main__.py"]
    code = f"import sys\nsys.modules |= dict.fromkeys({blocked})\nimport {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_door_imports_the_standard_library_only() -> None:
    for name in ("__init__.py", "__main__.py", "cli.py"):
        roots = _roots(_imports(PACKAGE / name, top_only=True)) - {"rerankbench"}
        assert roots <= sys.stdlib_module_names
    assert not _own(PACKAGE / "cli.py", top_only=True)


@each_file
def test_sub_packages_re_export_nothing(file: Path) -> None:
    assert file.name != "__init__.py" or file.parent == PACKAGE or not _imports(file)


@pytest.mark.parametrize("words", [["--help"], ["eval", "--help"], ["completion", "bash"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from rerankbench.cli import main; main({words!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not {*HEAVY, "hydra", "omegaconf"} & _roots(set(done.stderr.split()))


@each_file
def test_no_function_changes_what_a_module_holds(file: Path) -> None:
    assert not {f"{_module(file)}.{name}" for name in _changed(_tree(file))} - SHARED_STATE


def _changed(tree: ast.Module) -> set[str]:
    """Names of the module that functions bind anew, or whose objects they change; those of other modules included."""
    assigned = {name for node in tree.body if not isinstance(node, IMPORTS) for name in _bound(node)}
    origins = {alias.asname or alias.name: f"{node.module}.{alias.name}"
               for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
    taken = {name for name, origin in origins.items() if origin.startswith("rerankbench.") and origin not in MODULES}
    held = assigned | taken

    def visit(node: ast.AST, local: frozenset[str]) -> Iterator[str]:
        if isinstance(node, ast.Global):
            yield from node.names
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            arguments = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
            local = local | arguments | {name for child in ast.iter_child_nodes(node) for name in _bound(child)}
        if (target := _changed_in_place(node)) in held - local:
            yield target
        for child in ast.iter_child_nodes(node):
            yield from visit(child, local)

    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {name for function in functions for name in visit(function, frozenset())}


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds in its own scope."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _changed_in_place(node: ast.AST) -> str:
    """The name whose object this changes: an item or attribute set or deleted, or a method called that changes it."""
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        changed = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        changed = node.func.value
    else:
        return ""
    while isinstance(changed, ast.Subscript | ast.Attribute):
        changed = changed.value
    return changed.id if isinstance(changed, ast.Name) else ""
