"""Facts about the code as a house: files and lines of each package, rooms, imports between rooms, cycles.

    python -m benchmarks.house
    python -m benchmarks.house --commit bb1e587~1

A room is a folder with code inside a package; modules beside the rooms count as one more, `(beside)`. An arrow is an import from one
room into another of the same package, also inside a function. Cycles are groups of modules that import one another.
"""

import ast
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from io import BytesIO
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "roboreward_gym",
    "reward_models",
    "robots",
    "policies",
    "experiments",
    "benchmarks",
    "tests",
)
BESIDE = "(beside)"


@dataclass(frozen=True)
class Config:
    """What to count."""

    commit: str | None = None
    """Another state of the repository than the present files."""


@dataclass(frozen=True)
class Package:
    """Counts of one package: files, lines, and the longest function by name."""

    files: int
    lines: int
    longest_file: tuple[int, str]
    longest_function: tuple[int, str]
    rooms: int
    arrows: int
    cycle: tuple[str, ...]


def count(root: Path, package: str) -> Package:
    """Count one package of a checkout."""
    sources = {
        path.relative_to(root): path.read_text(encoding="utf-8")
        for path in sorted((root / package).rglob("*.py"))
    }
    trees = {module_name(path): ast.parse(text) for path, text in sources.items()}
    imports = {name: set(imported(tree, set(trees))) - {name} for name, tree in trees.items()}
    arrows = {
        (room(a), room(b)) for a, targets in imports.items() for b in targets if room(a) != room(b)
    }
    lengths = [(text.count("\n"), str(path)) for path, text in sources.items()]
    functions = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{name}.{node.name}")
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    return Package(
        len(sources),
        sum(lines for lines, _ in lengths),
        max(lengths),
        max(functions),
        len({room(name) for name in trees} - {BESIDE}),
        len({arrow for arrow in arrows if BESIDE not in arrow}),
        find_cycle(imports),
    )


def module_name(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The folder of a package that a module lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else BESIDE


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Modules of the package that a module imports anywhere."""
    for node in ast.walk(tree):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import | ast.ImportFrom)
            else []
        )
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [
                inner if (inner := f"{node.module}.{name}") in known else node.module
                for name in names
            ]
        yield from (name for name in names if name in known)


def find_cycle(imports: dict[str, set[str]]) -> tuple[str, ...]:
    """Modules that import one another in a ring; empty without one."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return ()


def unpacked(commit: str, folder: Path) -> Path:
    """The files of a commit in a folder."""
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def main(config: Config) -> None:
    """Print a row for each package."""
    with tempfile.TemporaryDirectory() as folder:
        root = ROOT if config.commit is None else unpacked(config.commit, Path(folder))
        print(
            "| package | files | lines | rooms | arrows | cycles | longest file | longest function |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for package in PACKAGES:
            if not (root / package).is_dir():
                continue
            found = count(root, package)
            file, function = found.longest_file, found.longest_function
            print(
                f"| `{package}` | {found.files} | {found.lines:,} | {found.rooms} | {found.arrows} | "
                f"{' → '.join(found.cycle) or 'none'} | `{file[1]}`, {file[0]} | `{function[1]}`, {function[0]} |"
            )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
