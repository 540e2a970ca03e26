import numpy as np
import pytest
import torch

from policies.player import BaseNoise, EpisodeRecord, play, play_without_fault
from roboreward_gym.errors import RobotFaultEpisode
from tests.fakes_policies import ACTIONS, CHUNK, FEATURES, Breakable, GoToFlag, TwoModes, episodes

BASE = BaseNoise()


def one(env: GoToFlag, seed: int = 0) -> EpisodeRecord:
    return play(env, TwoModes(), BASE, seed=seed, generator=torch.Generator().manual_seed(seed))


def test_last_chunk_is_cut_where_the_episode_ends() -> None:
    env = GoToFlag(steps=6)
    record = one(env)
    assert record.executed.tolist() == [4, 2]
    assert env.after_end == 0
    assert len(record) == 6


def test_whole_chunks_are_not_followed_by_an_empty_one() -> None:
    assert one(GoToFlag(steps=8)).executed.tolist() == [4, 4]


def test_record_holds_what_a_learner_needs() -> None:
    record = one(GoToFlag(steps=6))
    assert record.features.shape == (3, FEATURES)
    assert record.noise.shape == (2, CHUNK, ACTIONS)
    assert record.rewards.tolist()[:-1] == [0.0] * 5
    assert record.reward == record.rewards[-1]
    assert record.truncated
    assert not record.terminated


def test_features_are_those_before_each_chunk_and_at_the_end() -> None:
    env = GoToFlag(steps=6)
    record = one(env)
    moved = np.cumsum([0.0, *[float(action[0]) / 6 for action in env.actions]])
    assert record.features[:, 0].tolist() == pytest.approx(moved[[0, 4, 6]].tolist(), abs=1e-6)


def test_actions_are_those_decoded_from_the_recorded_noise() -> None:
    env = GoToFlag(steps=4)
    record = one(env)
    decoded = TwoModes().decode(record.features[:1], record.noise)
    assert torch.equal(record.actions, decoded)
    assert np.array_equal(np.stack(env.actions), decoded[0].numpy())


def test_same_seed_gives_the_same_episode() -> None:
    first, second, other = one(GoToFlag(), 1), one(GoToFlag(), 1), one(GoToFlag(), 2)
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.features, second.features)
    assert not torch.equal(first.noise, other.noise)


def test_truth_and_verdict_are_logged_and_nothing_else() -> None:
    assert set(one(GoToFlag()).logged) == {"truth/success", "roboreward/level"}


def test_one_decoding_per_chunk() -> None:
    policy = TwoModes()
    episodes(GoToFlag(steps=6), policy, BASE, range(3))
    assert policy.decoded == 6


def test_actions_outside_the_box_are_clipped() -> None:
    class Wild(TwoModes):
        def decode(self, features: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            return 3.0 * torch.ones(1, CHUNK, ACTIONS)

    env = GoToFlag(steps=4)
    play(env, Wild(), BASE, seed=0, generator=torch.Generator())
    assert np.max(env.actions) == 1.0


def test_a_spoiled_episode_is_played_again_and_nothing_of_it_is_returned() -> None:
    env = Breakable(GoToFlag(steps=6), spoiled={0, 1})
    generator = torch.Generator().manual_seed(0)
    record = play_without_fault(env, TwoModes(), BASE, seed=3, generator=generator)
    assert env.episode == 2
    assert (len(record), record.seed) == (6, 3)


def test_a_robot_that_is_spoiled_every_time_ends_the_run() -> None:
    env = Breakable(GoToFlag(steps=6), spoiled={0, 1, 2})
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(RobotFaultEpisode, match="the camera froze"):
        play_without_fault(env, TwoModes(), BASE, seed=3, generator=generator)
    assert env.episode == 2


def test_an_unspoiled_episode_is_that_of_play() -> None:
    one_way = one(GoToFlag(), seed=1)
    generator = torch.Generator().manual_seed(1)
    other = play_without_fault(GoToFlag(), TwoModes(), BASE, seed=1, generator=generator)
    assert torch.equal(one_way.noise, other.noise)
    np.testing.assert_array_equal(one_way.rewards, other.rewards)
