"""The demo on the real environment, with a tiny policy and a reward model that costs nothing."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from experiments import demo, showcase
from experiments.config import DEMO, NANO
from experiments.run import INTERRUPTED
from policies.policy import DiffusionPolicy, PolicyConfig
from roboreward_gym import registry
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import Clip, ProgressScore

pytest.importorskip("mujoco")


class Shortsighted:
    """Scores by how much the last frame differs from the first."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        changed = [abs(c.frames[-1].astype(int) - c.frames[0]).mean() for c in clips]
        return [ProgressScore(1 + min(4, int(change / 4))) for change in changed]


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.manual_seed(0)
    sizes = PolicyConfig(maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=2)
    DiffusionPolicy(sizes).save(tmp_path / "policy")
    dsrl = dataclasses.replace(
        DEMO.dsrl, warm_up_episodes=1, warm_up_updates=2, validation_episodes=2
    )
    short = dataclasses.replace(
        DEMO, policy=str(tmp_path / "policy"), env_id="robots:WidowXDrawer-v0", dsrl=dsrl
    )
    monkeypatch.setattr(demo, "DEMO", short)
    monkeypatch.setitem(registry._factories, NANO, Shortsighted)
    monkeypatch.setitem(registry._loaded, NANO, Shortsighted())
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def small_demo(path: Path, *, resume: bool = False) -> demo.DemoArgs:
    return demo.DemoArgs(
        resume=resume, out=path, training_episodes=2, evaluation_episodes=1, workers=1, threads=1
    )


def test_demo_stops_and_resumes_to_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr("experiments.phases.evaluate_final", interrupt)
        assert demo.main(small_demo(out)) == INTERRUPTED
    assert "--training-episodes 2" in capsys.readouterr().out
    assert demo.main(small_demo(out, resume=True)) == 0
    said = capsys.readouterr().out
    assert "success, other task asked" in said
    assert "base        " in said
    assert "false-positive rate" in said
    assert f"Report: {out / 'report.html'}" in said
    text = (out / "report.html").read_text()
    assert "The reward model at work" in text
    assert text.count("<video") == 2


def test_refused_demo_leaves_the_earlier_one_where_it_is(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    with pytest.raises(InvalidSetting, match="not trained"):
        demo.main(dataclasses.replace(small_demo(out), training_episodes=1))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["policy", "demo"]


def test_second_demo_keeps_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    (out / "report.html").write_text("mine")
    demo.set_aside(out)
    assert not out.exists()
    assert (tmp_path / "demo-1" / "report.html").read_text() == "mine"
    assert "demo-1" in capsys.readouterr().out


@pytest.mark.parametrize("env_id", ["robots:WidowXToyOnTowel-v0", "robots:WidowXDrawer-v0"])
def test_examples_are_what_they_say(env_id: str) -> None:
    success, counterfactual, truncated, clumsy = showcase.example_clips(env_id)
    assert success.level == 5
    assert counterfactual.level < 5
    assert counterfactual.clip.task != success.clip.task
    assert truncated.level < 5
    assert len(truncated.clip.frames) < len(success.clip.frames)
    assert clumsy.level < 5


def test_examples_of_a_seed_are_the_same_and_of_another_are_not() -> None:
    env_id = "robots:WidowXDrawer-v0"
    clips = [showcase.example_clips(env_id, seed)[0].clip.frames for seed in (0, 0, 1)]
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])


def test_unreadable_answer_is_named_in_the_table() -> None:
    (example, *_) = showcase.example_clips("robots:WidowXDrawer-v0")
    text = showcase.table([example], [ProgressScore(None)])
    assert "unreadable" in text.splitlines()[2]


def test_picture_shows_one_example_of_each_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures" / "model.jpg"
    args = showcase.ShowcaseArgs(scene="drawer", reward_model="constant:5", each=2, out=out)
    showcase.main(args)
    image = cv2.imread(str(out))
    assert image is not None
    rows = np.array_split(image, 4)
    colours = [row[:, -150:].reshape(-1, 3).astype(int) for row in rows]
    orange = [bool(((c[:, 2] - c[:, 0]) > 100).any()) for c in colours]
    assert orange == [False, True, True, True], "a constant 5 is right of the success only"
    assert "the true one in 2 of 8 random examples" in capsys.readouterr().out
