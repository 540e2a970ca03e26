"""What the build of the messages decides and says; the build itself is in test_ros_messages.py."""

import ast
import os
import sys
from pathlib import Path

import pytest

from robots.ros import build
from robots.ros.definitions import MESSAGES

HOST = "/" + "opt/python/cp312-cp312"


def test_include_folders_of_the_build_host_are_replaced() -> None:
    text = f'"{HOST}/include/python3.12;{HOST}/lib/python3.12/site-packages/numpy/_core/include"'
    assert build.with_local_includes(text, "PY", "NP") == '"PY;NP"'


def test_older_numpy_folders_are_replaced_too() -> None:
    text = f"{HOST}/lib/python3.12/site-packages/numpy/core/include"
    assert build.with_local_includes(text, "PY", "NP") == "NP"


def test_mending_is_done_once(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "std_msgs" / "cmake"
    folder.mkdir(parents=True)
    (folder / "a.cmake").write_text(f"set(x {HOST}/include/python3.12)")
    (folder / "b.cmake").write_text("set(y 1)")
    assert build.fix_include_folders(tmp_path) == 1
    assert build.fix_include_folders(tmp_path) == 0
    assert "cp312" not in (folder / "a.cmake").read_text()


def test_missing_programs_are_all_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(build.BuildError) as caught:
        build.find_tools()
    for word in ("pip install cmake", "pip install ninja", "apt-get install g++"):
        assert word in str(caught.value)


def test_programs_of_the_environment_come_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("bin/cmake", "bin/ninja", "c++"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert build.find_tools().cmake == str(tmp_path / "bin" / "cmake")


def test_without_rclpy_the_message_names_both_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert build.main([]) == 1
    message = capsys.readouterr().err
    assert "make setup-ros" in message
    assert "source" in message


def workspace(root: Path, text: str, *, maker: str = "Trossen") -> None:
    """A sourced workspace that has one of the vendor's messages."""
    share = root / "share" / "interbotix_xs_msgs"
    (share / "msg").mkdir(parents=True)
    (share / "package.xml").write_text(f"<package>{maker}</package>")
    (share / "msg" / "JointGroupCommand.msg").write_text(text)


@pytest.fixture
def sourced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A prefix that is on AMENT_PREFIX_PATH, whose packages can be imported."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(tmp_path / "x"), str(tmp_path)]))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return tmp_path


def test_a_sourced_workspace_is_found(sourced: Path) -> None:
    workspace(sourced, "string name")
    assert build.share_folder("interbotix_xs_msgs") == sourced / "share" / "interbotix_xs_msgs"


def test_nothing_is_built_when_a_workspace_has_the_messages(sourced: Path) -> None:
    for package in ("interbotix_xs_msgs", "roboreward_sim_msgs"):
        (sourced / "share").mkdir(exist_ok=True)
        (sourced / "share" / package).symlink_to(MESSAGES / package)
    assert all(map(build.up_to_date, ("interbotix_xs_msgs", "roboreward_sim_msgs")))


def test_a_workspace_with_other_fields_is_refused(sourced: Path) -> None:
    workspace(sourced, "string name\nfloat64[] cmd")
    with pytest.raises(build.BuildError, match="JointGroupCommand has other fields"):
        build.up_to_date("interbotix_xs_msgs")


def test_an_old_build_of_ours_is_built_again(sourced: Path) -> None:
    workspace(sourced, "string name\nfloat64[] cmd", maker="roboreward-gym")
    assert not build.up_to_date("interbotix_xs_msgs")


def test_a_failing_step_shows_its_last_lines() -> None:
    command = [sys.executable, "-c", "print('no such header'); raise SystemExit(3)"]
    with pytest.raises(build.BuildError, match="no such header"):
        build.run("interbotix_xs_msgs", command, dict(os.environ))


def test_the_setup_script_keeps_what_was_sourced_before(tmp_path: Path) -> None:
    text = build.write_setup(tmp_path / "ros").read_text()
    assert (
        f'AMENT_PREFIX_PATH="{tmp_path / "ros"}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"' in text
    )
    assert "LD_LIBRARY_PATH" in text
    assert "PYTHONPATH" in text


def test_the_robot_side_stays_parsable_by_the_python_of_humble() -> None:
    for path in (MESSAGES.parents[1]).rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))
