"""The commands of docs/data.md run as they stand, against a fake server where they need a model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reward_models.augment.rules import RULES
from reward_models.data.example import Frames
from reward_models.data.sources import READERS
from reward_models.data.video_file import write_video
from tests.augment_data import FORM, moving_square
from tests.test_reward_models_augment_models import all_roles
from tests.test_reward_models_data_rlds import BRIDGE, shared

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"(<!-- not run[^\n]*\n)?```(bash|python)\n(.*?)```", PAGE, re.DOTALL)


def programs(word: str) -> list[str]:
    """Command lines of the page that hold a word and are meant to be run."""
    return [text for note, _, text in COMMANDS if word in text and not note]


def shell(command: str, folder: Path, **variables: str) -> str:
    """Run a command as a reader would, `roboreward` and `python` being those of this environment."""
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    for name, module in (("python", ""), ("roboreward", "-m reward_models.commands.main")):
        path = binaries / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        path.chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **variables, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_a_folder_of_videos_becomes_a_set_that_datasets_loads(tmp_path: Path) -> None:
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", Frames(moving_square(i), 10.0), FORM)
    with all_roles() as (server, _):
        [table] = programs("printf")
        [augment] = programs("csv:videos.csv")
        shell(table + augment, tmp_path, MODEL="fake", SERVER=server.url)
    kinds = json.loads((tmp_path / "my-data/summary.json").read_text())["by_kind"]
    assert kinds["original"] == 2
    assert kinds["organic"] == 1
    assert kinds["truncated"] == 8
    [load] = programs("load_dataset")
    # Decoding needs FFmpeg's shared libraries, which are not everywhere.
    (tmp_path / "load.py").write_text(
        "import datasets\ndatasets.config.TORCHCODEC_AVAILABLE = False\n" + load
    )
    shown = shell("python load.py", tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert sum(json.loads(shown.replace("'", '"')).values()) == sum(kinds.values())


@pytest.mark.slow
def test_real_frames_become_a_set(tmp_path: Path) -> None:
    with all_roles() as (server, _):
        [augment] = programs("rlds:")
        shell(augment, tmp_path, MODEL="fake", SERVER=server.url, BRIDGE=str(shared(BRIDGE)))
    kinds = json.loads((tmp_path / "bridge-data/summary.json").read_text())["by_kind"]
    assert kinds == {"counterfactual": 8, "original": 2, "truncated": 6}


@pytest.mark.slow
def test_the_simulated_set_needs_no_model(tmp_path: Path) -> None:
    [simulate] = programs("published_data")
    shell(simulate, tmp_path)
    assert "Seeds: 100000000 and up" in (tmp_path / "sim/README.md").read_text()
    summary = json.loads((tmp_path / "sim-data/summary.json").read_text())
    assert summary["by_kind"]["original"] == 2
    assert summary["examples"] > 6


def test_the_page_names_every_source_and_every_rule() -> None:
    for kind in READERS:
        assert f"`{kind}:" in PAGE
    assert len(RULES) == 10
