"""Who may import whom: the table of docs/architecture.md, held on every import statement."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "roboreward_gym": set(),
    "reward_models": {"roboreward_gym"},
    "robots": {"roboreward_gym"},
    "policies": {"roboreward_gym"},
    "experiments": {"roboreward_gym", "reward_models", "robots", "policies"},
}

FOREIGN = {
    "reward_models": {"mujoco", "diffusers", "rclpy"},
    "robots": {"torch", "transformers", "diffusers"},
    "policies": {"transformers", "mujoco", "rclpy"},
}
"""Libraries that belong to a sibling: needing one is a sign that code lies in the wrong package."""

PLUGIN_NEEDS = {"roboreward_gym", "numpy", "gymnasium"}


def imported_names(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and top-level name of each import, also inside functions and by `gym.make("robots:...")`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = package if node.level else (node.module or "")
            yield node.lineno, module.partition(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            target = node.args[0].value
            if called in {"import_module", "__import__"} and isinstance(target, str):
                yield node.lineno, target.partition(".")[0]
            elif called == "make" and isinstance(target, str) and ":" in target:
                yield node.lineno, target.partition(":")[0].partition(".")[0]


def violations(root: Path) -> list[str]:
    """Each import that crosses the table, as `file:line imports name`."""
    found = []
    for package, allowed in MAY_IMPORT.items():
        forbidden = (set(MAY_IMPORT) | {"tests", "benchmarks"}) - allowed - {package}
        forbidden |= FOREIGN.get(package, set())
        for path in sorted((root / package).rglob("*.py")):
            for line, name in imported_names(path.read_text(encoding="utf-8"), package):
                stranger = package == "roboreward_gym" and name not in (
                    PLUGIN_NEEDS | sys.stdlib_module_names
                )
                if name in forbidden or stranger:
                    found.append(f"{path.relative_to(root)}:{line} imports {name}")
    return found


def test_no_import_crosses_the_table() -> None:
    assert violations(ROOT) == []


def test_every_package_of_the_table_has_modules() -> None:
    assert [package for package in MAY_IMPORT if not list((ROOT / package).glob("*.py"))] == []


def test_ros_is_imported_in_its_corner_only() -> None:
    ros = {
        "rclpy",
        "sensor_msgs",
        "interbotix_xs_msgs",
        "roboreward_msgs",
        "roboreward_sim_msgs",
    }
    found = {
        path.relative_to(ROOT / "robots").parts[0]
        for path in (ROOT / "robots").rglob("*.py")
        for _, name in imported_names(path.read_text(encoding="utf-8"), "robots")
        if name in ros
    }
    assert found == {"ros"}


@pytest.mark.parametrize(
    ("package", "source", "name"),
    [
        ("policies", "import reward_models.nano", "reward_models"),
        ("policies", "def f():\n    from robots.widowx import WidowXEnv", "robots"),
        ("policies", "import gymnasium as gym\ngym.make('robots:WidowXDrawer-v0')", "robots"),
        ("reward_models", "from policies import dsrl", "policies"),
        (
            "reward_models",
            "import importlib\nimportlib.import_module('experiments.run')",
            "experiments",
        ),
        ("robots", "import torch", "torch"),
        ("robots", "from experiments.config import named", "experiments"),
        ("roboreward_gym", "from reward_models import nano", "reward_models"),
        ("roboreward_gym", "import PIL.Image", "PIL"),
        ("experiments", "from tests.fakes import FakeRewardModel", "tests"),
    ],
)
def test_a_crossing_import_is_caught(tmp_path: Path, package: str, source: str, name: str) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "module.py").write_text(source)
    line = source.count("\n") + 1
    assert violations(tmp_path) == [f"{package}/module.py:{line} imports {name}"]


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("experiments", "import robots, policies, reward_models, torch"),
        ("robots", "from .gl import choose_gl\nimport mujoco"),
        ("roboreward_gym", "import json\nimport numpy\nfrom gymnasium import spaces"),
    ],
)
def test_what_the_table_allows_passes(tmp_path: Path, package: str, source: str) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "module.py").write_text(source)
    assert violations(tmp_path) == []


ROOMS = {
    "reward_models": {
        "protocol": set(),
        "net": set(),
        "video": {"protocol"},
        "qwen3vl": {"protocol"},
        "data": {"protocol", "video"},
        "judges": {"protocol", "net", "video"},
        "serving": {"protocol", "net"},
        "scale": set(),
        "augment": {"protocol", "net", "video", "data", "judges", "scale"},
        "labeling": {"protocol", "net", "video", "data", "serving"},
        "scoring": {"protocol", "net", "video", "data", "scale"},
        "bench": {"protocol", "data"},
        "training": {"protocol", "video", "qwen3vl", "data", "bench"},
        "nano": {"protocol", "qwen3vl", "data", "bench", "training"},
        "lerobot_plugin": {"protocol", "video", "data", "scoring"},
        "commands": {
            "protocol",
            "video",
            "qwen3vl",
            "nano",
            "scoring",
            "serving",
            "bench",
            "training",
        },
    },
    "robots": {
        "sim": set(),
        "xs": set(),
        "ros": {"sim", "xs"},  # the simulation only in ros/simulator, see below
        "environments": {"sim", "xs", "ros"},
        "check": {"sim", "xs", "ros", "environments"},  # the training view beside the real camera
        "lerobot_plugin": {"xs", "environments"},
    },
    "robots/ros": {"simulator": set(), "toolbox": set()},
    "policies": {"dsrl": set(), "lerobot_plugin": set(), "lerobot_policy": set()},
    "experiments": {"simulation": set(), "report": set(), "integrations": set(), "study": set()},
}
"""The rooms of a package, and which of them each may import. What lies beside the rooms is shared."""

GROUND = ("robots", "robots/ros")
"""Packages whose modules beside the rooms import none of the rooms."""


def room_of(module: str, package: str) -> str | None:
    """The room of `package` that a dotted module name lies in, if any."""
    parts, above = module.split("."), package.split("/")
    inside = parts[: len(above)] == above and len(parts) > len(above)
    return parts[len(above)] if inside and parts[len(above)] in ROOMS[package] else None


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each imported module; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room_violations(root: Path, package: str) -> list[str]:
    """Each import from one room into another that the table does not list."""
    found = set()
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        home = room_of(".".join(parts), package)
        for line, module in imported_modules(path.read_text(encoding="utf-8")):
            target = room_of(module, package)
            if not target or target == home or (home is None and package not in GROUND):
                continue
            if home is None or target not in ROOMS[package][home]:
                found.add(f"{path.relative_to(root)}:{line} imports {target}")
    return sorted(found)


@pytest.mark.parametrize("package", ROOMS)
def test_no_import_crosses_the_rooms(package: str) -> None:
    assert room_violations(ROOT, package) == []


@pytest.mark.parametrize("package", ROOMS)
def test_every_folder_with_code_is_a_room(package: str) -> None:
    folders = {path.parent.name for path in (ROOT / package).glob("*/*.py")}
    assert folders == set(ROOMS[package])


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_in_one_direction(package: str) -> None:
    TopologicalSorter(ROOMS[package]).prepare()  # raises CycleError


def module_graph(root: Path, package: str) -> dict[str, set[str]]:
    """What each room of a package, and each module beside the rooms, imports of the others."""
    graph: dict[str, set[str]] = {}
    for path in sorted((root / package).rglob("*.py")):
        home = path.relative_to(root / package).with_suffix("").parts[0]
        graph.setdefault(home, set()).update(
            module.split(".")[1]
            for _, module in imported_modules(path.read_text(encoding="utf-8"))
            if module.startswith(f"{package}.")
        )
        graph[home].discard(home)
    return {home: {name for name in found if name in graph} for home, found in graph.items()}


def test_what_reports_show_does_not_import_the_reports() -> None:
    TopologicalSorter(module_graph(ROOT, "experiments")).prepare()  # raises CycleError


def test_a_cycle_through_a_module_beside_the_rooms_is_caught(tmp_path: Path) -> None:
    (tmp_path / "experiments" / "report").mkdir(parents=True)
    (tmp_path / "experiments" / "phases.py").write_text("from experiments.report.strips import S")
    (tmp_path / "experiments" / "report" / "page.py").write_text("import experiments.phases")
    with pytest.raises(CycleError):
        TopologicalSorter(module_graph(tmp_path, "experiments")).prepare()


def test_an_import_from_the_ground_into_a_room_is_caught(tmp_path: Path) -> None:
    for folder, source in (
        ("", "from robots.xs import arm"),
        ("ros", "import robots.ros.simulator.time"),
    ):
        (tmp_path / "robots" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "robots" / folder / "module.py").write_text(source)
    assert room_violations(tmp_path, "robots") == ["robots/module.py:1 imports xs"]
    assert room_violations(tmp_path, "robots/ros") == ["robots/ros/module.py:1 imports simulator"]


def test_the_client_of_a_real_arm_loads_nothing_of_the_simulation() -> None:
    for room in ("xs", "ros"):
        for path in (ROOT / "robots" / room).glob("*.py"):
            modules = [module for _, module in imported_modules(path.read_text(encoding="utf-8"))]
            assert not [m for m in modules if m.startswith(("robots.sim", "robots.ros.simulator"))]


def test_an_import_into_a_closed_room_is_caught(tmp_path: Path) -> None:
    (tmp_path / "reward_models" / "net").mkdir(parents=True)
    module = tmp_path / "reward_models" / "net" / "module.py"
    module.write_text("from reward_models.serving import wire\nfrom reward_models.net import x\n")
    assert room_violations(tmp_path, "reward_models") == [
        "reward_models/net/module.py:1 imports serving"
    ]
