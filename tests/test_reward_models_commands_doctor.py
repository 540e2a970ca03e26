import ctypes
import json
import re
from pathlib import Path

import pytest
import torch

from reward_models.commands import doctor
from reward_models.commands.doctor import Finding, main
from reward_models.protocol import inputs
from reward_models.qwen3vl import reference
from reward_models.qwen3vl.plain_vision import VisionModel
from roboreward_gym import register_reward_model, registry
from tests.fakes import FakeRewardModel
from tests.tiny_vlm import write_tiny_checkpoint


def findings(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Finding]]:
    status = main(["--json", *argv])
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is (status == 0)
    return status, {found["check"]: Finding(**found) for found in report["findings"]}


def test_a_machine_that_runs_these_tests_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert text.endswith("above.\n" if "warning" in text else "All well.\n")
    assert "ok  scores: probabilities differ by" in text
    assert re.search(r"roboreward-nano: 2\.\d million parameters on cpu", text)
    assert "ms for 8 frames" in text


def test_slow_torch_is_refused_before_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = doctor.installed_version
    monkeypatch.setattr(
        doctor, "installed_version", lambda name: "2.9.1" if name == "torch" else known(name)
    )
    status, found = findings(capsys)
    assert status == 1
    assert found["torch"].status == "problem"
    assert "torch>=2.10" in found["torch"].advice
    assert found["roboreward-nano"].found == "not tried, because of torch"
    assert "vision tower" not in found


def test_a_missing_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "NEEDED", (*doctor.NEEDED, "no-such-package"))
    status, found = findings(capsys)
    assert status == 1
    assert ".[models]" in found["no-such-package"].advice


def test_a_checkpoint_is_loaded_and_its_protocol_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["video_processor"]["max_frames"] = 768
    (folder / "processor_config.json").write_text(json.dumps(settings))
    status, found = findings(capsys, "--model", f"checkpoint:{folder}")
    assert status == 0
    assert found["protocol"].status == "warning"
    assert "768" in found["protocol"].found
    assert "8 frames" in found["vision tower"].found


@pytest.mark.parametrize("name", ["checkpoint:/no/where", "roboreward-nanno"])
def test_a_model_that_does_not_load_is_a_problem(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = findings(capsys, "--model", name)
    assert status == 1
    assert found[name].status == "problem"
    assert found[name].advice


def test_a_model_without_weights_has_nothing_to_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    register_reward_model("fake-for-doctor", FakeRewardModel)
    status, found = findings(capsys, "--model", "fake-for-doctor")
    assert status == 0
    assert found["fake-for-doctor"].found == "FakeRewardModel, no local checkpoint"


def test_missing_egl_and_gpu_are_notes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(_: str) -> None:
        raise OSError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (egl,) = doctor.check_egl()
    assert egl.status == "note"
    assert "apt-get install libegl1" in egl.advice
    *_, gpu = doctor.check_devices()
    assert gpu.status == "note"
    assert "10 GB" in gpu.advice


def test_missing_weights_are_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    (found,) = doctor.check_weights()
    assert found.status == "problem"


def test_a_protocol_that_differs_is_never_all_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["video_processor"]["fps"] = 1
    (folder / "processor_config.json").write_text(json.dumps(settings))
    assert main(["--model", f"checkpoint:{folder}"]) == 0
    text = capsys.readouterr().out
    assert "fps is 1, the protocol's is 2.0" in text
    assert "It works; " in text
    assert "All well" not in text


def test_a_processor_that_lays_prompts_out_otherwise_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    differences = ["it writes 300 tokens, the protocol 298"]
    monkeypatch.setattr(reference, "processor_differences", lambda *_: differences)
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "it writes 300 tokens, the protocol 298" in text
    assert "scores are the same. From 5.10 on" in text
    assert "All well" not in text


def test_swapped_rotary_axes_are_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_loaded", {})
    right = inputs.rotary_positions
    monkeypatch.setattr(inputs, "rotary_positions", lambda *given: right(*given)[[0, 2, 1]])
    status, found = findings(capsys)
    assert status == 1
    assert found["scores"].status == "problem"


@pytest.mark.parametrize("error", [AttributeError, TypeError, RuntimeError, KeyError])
def test_a_library_that_cannot_run_the_model_is_a_problem_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[Exception],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("no such thing as rope")

    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(VisionModel, "forward", fail)
    status, found = findings(capsys)
    assert status == 1
    assert found["roboreward-nano"].found == "cannot be loaded: RewardModelUnavailable"
    assert "cannot be run with transformers" in found["roboreward-nano"].advice
    assert "no such thing as rope" in found["roboreward-nano"].advice


@pytest.mark.parametrize(
    ("version", "status"),
    [("4.57.1", "problem"), ("5.0.0", "ok"), ("5.24.3", "ok"), ("5.25.0", "warning")],
)
def test_versions_of_transformers_that_nobody_tried_are_named(version: str, status: str) -> None:
    found = doctor.check_transformers(version)
    assert found.status == status
    assert found.found.startswith(version)
    assert ("5.0 to 5.24" in found.advice) == (status != "ok")
