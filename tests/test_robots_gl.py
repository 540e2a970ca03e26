import os

import pytest

from robots import gl


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine without a screen where nobody chose anything."""
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(gl.sys, "platform", "linux")
    return monkeypatch


def test_egl_is_chosen_without_a_screen(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(gl, "_loads", lambda library: library == "libEGL.so.1")
    assert gl.choose_gl() == "egl"
    assert os.environ["MUJOCO_GL"] == "egl"


def test_missing_egl_library_disables_drawing_so_that_mujoco_imports(
    bare: pytest.MonkeyPatch,
) -> None:
    bare.setattr(gl, "_loads", lambda _: False)
    assert gl.choose_gl() == "disable"


@pytest.mark.parametrize(("name", "value"), [("MUJOCO_GL", "osmesa"), ("DISPLAY", ":0")])
def test_what_is_there_already_is_kept(bare: pytest.MonkeyPatch, name: str, value: str) -> None:
    bare.setenv(name, value)
    chosen = gl.choose_gl()
    assert chosen == (value if name == "MUJOCO_GL" else "")


def test_a_library_that_is_not_there_does_not_load() -> None:
    assert not gl._loads("libno-such-library.so.7")


def test_diagnosis_names_the_debian_packages(bare: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    bare.setenv("MUJOCO_GL", "disable")
    report = gl.diagnose()
    assert not report.works
    assert all(package in report.message for package in gl.DEBIAN_PACKAGES)
    assert "ray shading" in report.message


def test_a_backend_that_keeps_mujoco_from_being_imported_is_named(bare: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    bare.setenv("MUJOCO_GL", "nonsense")
    assert "MUJOCO_GL=nonsense" in gl.diagnose().message
    assert "Unset MUJOCO_GL" in gl.diagnose().message


def test_a_screen_that_does_not_work_is_named(bare: pytest.MonkeyPatch) -> None:
    assert "DISPLAY" not in gl.advice("no picture")
    bare.setenv("DISPLAY", ":99")
    assert "MUJOCO_GL=egl, as DISPLAY names a screen" in gl.advice("no picture")


def test_a_hanging_driver_is_no_picture(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(gl, "PROBE", "import time; time.sleep(60)")
    assert "no picture within 0.05 s" in gl.diagnose(timeout_s=0.05).message


def test_a_picture_is_a_working_backend(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(gl, "PROBE", "")
    assert gl.diagnose().works
