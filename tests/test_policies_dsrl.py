import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.keep_rule import kept_rate, random_level, success
from policies.checkpoint import CHECKPOINT, load_checkpoint
from policies.dsrl.best_of_n import BestOfN
from policies.dsrl.config import DsrlConfig
from policies.dsrl.learner import Learner, load_learned, to_returns, to_transitions
from policies.dsrl.noise_aliased import NoiseAliased
from policies.dsrl.noise_policy import NoisePolicy, cosine_basis, split_noise
from policies.dsrl.replay import Transitions
from policies.dsrl.sac import Actor, Sac
from policies.dsrl.training import DECISION, NOISE_POLICY, FineTuned, decide, train
from policies.errors import RunMismatch
from policies.player import BaseNoise, EpisodeRecord, play
from roboreward_gym import ProgressScore, VLMRewardWrapper
from roboreward_gym.errors import InvalidSetting, WeightsError
from tests.fakes_policies import (
    ACTIONS,
    CHUNK,
    EPISODES,
    FEATURES,
    TINY,
    Breakable,
    GoToFlag,
    TwoModes,
    episodes,
)

BEST = replace(TINY, algorithm="best_of_n")


def weights(actor: Actor) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in actor.parameters()])


def actor_at_the_end(run: Path) -> torch.Tensor:
    networks = load_checkpoint(run / CHECKPOINT)["learner"]["agent"]["networks"]
    return torch.cat([v.flatten() for k, v in networks.items() if k.startswith("actor.")])


def average(run: Path) -> torch.Tensor:
    return weights(NoisePolicy.load(run / NOISE_POLICY).actor)


def tune(run: Path, config: DsrlConfig = TINY, **options: Any) -> FineTuned:
    env = options.pop("env", None) or GoToFlag()
    options = {"episodes": EPISODES, **options}
    return train(env, TwoModes(), config, run_dir=run, **options)


def record(executed: list[int], rewards: list[float], *, terminated: bool = False) -> EpisodeRecord:
    count = len(executed)
    return EpisodeRecord(
        features=torch.arange(count + 1.0)[:, None].repeat(1, FEATURES),
        noise=torch.randn(count, CHUNK, ACTIONS),
        actions=torch.randn(count, CHUNK, ACTIONS),
        executed=np.array(executed),
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        truncated=not terminated,
        seed=0,
        logged={},
    )


def steered(episode: EpisodeRecord, config: DsrlConfig) -> Transitions:
    """Its transitions with the noise as the learner's action, all of it steered."""
    return to_transitions(episode, config, split_noise(episode.noise, cosine_basis(CHUNK, CHUNK)))


def successes(noise: Any, count: int = 40) -> float:
    done = episodes(GoToFlag(), TwoModes(), noise, range(count))
    return float(np.mean([r.logged["truth/success"] for r in done]))


def test_steering_finds_the_rewarded_mode_and_is_kept(tmp_path: Path) -> None:
    config = replace(
        TINY,
        warm_up_episodes=20,
        warm_up_updates=100,
        updates_per_chunk=16,
        validation_episodes=20,
        batch=32,
        width=32,
        actor_lr=3e-3,
        critic_lr=3e-3,
        alpha=0.01,
        average_tau=0.05,
    )
    tuned = tune(tmp_path, config, episodes=45)
    base = successes(BaseNoise())
    assert base < 0.6
    assert tuned.decision.improved
    assert isinstance(tuned.noise, NoisePolicy)
    assert torch.equal(weights(tuned.noise.actor), average(tmp_path))
    assert successes(tuned.noise) > base + 0.3
    assert tuned.decision.validation_reward > 0.7


def test_best_of_n_finds_the_rewarded_mode_and_is_kept(tmp_path: Path) -> None:
    config = replace(
        BEST, warm_up_episodes=20, warm_up_updates=100, updates_per_chunk=8, validation_episodes=20,
        batch=32, width=32, critic_lr=3e-3, candidate_scale=1.0,
    )  # fmt: skip
    tuned = tune(tmp_path, config, episodes=45)
    base = successes(BaseNoise())
    assert base < 0.6
    assert tuned.decision.improved
    assert successes(tuned.noise) > base + 0.3
    kept = load_learned(tmp_path / NOISE_POLICY, TwoModes())
    assert isinstance(kept, BestOfN)
    assert successes(kept, 10) == successes(tuned.noise, 10)


def test_noise_aliased_finds_the_rewarded_mode_and_is_kept(tmp_path: Path) -> None:
    config = replace(
        TINY, algorithm="noise_aliased", warm_up_episodes=20, warm_up_updates=100, updates_per_chunk=8,
        validation_episodes=20, batch=32, width=32, critic_lr=3e-3, actor_lr=3e-3, alpha=0.01, average_tau=0.05,
    )  # fmt: skip
    tuned = tune(tmp_path, config, episodes=45)
    base = successes(BaseNoise())
    assert tuned.decision.improved
    assert isinstance(tuned.noise, NoisePolicy)
    assert successes(tuned.noise) > base + 0.3


def test_critics_of_the_noise_are_distilled_from_those_of_the_actions() -> None:
    config = replace(
        TINY, algorithm="noise_aliased", critic_lr=1e-2, batch=64, time_feature_steps=0
    )
    learner = Learner(config, TwoModes())
    for _ in range(4):
        learner.add(record([4, 4], [0.0] * 7 + [1.0]))
    agent = learner.agent
    assert isinstance(agent, NoiseAliased)
    before = {name: value.clone() for name, value in agent.critics.state_dict().items()}
    batch = learner.replay.batch(torch.arange(8).repeat(8))
    first = agent.distil(batch)["distillation_loss"]
    for _ in range(100):
        last = agent.distil(batch)["distillation_loss"]
    assert last < 0.3 * first
    assert all(torch.equal(before[n], v) for n, v in agent.critics.state_dict().items())


def test_return_is_the_discounted_sum_to_the_end_of_the_episode() -> None:
    config = replace(TINY, gamma=0.5)
    episode = record([2, 1], [1.0, 4.0, 8.0])
    made = to_returns(episode, config)
    assert torch.equal(made.action, episode.actions.flatten(1))
    assert made.rewards.tolist() == [1.0 + 2.0 + 2.0, 8.0]
    assert made.features[:, -1].tolist() == pytest.approx([-1.0, 2 * 2 / 6 - 1, 0.0])


def test_discount_is_gamma_to_the_executed_steps() -> None:
    config = replace(TINY, gamma=0.9)
    made = steered(record([4, 4, 2], [0.0] * 9 + [1.0]), config)
    assert made.discounts.tolist() == pytest.approx([0.9**4, 0.9**4, 0.0])
    assert made.rewards.tolist() == pytest.approx([0.0, 0.0, 0.9]), "discounted within the chunk"


@pytest.mark.parametrize(
    ("bootstrap", "success_reward", "reward", "terminated", "terminal"),
    [
        ("never", 1.0, 0.0, False, True),
        ("never", 1.0, 1.0, False, True),
        ("at_time_limit", 1.0, 0.25, False, False),
        ("at_time_limit", 1.0, 1.0, False, True),
        ("at_time_limit", 1.0, 0.0, True, True),
        ("at_time_limit", 0.0, -1.0, False, False),
        ("at_time_limit", 0.0, 0.0, False, True),
    ],
)
def test_what_has_no_future(
    *, bootstrap: Any, success_reward: float, reward: float, terminated: bool, terminal: bool
) -> None:
    config = replace(
        TINY, gamma=0.9, time_feature_steps=0, bootstrap=bootstrap, success_reward=success_reward
    )
    episode = record([4, 2], [0.0] * 5 + [reward], terminated=terminated)
    discounts = steered(episode, config).discounts
    assert discounts.tolist() == pytest.approx([0.9**4, 0.0 if terminal else 0.9**2])


def test_values_at_the_time_limit_with_a_time_feature_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="needs time_feature_steps 0"):
        replace(TINY, bootstrap="at_time_limit")


def test_bootstrap_without_sac_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="needs algorithm sac"):
        replace(BEST, bootstrap="at_time_limit", time_feature_steps=0)


def test_rewards_on_the_way_are_discounted_within_their_chunk() -> None:
    config = replace(TINY, gamma=0.5)
    made = steered(record([2, 2], [1.0, 1.0, 1.0, 9.0]), config)
    assert made.rewards.tolist() == [1.5, 5.5]


def test_time_feature_tells_the_env_steps() -> None:
    made = steered(record([4, 2], [0.0] * 6), TINY)
    assert made.features[:, -1].tolist() == pytest.approx([-1.0, 2 * 4 / 6 - 1, 1.0])
    off = steered(record([4, 2], [0.0] * 6), replace(TINY, time_feature_steps=0))
    assert off.features.shape[1] == FEATURES


def test_player_and_replay_agree_about_the_time() -> None:
    seen: list[torch.Tensor] = []
    made = Learner(TINY, TwoModes()).explore
    made.actor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    done = play(GoToFlag(6), TwoModes(), made, seed=0, generator=generator)
    assert torch.equal(torch.cat(seen), steered(done, TINY).features[:-1])


def counted_updates(
    run: Path, config: DsrlConfig, monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """The updates after each episode, by name."""
    updates: list[list[str]] = [[]]
    for name in ("update_critics", "update_actor"):
        original = getattr(Sac, name)

        def counted(*arguments: Any, name: str = name, original: Any = original) -> Any:
            updates[-1].append(name)
            return original(*arguments)

        monkeypatch.setattr(Sac, name, counted)
    tune(run, config, on_episode=lambda *_: updates.append([]))
    return updates[:-1]


@pytest.mark.parametrize("actor_every", [1, 2, 3])
def test_updates_after_each_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, actor_every: int
) -> None:
    config = replace(TINY, actor_every=actor_every)
    updates = counted_updates(tmp_path, config, monkeypatch)
    chunks = 2  # of the six steps of an episode
    learned = config.updates_per_chunk * chunks
    critics = [done.count("update_critics") for done in updates]
    actors = [done.count("update_actor") for done in updates]
    warm_up, learning = config.warm_up_episodes, EPISODES - config.warm_up_episodes
    waiting, validation = [0] * (warm_up - 1), [0] * config.validation_episodes
    assert critics == [*waiting, config.warm_up_updates, *[learned] * learning, *validation]
    assert actors == [*waiting, 0, *[learned // actor_every] * learning, *validation]


def test_validation_is_played_by_the_average_and_learning_by_the_actor(tmp_path: Path) -> None:
    tuned = tune(tmp_path, replace(TINY, actor_lr=1e-2))
    assert not torch.allclose(average(tmp_path), actor_at_the_end(tmp_path), atol=1e-3)
    validation = [line for line in tuned.metrics if line["phase"] == "validation"]
    assert [line["episode"] for line in validation] == list(range(EPISODES, EPISODES + 4))
    seen: list[bool] = []

    class Watch(NoisePolicy):
        def __call__(self, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(self.deterministic)
            return super().__call__(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("policies.dsrl.learner.NoisePolicy", Watch)
        tune(tmp_path / "again", replace(TINY, actor_lr=1e-2))
    learning = EPISODES - TINY.warm_up_episodes
    assert seen == [False] * 2 * learning + [True] * 2 * 4, "two chunks an episode"
    assert torch.equal(average(tmp_path / "again"), average(tmp_path))


@pytest.mark.parametrize("stop", [2, 6, 13])
def test_resumed_best_of_n_equals_uninterrupted(tmp_path: Path, stop: int) -> None:
    tune(tmp_path / "whole", BEST)

    def interrupt(number: int, *_: Any) -> None:
        if number == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "cut", BEST, on_episode=interrupt)
    tune(tmp_path / "cut", BEST, resume=True)
    for name in ("metrics.jsonl", NOISE_POLICY, DECISION):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


@pytest.mark.parametrize("stop", [2, 6, 11, 13])
def test_resumed_run_equals_uninterrupted(tmp_path: Path, stop: int) -> None:
    whole = tune(tmp_path / "whole")

    def interrupt(number: int, *_: Any) -> None:
        if number == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "cut", on_episode=interrupt)
    again = tune(tmp_path / "cut", resume=True)
    assert torch.equal(actor_at_the_end(tmp_path / "whole"), actor_at_the_end(tmp_path / "cut"))
    assert torch.equal(average(tmp_path / "whole"), average(tmp_path / "cut"))
    assert whole.decision == again.decision
    texts = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "cut")]
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == EPISODES + TINY.validation_episodes


def test_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    whole = tune(tmp_path)
    before = average(tmp_path)
    again = tune(tmp_path, resume=True)
    assert torch.equal(before, average(tmp_path))
    assert whole.decision == again.decision


def test_truth_changes_nothing(tmp_path: Path) -> None:
    known = tune(tmp_path / "known")
    nan = tune(tmp_path / "nan", env=GoToFlag(truth=math.nan))
    assert torch.equal(actor_at_the_end(tmp_path / "known"), actor_at_the_end(tmp_path / "nan"))
    assert known.decision == nan.decision
    assert [m["reward"] for m in known.metrics] == [m["reward"] for m in nan.metrics]
    assert math.isnan(nan.metrics[0]["truth/success"])


def test_reward_changes_what_is_learned(tmp_path: Path) -> None:
    tune(tmp_path / "known")
    tune(tmp_path / "other", env=GoToFlag(reward=0.7))
    ends = [actor_at_the_end(tmp_path / run) for run in ("known", "other")]
    assert not torch.equal(*ends)


def test_episode_without_a_score_is_not_learned_from() -> None:
    learner = Learner(TINY, TwoModes())
    learner.add(record([4, 2], [0.0] * 5 + [math.nan]))
    assert not len(learner.replay)
    assert learner.learn(5, actor=True) == {}
    untrained = Learner(TINY, TwoModes())
    assert torch.equal(weights(learner.agent.actor), weights(untrained.agent.actor))


def test_warm_up_without_any_score_ends_the_run_and_leaves_what_was_played(tmp_path: Path) -> None:
    for resume in (False, True):
        with pytest.raises(InvalidSetting, match="4 of 4 episodes have no score"):
            tune(tmp_path, env=GoToFlag(reward=math.nan), resume=resume)
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["reward"] for line in lines] == [None] * TINY.warm_up_episodes


class Abstaining(gym.Wrapper):
    """No reward for the episodes with these seeds, as from a reward model that abstains."""

    def __init__(self, env: gym.Env, unscored: set[int]) -> None:
        super().__init__(env)
        self.unscored = unscored

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        self.seed = seed
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        hidden = truncated and self.seed in self.unscored
        return observation, math.nan if hidden else reward, terminated, truncated, info


def test_episodes_without_a_score_are_left_out_up_to_one_half(tmp_path: Path) -> None:
    half = {100_000 + i for i in range(1, EPISODES, 2)}
    tuned = tune(tmp_path / "half", env=Abstaining(GoToFlag(), half))
    missing = [math.isnan(line["reward"]) for line in tuned.metrics[:EPISODES]]
    assert missing == [i % 2 == 1 for i in range(EPISODES)]


def test_more_than_half_of_the_episodes_without_a_score_end_the_run(tmp_path: Path) -> None:
    # The first two of four warm-up episodes, and the first one after it: 3 of 5.
    seeds = {100_000, 100_001, 100_004}
    with pytest.raises(InvalidSetting, match="3 of 5 episodes have no score, more than half"):
        tune(tmp_path, env=Abstaining(GoToFlag(), seeds))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def scored(**options: Any) -> VLMRewardWrapper:
    env = gym.wrappers.TimeLimit(GoToFlag(100), 6)
    env.metadata = {"render_fps": 5}
    model = SimpleNamespace(score=lambda clips: [ProgressScore(level=3) for _ in clips])
    return VLMRewardWrapper(env, model, "go to the flag", frame_source="image", **options)


def test_deferred_scores_are_refused_after_the_first_episode(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(InvalidSetting, match='scoring="immediate"'):
        tune(tmp_path, env=scored(scoring="deferred"), on_episode=lambda n, *_: seen.append(n))
    assert seen == []


@pytest.mark.parametrize("ending", ["terminated", "unchanged"])
@pytest.mark.parametrize("bootstrap", ["at_time_limit", "never"])
def test_time_limit_is_told_from_a_termination_under_either_ending(
    ending: Any, bootstrap: Any
) -> None:
    config = replace(TINY, gamma=0.9, time_feature_steps=0, bootstrap=bootstrap)
    made = Learner(config, TwoModes())
    episode = play(
        scored(ending=ending), TwoModes(), made.explore, seed=0, generator=made.generator
    )
    assert (episode.terminated, episode.truncated) == (False, True)
    last = steered(episode, config).discounts[-1]
    assert last == pytest.approx(0.9**2 if bootstrap == "at_time_limit" else 0.0)


def test_score_that_comes_late_is_learned_from_like_any_other() -> None:
    first, second = (record([4, 2], [0.0] * 5 + [r]) for r in (0.25, 1.0))
    in_time, late = Learner(TINY, TwoModes()), Learner(TINY, TwoModes())
    for learner, order in ((in_time, (first, second)), (late, (second, first))):
        for episode in order:
            learner.add(episode)
    rows = [learner.replay.rows[:4] for learner in (in_time, late)]
    assert torch.equal(rows[0], rows[1][[2, 3, 0, 1]])


def test_decision_is_the_exact_test_of_two_small_groups() -> None:
    # Of the 20 ways to choose 3 of these 6 rewards one has the mean of the validation.
    assert decide([0.0, 0.1, 0.2], [0.7, 0.8, 0.9]).p_value == pytest.approx(1 / 20)
    assert decide([0.0, 0.1, 0.2], [0.7, 0.8, 0.9]).improved
    assert not decide([0.0, 0.1, 0.7], [0.2, 0.8, 0.9]).improved
    worse = decide([0.7, 0.8, 0.9], [0.0, 0.1, 0.2])
    assert worse.p_value == pytest.approx(1.0)
    assert (worse.warm_up_reward, worse.validation_reward) == pytest.approx((0.8, 0.1))


def test_decision_agrees_with_the_hypergeometric_distribution() -> None:
    # For rewards of 0 and 1 the permutation test is Fisher's exact test.
    warm_up, validation = [1.0] * 12 + [0.0] * 28, [1.0] * 28 + [0.0] * 22
    exact = stats.hypergeom.sf(27, 90, 40, 50)
    assert decide(warm_up, validation).p_value == pytest.approx(exact, abs=0.003)


def test_one_lucky_episode_among_missing_scores_is_no_gain() -> None:
    warm_up = [0.0, 0.25, 0.5, 0.75] * 10
    assert not decide(warm_up, [1.0, *[math.nan] * 49]).improved
    assert decide(warm_up, [1.0] * 50).improved
    assert not decide([math.nan] * 40, [1.0] * 50).improved
    assert decide(warm_up, [math.nan] * 50).p_value == 1.0


def test_random_reward_seldom_passes_and_a_gain_often() -> None:
    sizes = {"runs": 200, "warm_up": 40, "validation": 50}
    assert kept_rate(random_level, random_level, **sizes) <= 0.08
    assert kept_rate(success(0.3), success(0.2), **sizes) <= 0.01
    assert kept_rate(success(0.3), success(0.6), **sizes) >= 0.8


def test_constant_reward_keeps_the_base_policy(tmp_path: Path) -> None:
    env = gym.wrappers.TransformReward(GoToFlag(), lambda _: 0.5)
    tuned = tune(tmp_path, env=env)
    assert isinstance(tuned.noise, BaseNoise)
    assert json.loads((tmp_path / DECISION).read_text()) == {
        "improved": False, "p_value": 1.0, "warm_up_reward": 0.5, "validation_reward": 0.5,
    }  # fmt: skip
    untrained = weights(Learner(TINY, TwoModes()).agent.actor)
    assert not torch.equal(average(tmp_path), untrained), "saved all the same"


def test_decision_compares_the_warm_up_with_the_trial_only(tmp_path: Path) -> None:
    rewards = [*[0.0, 0.1, 0.0, 0.1], *[9.0] * 8, *[0.0, 0.1, 0.0, 0.2]]

    class Planned(gym.Wrapper):
        episode = -1

        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            self.episode += 1
            return self.env.reset(**options)

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            observation, _, terminated, truncated, info = self.env.step(action)
            reward = rewards[self.episode] if truncated else 0.0
            return observation, reward, terminated, truncated, info

    decision = tune(tmp_path, env=Planned(GoToFlag())).decision
    assert (decision.warm_up_reward, decision.validation_reward) == pytest.approx((0.05, 0.075))


def test_metrics_name_what_happened(tmp_path: Path) -> None:
    tune(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["episode"] for line in lines] == list(range(EPISODES + TINY.validation_episodes))
    phases = [line["phase"] for line in lines]
    assert phases == ["warm_up"] * 4 + ["learning"] * 8 + ["validation"] * 4
    assert lines[-1]["env_steps"] == 6 * len(lines)
    wanted = {"reward", "truth/success", "roboreward/level", "critic_loss", "q", "entropy", "alpha"}
    assert wanted <= set(lines[EPISODES - 1])
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved == {**asdict(TINY), "episodes": 12, "seed": 0, "first_env_seed": 100_000}


def test_run_folder_of_another_config_is_refused(tmp_path: Path) -> None:
    tune(tmp_path)
    with pytest.raises(RunMismatch, match="gamma"):
        tune(tmp_path, replace(TINY, gamma=0.5), resume=True)
    with pytest.raises(RunMismatch, match="Resume it"):
        tune(tmp_path)


def test_corrupt_checkpoint_says_so(tmp_path: Path) -> None:
    tune(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="checkpoint"):
        tune(tmp_path, resume=True)


@pytest.mark.parametrize(
    "change",
    [{"gamma": 0.0}, {"batch": 0}, {"noise_bound": -1.0}, {"bootstrap": "always"},
     {"candidates": 0}, {"candidate_scale": 0.0}, {"algorithm": "ppo"}],
)  # fmt: skip
def test_impossible_config_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(change))):
        replace(TINY, **change)


def test_run_that_would_train_no_actor_is_refused_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="not trained"):
        tune(tmp_path / "run", episodes=TINY.warm_up_episodes)
    assert not (tmp_path / "run").exists()


def test_more_steering_than_chunk_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="at most 4"):
        Learner(replace(TINY, steered_components=5), TwoModes())


def test_missing_device_is_named() -> None:
    with pytest.raises(InvalidSetting, match="'cuda:99' is not available"):
        Learner(replace(TINY, device="cuda:99"), TwoModes())


def test_spoiled_episodes_never_reach_the_learner(tmp_path: Path) -> None:
    seen: list[int] = []
    env = Breakable(GoToFlag(), spoiled={0, 4, 5})
    tuned = tune(tmp_path, env=env, on_episode=lambda number, record, _: seen.append(len(record)))
    count = EPISODES + TINY.validation_episodes
    assert env.episode + 1 == count + 3
    assert seen == [6] * count
    assert sum(m["steps"] for m in tuned.metrics) == 6 * count
