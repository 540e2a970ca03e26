import copy
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from policies.dsrl import (
    BEST,
    Actor,
    DsrlConfig,
    FineTuned,
    Learner,
    NoisePolicy,
    Progress,
    make_noise_policy,
    to_transitions,
    train,
)
from policies.errors import RunMismatch
from policies.player import BaseNoise, EpisodeRecord, evaluate, play
from policies.replay import Batch
from policies.steering import cosine_basis, join_noise, split_noise
from roboreward_gym.errors import WeightsError
from tests.fakes_policies import (
    ACTIONS,
    CHUNK,
    FEATURES,
    TINY,
    Breakable,
    GoToFlag,
    TwoModes,
)


def weights(actor: Actor) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in actor.parameters()])


def tune(run: Path, config: DsrlConfig = TINY, **options: Any) -> FineTuned:
    env = options.pop("env", None) or GoToFlag()
    return train(env, TwoModes(), config, run_dir=run, **options)


def record(executed: list[int], rewards: list[float], *, terminated: bool = False) -> EpisodeRecord:
    count = len(executed)
    return EpisodeRecord(
        features=torch.arange(count + 1.0)[:, None].repeat(1, FEATURES),
        noise=torch.randn(count, CHUNK, ACTIONS),
        executed=np.array(executed),
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        truncated=not terminated,
        seed=0,
        logged={},
    )


def successes(noise: Any, count: int = 40) -> float:
    done = evaluate(GoToFlag(), TwoModes(), noise, range(count))
    return float(np.mean([r.logged["truth/success"] for r in done]))


def test_steering_finds_the_rewarded_mode(tmp_path: Path) -> None:
    config = replace(
        TINY,
        episodes=45,
        warm_up_episodes=20,
        warm_up_updates=100,
        updates_per_chunk=8,
        batch=32,
        width=32,
        actor_lr=3e-3,
        critic_lr=3e-3,
        alpha=0.01,
        average_tau=0.05,
    )
    tuned = tune(tmp_path, config)
    base = successes(BaseNoise(CHUNK, ACTIONS))
    assert base < 0.6
    assert successes(tuned.best) > base + 0.3
    assert tuned.best_reward > 0.7


def test_untrained_actor_behaves_like_the_base_policy() -> None:
    noise_policy = make_noise_policy(
        TINY, FEATURES, CHUNK, ACTIONS, torch.Generator().manual_seed(0)
    )
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(5000, FEATURES + 1, generator=generator)
    noise = noise_policy.actor.sample(features, generator)[0]
    assert abs(noise.mean()) < 0.03
    assert 0.85 < noise.std() < 1.05
    explore = replace(noise_policy, deterministic=False)
    base = BaseNoise(CHUNK, ACTIONS)
    ends = [
        [r.features[-1, 0] for r in evaluate(GoToFlag(), TwoModes(), source, range(120))]
        for source in (explore, base)
    ]
    assert abs(np.mean(ends[0]) - np.mean(ends[1])) < 0.2
    assert abs(np.std(ends[0]) - np.std(ends[1])) < 0.2


@pytest.mark.parametrize("bound", [0.5, 1.5])
def test_noise_stays_within_the_bound(bound: float) -> None:
    config = replace(TINY, noise_bound=bound)
    actor = Actor(FEATURES, 8, config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        actor.net.weights[-1].mul_(1e4)
    noise = actor.sample(torch.randn(500, FEATURES), torch.Generator().manual_seed(0))[0]
    assert noise.abs().max() <= bound
    assert noise.abs().max() > 0.99 * bound


def test_log_density_is_that_of_the_squashed_gaussian() -> None:
    actor = Actor(FEATURES, 1, TINY, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    features = torch.ones(50_000, FEATURES)
    noise, log_density = actor.sample(features, generator)
    counts, edges = np.histogram(noise.detach().numpy(), bins=30, range=(-1.4, 1.4), density=False)
    width = edges[1] - edges[0]
    inside = np.digitize(noise.detach().numpy()[:, 0], edges) - 1
    for index in range(0, 30, 5):
        mean_density = log_density.detach().numpy()[inside == index]
        assert np.exp(mean_density).mean() == pytest.approx(counts[index] / 5e4 / width, rel=0.08)


def test_cosine_basis_keeps_standard_normal_noise_standard_normal() -> None:
    basis = cosine_basis(2, 8)
    assert torch.allclose(basis @ basis.T, torch.eye(2), atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    steered = torch.randn(20_000, 2 * 3, generator=generator)
    rest = torch.randn(20_000, 8, 3, generator=generator)
    noise = join_noise(steered, rest, basis)
    covariance = torch.cov(noise.flatten(1).T)
    assert torch.allclose(covariance, torch.eye(24), atol=0.05)
    assert torch.allclose(split_noise(noise, basis), steered, atol=1e-5)


def test_steering_everything_is_the_noise_itself() -> None:
    steered = torch.randn(3, CHUNK * ACTIONS)
    noise = join_noise(steered, torch.zeros(0), cosine_basis(CHUNK, CHUNK))
    assert torch.equal(noise.flatten(1), steered)


def test_discount_is_gamma_to_the_executed_steps() -> None:
    config = replace(TINY, gamma=0.9)
    made = to_transitions(record([4, 4, 2], [0.0] * 9 + [1.0]), 7, config, cosine_basis(4, 4))
    assert made.episode == 7
    assert made.discounts.tolist() == pytest.approx([0.9**4, 0.9**4, 0.9**2])
    assert made.tail == pytest.approx(0.9)
    assert made.rewards.tolist() == [0.0, 0.0, 0.0], "the terminal reward may not be known yet"


@pytest.mark.parametrize("terminated", [False, True])
def test_a_time_limit_is_no_end_where_only_success_is(terminated: bool) -> None:  # noqa: FBT001
    learner = Learner(replace(TINY, ending="success_only", gamma=0.9), TwoModes())
    learner.hold(record([4, 2], [0.0] * 6, terminated=terminated), 0)
    learner.replay.score(0, 0.25)
    discounts = learner.replay.batch(torch.arange(2)).discount
    assert discounts.tolist() == pytest.approx([0.9**4, 0.0 if terminated else 0.9**2])


def test_rewards_on_the_way_are_discounted_within_their_chunk() -> None:
    config = replace(TINY, gamma=0.5, chunk_reward=-1.0)
    made = to_transitions(record([2, 2], [1.0, 1.0, 1.0, 9.0]), 0, config, cosine_basis(4, 4))
    assert made.rewards.tolist() == [1.5 - 1.0, 1.0]


def test_clock_tells_the_env_steps() -> None:
    made = to_transitions(record([4, 2], [0.0] * 6), 0, TINY, cosine_basis(4, 4))
    assert made.features[:, -1].tolist() == pytest.approx([-1.0, 2 * 4 / 6 - 1, 1.0])
    off = to_transitions(record([4, 2], [0.0] * 6), 0, replace(TINY, clock=0), cosine_basis(4, 4))
    assert off.features.shape[1] == FEATURES


def test_player_and_replay_agree_about_the_clock() -> None:
    seen: list[torch.Tensor] = []
    made = make_noise_policy(TINY, FEATURES, CHUNK, ACTIONS, torch.Generator().manual_seed(0))
    made.actor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    done = play(GoToFlag(6), TwoModes(), made, seed=0, generator=generator)
    transitions = to_transitions(done, 0, TINY, made.basis)
    assert torch.equal(torch.cat(seen), transitions.features[:-1])


def batch_of(reward: float, discount: float) -> Batch:
    return Batch(
        torch.zeros(8, FEATURES + 1),
        torch.zeros(8, CHUNK * ACTIONS),
        torch.ones(8, FEATURES + 1),
        torch.full((8,), reward),
        torch.full((8,), discount),
    )


def learned_value(batch: Batch, *, alpha: float, future: float) -> float:
    learner = Learner(replace(TINY, critic_lr=1e-2, alpha=alpha, tau=0.0), TwoModes())
    with torch.no_grad():
        learner.targets.weights[-1].zero_()
        learner.targets.biases[-1].copy_(torch.tensor([future, future + 5.0])[:, None, None])
    for _ in range(150):
        learner.update_critics(batch)
    q = learner.critics(torch.cat([batch.features, batch.noise], 1))
    return float(q.detach().mean())


def test_value_is_reward_plus_discounted_smallest_target_without_entropy() -> None:
    value = learned_value(batch_of(0.5, 0.8), alpha=10.0, future=2.0)
    assert value == pytest.approx(0.5 + 0.8 * 2.0, abs=0.05)


def test_nothing_follows_a_terminal_transition() -> None:
    assert learned_value(batch_of(0.5, 0.0), alpha=0.1, future=2.0) == pytest.approx(0.5, abs=0.05)


def test_temperature_falls_while_entropy_is_above_its_target() -> None:
    for target, sign in ((-100.0, -1), (100.0, 1)):
        learner = Learner(replace(TINY, target_entropy=target), TwoModes())
        learner.update_actor(batch_of(0.0, 0.0))
        assert np.sign(float(learner.log_alpha.detach()) - math.log(TINY.alpha)) == sign


def test_actor_update_leaves_the_critics_alone() -> None:
    learner = Learner(TINY, TwoModes())
    before = [p.clone() for p in learner.critics.parameters()]
    old = weights(learner.actor)
    learner.update_actor(batch_of(0.0, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(before, learner.critics.parameters(), strict=True))
    assert not torch.equal(old, weights(learner.actor))


def test_what_is_kept_is_the_running_average_of_the_actors() -> None:
    learner = Learner(replace(TINY, average_tau=0.25, actor_lr=1e-2), TwoModes())
    expected = weights(learner.actor)
    for _ in range(3):
        learner.update_actor(batch_of(0.0, 0.0))
        expected = expected.lerp(weights(learner.actor), 0.25)
    assert torch.allclose(weights(learner.average), expected, atol=1e-6)
    assert not torch.allclose(expected, weights(learner.actor), atol=1e-3)
    progress = Progress(
        [{"reward": r} for r in [0.0] * TINY.warm_up_episodes + [1.0] * TINY.window]
    )
    progress.consider(learner.average, TINY)
    assert progress.best_actor is not None
    kept = copy.deepcopy(learner.actor)
    kept.load_state_dict(progress.best_actor)
    assert torch.equal(weights(kept), weights(learner.average))


def test_a_run_too_short_to_choose_keeps_the_average_at_its_end(tmp_path: Path) -> None:
    config = replace(TINY, window=50, actor_lr=1e-2)
    tuned = tune(tmp_path, replace(config, average_tau=1.0))
    assert torch.equal(weights(tuned.best.actor), weights(tuned.last.actor))
    slow = tune(tmp_path / "slow", replace(config, average_tau=0.01))
    assert torch.equal(weights(slow.last.actor), weights(tuned.last.actor))
    assert not torch.allclose(weights(slow.best.actor), weights(slow.last.actor), atol=1e-3)


class Rising(gym.Wrapper):
    """Pays more for each episode than for the one before."""

    episode = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.episode += 1
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, 0.1 * self.episode * truncated, terminated, truncated, info


def test_a_run_keeps_the_average_of_its_best_episode_and_not_the_actor(tmp_path: Path) -> None:
    config = replace(TINY, episodes=6, warm_up_episodes=2, window=1, actor_lr=1e-2)
    fast = tune(tmp_path / "fast", replace(config, average_tau=1.0), env=Rising(GoToFlag()))
    slow = tune(tmp_path / "slow", replace(config, average_tau=0.01), env=Rising(GoToFlag()))
    assert fast.best_episode == slow.best_episode == 5
    assert torch.equal(weights(fast.best.actor), weights(slow.last.actor))
    assert not torch.allclose(weights(slow.best.actor), weights(slow.last.actor), atol=1e-3)


def test_actor_waits_until_the_critics_have_warmed_up(tmp_path: Path) -> None:
    actors: list[torch.Tensor] = []
    learners: list[Learner] = []
    original = Learner.__init__

    def remember(learner: Learner, *arguments: Any) -> None:
        original(learner, *arguments)
        learners.append(learner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "__init__", remember)
        tune(tmp_path, on_episode=lambda *_: actors.append(weights(learners[0].actor)))
    assert all(torch.equal(actors[0], a) for a in actors[: TINY.warm_up_episodes])
    assert not torch.equal(actors[0], actors[TINY.warm_up_episodes])


@pytest.mark.parametrize("stop", [2, 6, 11])
def test_resumed_run_equals_uninterrupted(tmp_path: Path, stop: int) -> None:
    whole = tune(tmp_path / "whole")

    def interrupt(number: int, *_: Any) -> None:
        if number == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "cut", on_episode=interrupt)
    again = tune(tmp_path / "cut", resume=True)
    assert torch.equal(weights(whole.last.actor), weights(again.last.actor))
    assert torch.equal(weights(whole.best.actor), weights(again.best.actor))
    assert (whole.best_episode, whole.best_reward) == (again.best_episode, again.best_reward)
    texts = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "cut")]
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == TINY.episodes


def test_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    whole = tune(tmp_path)
    again = tune(tmp_path, resume=True)
    assert torch.equal(weights(whole.best.actor), weights(again.best.actor))


def test_truth_changes_nothing(tmp_path: Path) -> None:
    known = tune(tmp_path / "known")
    nan = tune(tmp_path / "nan", env=GoToFlag(truth=math.nan))
    assert torch.equal(weights(known.last.actor), weights(nan.last.actor))
    assert torch.equal(weights(known.best.actor), weights(nan.best.actor))
    assert known.best_episode == nan.best_episode
    assert [m["reward"] for m in known.metrics] == [m["reward"] for m in nan.metrics]
    assert math.isnan(nan.metrics[0]["truth/success"])


def test_reward_changes_what_is_learned(tmp_path: Path) -> None:
    known = tune(tmp_path / "known")
    other = tune(tmp_path / "other", env=GoToFlag(reward=0.7))
    assert not torch.equal(weights(known.last.actor), weights(other.last.actor))


def test_episode_without_a_verdict_is_not_learned_from(tmp_path: Path) -> None:
    tuned = tune(tmp_path, env=GoToFlag(reward=math.nan))
    fresh = Learner(TINY, TwoModes())
    assert torch.equal(weights(tuned.last.actor), weights(fresh.actor))
    assert math.isnan(tuned.best_reward)
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["reward"] is None


def test_best_actor_is_chosen_by_reward_after_the_warm_up() -> None:
    config = replace(TINY, warm_up_episodes=2, window=2)
    actor = Actor(FEATURES, 8, config, torch.Generator().manual_seed(0))
    progress = Progress([])
    marks = []
    for reward in [0.1, 0.3, 0.0, 0.5, 1.0, 0.4, 0.1]:
        with torch.no_grad():
            actor.net.biases[-1].add_(1.0)
        progress.metrics.append({"reward": reward, "truth/success": -reward})
        progress.consider(actor, config)
        marks.append(progress.best_episode)
    assert marks == [-1, -1, -1, 3, 4, 4, 4]
    assert progress.best_actor is not None
    assert progress.best_actor["net.biases.2"].mean() == pytest.approx(5.0)
    assert progress.best_reward == pytest.approx(0.75)


@pytest.mark.parametrize("later", [0.5, 0.2])
def test_no_actor_is_chosen_that_earns_no_more_than_the_warm_up(later: float) -> None:
    config = replace(TINY, warm_up_episodes=2, window=2)
    actor = Actor(FEATURES, 8, config, torch.Generator().manual_seed(0))
    progress = Progress([])
    for reward in [0.5, 0.5, later, later]:
        assert not progress.is_in_vain(config)
        progress.metrics.append({"reward": reward})
        progress.consider(actor, config)
    assert progress.best_actor is None
    assert progress.is_in_vain(config)


def test_a_constant_reward_leaves_the_base_policy(tmp_path: Path) -> None:
    config = replace(TINY, episodes=6, warm_up_episodes=2, window=2)
    env = gym.wrappers.TransformReward(GoToFlag(), lambda _: 0.5)
    tuned = train(env, TwoModes(), config, run_dir=tmp_path)
    untrained = Learner(config, TwoModes()).noise_policy
    assert torch.equal(weights(tuned.best.actor), weights(untrained.actor))
    assert not torch.equal(weights(tuned.last.actor), weights(untrained.actor))
    assert math.isnan(tuned.best_reward)
    assert not tuned.best.deterministic
    assert not NoisePolicy.load(tmp_path / BEST).deterministic


def test_saved_noise_policy_acts_alike(tmp_path: Path) -> None:
    tuned = tune(tmp_path)
    back = NoisePolicy.load(tmp_path / BEST)
    features = torch.randn(1, FEATURES)
    for source in (tuned.best, back):
        assert source.deterministic
    made = [source(features, 3, torch.Generator()) for source in (tuned.best, back)]
    assert torch.equal(made[0], made[1])


def test_unsteered_part_stays_random_and_can_be_silenced() -> None:
    config = replace(TINY, steered=1)
    loud = make_noise_policy(config, FEATURES, CHUNK, ACTIONS, torch.Generator().manual_seed(0))
    silent = replace(loud, rest_scale=0.0)
    generator = torch.Generator().manual_seed(0)
    features = torch.zeros(1, FEATURES)
    first, second = loud(features, 0, generator), loud(features, 0, generator)
    assert not torch.equal(first, second)
    assert torch.allclose(first.mean(1), second.mean(1), atol=1e-6)
    assert silent(features, 0, generator).std(1).max() < 1e-6


def test_metrics_name_what_happened(tmp_path: Path) -> None:
    tune(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["episode"] for line in lines] == list(range(TINY.episodes))
    assert lines[-1]["env_steps"] == 6 * TINY.episodes
    wanted = {"reward", "truth/success", "roboreward/level", "critic_loss", "q", "entropy", "alpha"}
    assert wanted <= set(lines[-1])
    assert json.loads((tmp_path / "config.json").read_text()) == asdict(TINY)


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
    with pytest.raises(WeightsError, match="Expected a checkpoint"):
        tune(tmp_path, resume=True)
    (tmp_path / BEST).write_bytes(b"no")
    with pytest.raises(WeightsError, match="Expected a checkpoint"):
        NoisePolicy.load(tmp_path / BEST)


@pytest.mark.parametrize("change", [{"gamma": 0.0}, {"episodes": 0}, {"noise_bound": -1.0}])
def test_impossible_config_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        replace(TINY, **change)


def test_more_steering_than_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 4"):
        make_noise_policy(replace(TINY, steered=5), FEATURES, CHUNK, ACTIONS, torch.Generator())


def test_spoiled_episodes_never_reach_the_learner(tmp_path: Path) -> None:
    seen: list[int] = []
    env = Breakable(GoToFlag(), spoiled={0, 4, 5})
    tuned = tune(tmp_path, env=env, on_episode=lambda number, record, _: seen.append(len(record)))
    assert env.episode + 1 == TINY.episodes + 3
    assert seen == [6] * TINY.episodes
    assert sum(m["steps"] for m in tuned.metrics) == 6 * TINY.episodes
