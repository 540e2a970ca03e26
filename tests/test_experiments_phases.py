"""A whole experiment on a tiny environment: phases, resumption, honesty, evaluation."""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image

from experiments import animation, evaluate, phases, watch
from experiments.config import CONFIGS, ExperimentConfig
from experiments.evaluate import EpisodeRunner, Evaluation, PolicySpec, evaluate_policy
from experiments.phases import Finished, fine_tune, open_run, run
from experiments.played_episode import PlayedEpisode
from experiments.report.report import table, write_report
from experiments.rescore import relearn
from experiments.run import INTERRUPTED, main
from experiments.run_folder import RunFolder, RunFolderError, read_json, write_json
from policies.checkpoint import CHECKPOINT, load_checkpoint
from policies.dsrl.config import DsrlConfig
from policies.dsrl.training import DECISION, NOISE_POLICY
from policies.policy import DiffusionPolicy
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.registry import register_reward_model
from roboreward_gym.types import Clip, ProgressScore
from tests.slider import ENV_ID, STEPS, TINY, Slider

SHORT_TOY = "ShortToy-v0"


class LightMeter:
    """Scores by how much of the last frame is lit."""

    def score(self, clips: list[Clip]) -> list[ProgressScore]:
        return [ProgressScore(1 + round(4 * clip.frames[-1].mean() / 255)) for clip in clips]


class Shy:
    """Abstains from about a third of all recordings."""

    def score(self, clips: list[Clip]) -> list[ProgressScore]:
        lit = [np.count_nonzero(clip.frames[:, 0, :, 0]) for clip in clips]
        return [ProgressScore(3 if pixels % 3 else None, text="strange") for pixels in lit]


class PixelSum:
    """Means nothing, but another pixel anywhere in the recording is another reward."""

    def score(self, clips: list[Clip]) -> list[ProgressScore]:
        return [ProgressScore(1 + int(clip.frames.sum(dtype=np.int64)) % 5) for clip in clips]


@pytest.fixture(autouse=True, scope="module")
def _slider(one_thread: None) -> Iterator[None]:
    gym.register(ENV_ID, entry_point=Slider, max_episode_steps=STEPS)
    toy = "robots.environments.simulated:make"
    gym.register(
        SHORT_TOY, entry_point=toy, max_episode_steps=STEPS, kwargs={"name": "toy-on-towel"}
    )
    register_reward_model("light-meter", LightMeter, replace=True)
    register_reward_model("pixel-sum", PixelSum, replace=True)
    register_reward_model("shy", Shy, replace=True)
    yield
    del gym.registry[ENV_ID], gym.registry[SHORT_TOY]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy")
    DiffusionPolicy(TINY).save(folder)
    learner = DsrlConfig(
        warm_up_episodes=3, warm_up_updates=4, updates_per_chunk=2, batch=8, width=16, layers=1,
        validation_episodes=2, significance=1.0, save_every=2,
        time_feature_steps=STEPS,
    )  # fmt: skip
    return ExperimentConfig(
        "slider", ENV_ID, str(folder), "light-meter",
        training_episodes=6, base_episodes=3, final_episodes=3, dsrl=learner,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(
    config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, Finished]:
    folder = open_run(config, tmp_path_factory.mktemp("runs") / "run", resume=False)
    return folder, run(config, folder)


def learned(folder: RunFolder) -> bytes:
    """The averaged actor, and all networks at the end."""
    state = load_checkpoint(folder / "training" / CHECKPOINT)["learner"]["agent"]["networks"]
    average = (folder / "training" / NOISE_POLICY).read_bytes()
    return average + b"".join(value.numpy().tobytes() for value in state.values())


def without_truth(folder: RunFolder) -> list[dict[str, Any]]:
    lines = (folder / "training" / "metrics.jsonl").read_text().splitlines()
    keep = lambda key: not key.startswith("truth/") and key != "roboreward/env_reward"  # noqa: E731
    return [{k: v for k, v in json.loads(line).items() if keep(k)} for line in lines]


def test_record_of_a_run_holds_what_is_promised(finished: tuple[RunFolder, Finished]) -> None:
    folder, done = finished
    promised = {
        "config", "seed", "reward_model", "base_success", "base_episodes", "final_success",
        "final_episodes", "training_episodes", "false_positive_rate", "minutes", "git_commit",
    }  # fmt: skip
    assert done.record.keys() >= promised
    assert (done.record["training_episodes"], done.record["final_episodes"]) == (6, 3)
    assert done.training.confusion.sum() == 6
    assert folder.minutes > 0
    assert done.record["minutes"] == round(folder.minutes, 2)  # 0.0 where the machine is fast


def test_every_episode_of_a_run_is_saved(finished: tuple[RunFolder, Finished]) -> None:
    folder, done = finished
    paths = sorted((folder / "played" / "training").iterdir())
    assert [path.name for path in paths] == [f"{number:06d}.npz" for number in range(6 + 2)]
    episodes = [PlayedEpisode.load(path) for path in paths]
    phases_ = ["warm_up"] * 3 + ["learning"] * 3 + ["validation"] * 2
    assert [episode.phase for episode in episodes] == phases_
    assert [e.score.level for e in episodes[:6]] == done.training.predicted
    for played, evaluation in (
        (phases.base_played(folder.path), done.base),
        (phases.final_played(folder.path), done.final),
    ):
        for outcome in evaluation.outcomes:
            episode = PlayedEpisode.load(played / f"{outcome.seed}.npz")
            assert episode.score.level == outcome.predicted
            assert len(episode.clip.frames) == STEPS + 1


def test_learning_again_from_the_saved_episodes_is_bit_exact(
    config: ExperimentConfig, finished: tuple[RunFolder, Finished], tmp_path: Path
) -> None:
    folder, done = finished
    other = RunFolder(tmp_path / "relearned", {}, resume=False)
    rewards = dict(enumerate(done.training.reward))
    relearn(config, folder.path, rewards, other)
    again = (other / NOISE_POLICY).read_bytes()
    assert again == (folder / "training" / NOISE_POLICY).read_bytes()
    relearn(config, folder.path, dict.fromkeys(rewards, 1.0), other)
    assert again != (other / NOISE_POLICY).read_bytes()


def test_base_and_fine_tuned_policy_start_from_the_same_states(
    finished: tuple[RunFolder, Finished],
) -> None:
    _, done = finished
    assert [o.seed for o in done.base.outcomes] == [o.seed for o in done.final.outcomes]


@pytest.mark.parametrize("improved", [True, False])
def test_final_evaluation_plays_what_was_kept(
    config: ExperimentConfig,
    finished: tuple[RunFolder, Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    improved: bool,
) -> None:
    folder = RunFolder(tmp_path / "run", {}, resume=False)
    shutil.copytree(finished[0].path, folder.path, dirs_exist_ok=True)
    (folder / "final.jsonl").unlink()
    decision = read_json(folder / "training" / DECISION)
    write_json(folder / "training" / DECISION, {**decision, "improved": improved})
    played: list[PolicySpec] = []
    monkeypatch.setattr(phases, "evaluate_policy", lambda spec, *_, **__: played.append(spec))
    phases.evaluate_base(config, folder)
    phases.evaluate_final(config, folder)
    kept = folder / "training" / NOISE_POLICY if improved else None
    assert [spec.noise_policy for spec in played] == [None, kept]


def test_base_policy_that_is_kept_is_not_evaluated_twice(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsrl = dataclasses.replace(config.dsrl, significance=0.05)
    constant = dataclasses.replace(config, reward_model="constant", dsrl=dsrl)
    folder = open_run(constant, tmp_path / "run", resume=False)
    base = phases.evaluate_base(constant, folder)
    fine_tune(constant, folder)
    monkeypatch.setattr(Slider, "step", None)
    assert phases.evaluate_final(constant, folder) == base


def test_an_evaluation_of_the_base_policy_is_shared(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    args = evaluate.EvaluateArgs(config.policy, ENV_ID, episodes=4, out=shared)
    evaluate.main(args)
    folder = open_run(config, tmp_path / "run", resume=False)
    mine = phases.evaluate_base(config, folder)
    (folder / "base.jsonl").unlink()
    monkeypatch.setattr(Slider, "step", None)
    phases.take_base(config, folder, shared)
    assert len(list(phases.base_played(folder.path).iterdir())) == 4
    taken = phases.evaluate_base(config, folder)
    assert [(o.seed, o.success, o.level) for o in taken.outcomes] == [
        (o.seed, o.success, o.level) for o in mine.outcomes
    ]
    other = dataclasses.replace(config, seed=1)
    elsewhere = open_run(other, tmp_path / "other", resume=False)
    with pytest.raises(RunFolderError, match="seed: 0, here 1"):
        phases.take_base(other, elsewhere, shared)
    more = dataclasses.replace(config, base_episodes=5)
    with pytest.raises(RunFolderError, match="lacks 1 of 5"):
        phases.take_base(more, open_run(more, tmp_path / "more", resume=False), shared)


def test_learning_is_bit_exact_when_the_truth_is_hidden(
    config: ExperimentConfig, finished: tuple[RunFolder, Finished], tmp_path: Path
) -> None:
    folder, done = finished
    blind = open_run(config, tmp_path / "blind", resume=False)
    training = fine_tune(config, blind, blind=True)
    assert np.isnan(training.success).all()
    assert np.isnan(training.level).all()
    assert learned(blind) == learned(folder)
    assert without_truth(blind) == without_truth(folder)
    assert training.reward == done.training.reward


def test_learning_in_the_simulation_ignores_its_truth(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    pytest.importorskip("mujoco")
    dsrl = dataclasses.replace(config.dsrl, warm_up_episodes=1)
    toy = dataclasses.replace(
        config, env_id=SHORT_TOY, reward_model="pixel-sum", training_episodes=4, dsrl=dsrl
    )
    runs = []
    for blind in (False, True):
        folder = open_run(toy, tmp_path / f"blind {blind}", resume=False)
        training = fine_tune(toy, folder, blind=blind)
        assert np.isnan(training.level).all() == np.isnan(training.success).all() == blind
        state = load_checkpoint(folder / "training" / CHECKPOINT)
        assert "critic_loss" in state["metrics"][3]
        decision = read_json(folder / "training" / DECISION)
        runs.append((training.reward, decision, learned(folder)))
    assert runs[0] == runs[1]


def test_learning_differs_when_the_reward_does(
    config: ExperimentConfig, finished: tuple[RunFolder, Finished], tmp_path: Path
) -> None:
    other = dataclasses.replace(config, reward_model="constant")
    folder = open_run(other, tmp_path / "constant", resume=False)
    assert set(fine_tune(other, folder).reward) == {0.5}
    assert learned(folder) != learned(finished[0])


def test_episodes_that_the_reward_model_abstains_from_are_counted_and_shown(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    shy = dataclasses.replace(config, reward_model="shy")
    done = run(shy, open_run(shy, tmp_path / "run", resume=False))
    unscored = done.record["unscored_episodes"]
    assert unscored == sum(math.isnan(reward) for reward in done.training.reward)
    assert 0 < unscored <= 3
    assert done.base.rate.known, "the truth does not need the reward model"
    assert f"{unscored} of them without a score" in table(shy, done.record)["Training episodes"]


@pytest.mark.parametrize("stop", ["base", "training", "final"])
def test_interrupted_run_resumes_to_the_same_result(
    config: ExperimentConfig,
    finished: tuple[RunFolder, Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: str,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    folder = open_run(config, tmp_path / "run", resume=False)
    with monkeypatch.context() as patch:
        if stop == "training":
            count = iter(range(100))
            stop_late = lambda *_: interrupt() if next(count) == 4 else None  # noqa: E731
            patch.setattr(phases, "save_strip", stop_late)
        else:
            write = evaluate.EvaluationFile.add

            def add_then_stop(file: evaluate.EvaluationFile, outcome: evaluate.Outcome) -> None:
                write(file, outcome)
                if file.path.stem == stop and len(file.outcomes) == 2:
                    interrupt()

            patch.setattr(evaluate.EvaluationFile, "add", add_then_stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, folder)
    again = run(config, open_run(config, tmp_path / "run", resume=True))
    whole_folder, whole = finished
    assert again.base == whole.base
    assert again.final == whole.final
    assert learned(folder) == learned(whole_folder)
    assert again.training == whole.training


def test_finished_run_is_not_played_again(
    config: ExperimentConfig,
    finished: tuple[RunFolder, Finished],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, done = finished
    monkeypatch.setattr(Slider, "step", None)
    again = run(config, open_run(config, folder.path, resume=True))
    assert again.final == done.final


def test_other_base_weights_are_another_run(config: ExperimentConfig, tmp_path: Path) -> None:
    weights = tmp_path / "policy"
    mine = dataclasses.replace(config, policy=str(weights))
    for seed, raises in ((0, nullcontext()), (1, pytest.raises(RunFolderError, match="sha256"))):
        torch.manual_seed(seed)
        DiffusionPolicy(TINY).save(weights)
        with raises:
            open_run(mine, tmp_path / "run", resume=seed > 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward_map": "progres"}, "Did you mean 'progress'"),
        ({"reward_model": "light-metre"}, "Did you mean 'light-meter'"),
        ({"training_episodes": 3}, "not trained: the first 3 are the warm-up"),
        (
            {"dsrl": DsrlConfig(algorithm="sac", steered_components=50), "training_episodes": 99},
            "at most 8",
        ),
        ({"dsrl": DsrlConfig(device="cuda:99"), "training_episodes": 99}, "'cuda:99' is not avail"),
        ({"policy": "nowhere"}, r"policies\.pretrain"),
        ({"policy": "lerobot:nowhere"}, r"There is no folder nowhere"),
    ],
)
def test_refused_start_leaves_no_folder(
    config: ExperimentConfig, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    wrong = dataclasses.replace(config, **change)
    with pytest.raises(RoboRewardError, match=said):
        open_run(wrong, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


def test_weights_of_the_reward_model_count_as_part_of_the_config(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LightMeter, "manifest", {"weights_sha256": "abc"}, raising=False)
    folder = open_run(config, tmp_path / "run", resume=False)
    assert read_json(folder / "config.json")["reward_model_sha256"] == "abc"
    monkeypatch.setattr(LightMeter, "manifest", {"weights_sha256": "def"})
    with pytest.raises(RunFolderError, match="reward_model_sha256"):
        open_run(config, tmp_path / "run", resume=True)


def test_report_of_a_run_is_written_beside_it(
    config: ExperimentConfig, finished: tuple[RunFolder, Finished]
) -> None:
    folder, done = finished
    text = write_report(config, folder, done).read_text()
    assert text.count("<video") == 2
    assert "training episode 1" in text
    again_config, _, again = phases.reopen(folder.path)
    assert again_config == config
    assert (again.base, again.final) == (done.base, done.final)


def test_report_of_a_kept_base_policy_counts_the_episodes_that_the_result_counts(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    dsrl = dataclasses.replace(config.dsrl, significance=0.05)
    fewer = dataclasses.replace(
        config, reward_model="constant", dsrl=dsrl, final_episodes=config.base_episodes - 1
    )
    folder = open_run(fewer, tmp_path / "run", resume=False)
    done = run(fewer, folder)
    assert not done.record["improved"]
    again = phases.reopen(folder.path)[2]
    assert (again.base, again.final) == (done.base, done.final)
    assert len(again.final.outcomes) == done.record["final_episodes"] == fewer.final_episodes


def test_unfinished_run_has_no_report(config: ExperimentConfig, tmp_path: Path) -> None:
    open_run(config, tmp_path / "run", resume=False)
    with pytest.raises(RunFolderError, match=r"no result\.json"):
        phases.reopen(tmp_path / "run")


def test_outcome_does_not_depend_on_the_episodes_before(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    spec = PolicySpec(ENV_ID, config.policy, reward_model="light-meter")
    forth = evaluate_policy(spec, [1, 2, 3], tmp_path / "forth.jsonl")
    back = evaluate_policy(spec, [3, 2, 1], tmp_path / "back.jsonl")
    assert forth.outcomes == back.outcomes[::-1]
    assert Evaluation.load(tmp_path / "back.jsonl", [1, 2, 3]) == forth


def test_runner_keeps_the_video_of_its_last_episode(config: ExperimentConfig) -> None:
    runner = EpisodeRunner(PolicySpec(ENV_ID, config.policy, reward_model="light-meter"))
    outcome = runner.play(5)
    clip, score = runner.video
    assert len(clip.frames) == outcome.steps + 1 == STEPS + 1
    assert score.level == outcome.predicted


def test_stopped_program_says_how_to_continue(
    config: ExperimentConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(CONFIGS, "slider", config)
    monkeypatch.setattr("experiments.run.run", interrupt)
    out = os.fspath(tmp_path / "run")
    assert main(["slider", "--out", out]) == INTERRUPTED
    assert f"python -m experiments.run slider --out {out} --resume" in capsys.readouterr().out


def test_watched_run_leaves_a_video_of_each_episode(
    finished: tuple[RunFolder, Finished], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, done = finished
    watch.main(watch.WatchArgs(folder.path, episodes=2))
    videos = sorted((folder / "watch").glob("fine-tuned-*.mp4"))
    assert [path.stem for path in videos] == [
        f"fine-tuned-{o.seed}" for o in done.final.outcomes[:2]
    ]
    ends = ["success" if o.success else "failure" for o in done.final.outcomes[:2]]
    said = capsys.readouterr().out
    for outcome, end in zip(done.final.outcomes, ends, strict=False):
        assert f"seed {outcome.seed}: {end}" in said
    watch.main(watch.WatchArgs(folder.path, episodes=1, base=True))
    assert "base policy" in capsys.readouterr().out
    assert "fine-tuned policy" in said


def test_viewer_shows_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = pytest.importorskip("mujoco.viewer")
    shown: list[str] = []

    class Window:
        def __init__(self, model: object, data: object) -> None:
            shown.append("open")

        def sync(self) -> None:
            shown.append("step")

        def close(self) -> None:
            shown.append("close")

    monkeypatch.setattr(viewer, "launch_passive", Window)
    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=lambda _: None))
    env = watch.Viewed(gym.make("robots:WidowXDrawer-v0"))
    env.reset(seed=0)
    env.step(np.zeros(7, np.float32))
    env.close()
    assert shown == ["open", "step", "close"]


def test_animation_shows_both_policies_from_the_same_starts(
    finished: tuple[RunFolder, Finished], tmp_path: Path
) -> None:
    out = tmp_path / "pictures" / "run.webp"
    args = animation.AnimationArgs(finished[0].path, out, starts=2)
    animation.main(args)
    first = out.read_bytes()
    with Image.open(out) as picture:
        width, height = animation.CELL
        assert picture.size == (2 * width, 2 * (height + animation.TITLE))
        assert picture.n_frames == STEPS + 1
        picture.seek(0)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    rows = [pixels[top + animation.TITLE :][:height] for top in (0, height + animation.TITLE)]
    assert np.abs(rows[0] - rows[1]).mean() < 2, "the first frames are those of the same starts"
    animation.main(args)
    assert out.read_bytes() == first
