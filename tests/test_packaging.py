"""What a wheel, a checkout and a clean clone promise."""

import ast
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("roboreward_gym", "reward_models", "robots", "policies", "experiments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

MACHINE = re.compile(
    r"https?://[^\s\"'/]+/(?:[^\s\"']*/)?(simple|packages)/|(?<![\w.~])/(root|work|farm|home|opt)/[\w.]"
)
"""An address of a package registry, or a path that exists on one machine only."""

WEIGHTS = (".safetensors", ".npz", ".npy", ".bin", ".pt")
MAX_WEIGHTS_BYTES = 20_000_000


def tracked() -> list[Path]:
    """Files that are committed or about to be, as a clean clone would have them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def home_of(name: str, directory: Path, extra_path: str = "") -> Path:
    """Where a fresh interpreter, started in `directory`, finds `name`."""
    code = (
        "import importlib.util as u, sys; s = u.find_spec(sys.argv[1]); "
        "print(s and (s.origin or s.submodule_search_locations[0]))"
    )
    environment = {**os.environ, "PYTHONPATH": extra_path or os.environ.get("PYTHONPATH", "")}
    command = [sys.executable, "-c", code, name]
    result = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    return Path(result.stdout.strip()).resolve()


def complaint(name: str, home: Path) -> str:
    """Empty if `home` is our folder; else who is in the way, and what to do."""
    if home.is_relative_to(ROOT / name):  # not just ROOT: `.venv` lies in there
        return ""
    return (
        f"`import {name}` finds {home}, not this checkout ({ROOT}). Uninstall that distribution, take "
        "its folder off PYTHONPATH (a sourced ROS overlay puts one there), or, if the checkout was "
        "moved, run `make clean setup`."
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_each_name_resolves_inside_this_checkout(name: str, tmp_path: Path) -> None:
    # From the checkout's root ours always wins, and under pytest too; elsewhere an intruder would.
    installed = bool(list(importlib.metadata.entry_points(group="roboreward_gym.reward_models")))
    home = home_of(name, tmp_path if installed else ROOT)
    assert complaint(name, home) == ""


def test_an_intruder_is_named(tmp_path: Path) -> None:
    intruder = tmp_path / "overlay" / "robots"
    intruder.mkdir(parents=True)
    (intruder / "__init__.py").touch()
    home = home_of("robots", tmp_path, extra_path=str(intruder.parent))
    assert str(intruder) in complaint("robots", home)


def test_the_wheel_holds_the_library_only() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert wheel == ["roboreward_gym", "reward_models"]


def test_the_core_needs_numpy_and_gymnasium_only() -> None:
    needed = {re.match(r"[\w-]+", d)[0] for d in PROJECT["project"]["dependencies"]}
    assert needed == {"numpy", "gymnasium"}


def test_entry_points_name_things_that_exist() -> None:
    group = PROJECT["project"]["entry-points"]["roboreward_gym.reward_models"]
    for target in group.values():
        module, _, attribute = target.partition(":")
        assert hasattr(importlib.import_module(module), attribute), target


def test_the_version_is_one() -> None:
    import roboreward_gym

    assert roboreward_gym.__version__ == PROJECT["project"]["version"]


def test_the_wheel_stays_parsable_by_python_3_10() -> None:
    for package in ("roboreward_gym", "reward_models"):
        for path in (ROOT / package).rglob("*.py"):
            ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def test_python_version_file_selects_3_12() -> None:
    assert (ROOT / ".python-version").read_text().strip() == "3.12"


def test_constraints_are_exact_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"#.*|[a-z0-9-]+==[\w.]+", line)]
    assert wrong == []


def test_every_tool_the_checks_run_is_pinned_once() -> None:
    constraints = (ROOT / "constraints.txt").read_text().split()
    pinned = [d for d in PROJECT["project"]["optional-dependencies"]["dev"] if "==" in d]
    assert {d.partition("==")[0] for d in pinned} == {"ruff", "ty"}
    assert set(pinned) <= set(constraints)


def test_no_file_names_a_machine_path_or_a_registry() -> None:
    found = []
    for path in tracked():
        if path.suffix in {".jpg", ".png", ".mp4", ".gif", ".webp", ".stl", ".ico", *WEIGHTS}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


@pytest.mark.parametrize(
    "text", ["see /" + "root/x", "'/" + "work/main'", "https:/" + "/pypi.example.org/simple/"]
)
def test_machine_paths_are_recognised(text: str) -> None:
    assert MACHINE.search(text)


@pytest.mark.parametrize(
    "text", ["runs/demo/report.html", "a/b/work/c", "https://example.org/home"]
)
def test_ordinary_paths_are_not_machine_paths(text: str) -> None:
    assert not MACHINE.search(text)


def test_shipped_weights_stay_under_20_mb() -> None:
    sizes = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked() if p.suffix in WEIGHTS}
    assert sum(sizes.values()) < MAX_WEIGHTS_BYTES, sizes


def test_make_targets_the_readme_names_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", code_of((ROOT / "README.md").read_text())))
    assert {"demo", "test"} <= named
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= targets


def test_modules_the_documents_run_exist() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(document.read_text(encoding="utf-8") for document in documents)
    ours = "|".join([*PACKAGES, "benchmarks"])
    named = set(re.findall(rf"python -m ((?:{ours})(?:\.\w+)*)", text))
    places = {name: ROOT / name.replace(".", "/") for name in named}
    missing = [
        name
        for name, place in places.items()
        if not (place.with_suffix(".py").is_file() or (place / "__main__.py").is_file())
    ]
    assert named
    assert missing == []


def code_of(markdown: str) -> str:
    """The parts of a document set as code, where a word after `make` is a target."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", markdown, flags=re.DOTALL))
