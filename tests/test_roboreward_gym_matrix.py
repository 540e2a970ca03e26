"""Gymnasium's versions, kinds of environments, modes of autoreset and endings, each with each.

Run by `make test` with the installed version, and by `make test-matrix` with each supported one. Where a version or a kind
has no such mode, the case is skipped with that reason. Needs numpy, gymnasium and pytest, nothing else.
"""

import copy
import pickle  # noqa: TID251 - what multiprocessing does with environments
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

from roboreward_gym import (
    FrameCapture,
    InvalidSetting,
    NoFrames,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
    register_reward_model,
    registry,
)
from tests.fakes_vector import (
    ENV_REWARD,
    ColourEnv,
    ColourModel,
    code,
    colour,
    colour_reward,
    make_colour_env,
    make_vector,
    mean_colour,
)

LENGTHS = (1, 2, 3)
"""Episodes of one step, of two, and several that end at once."""

MODES = ("NextStep", "SameStep", "Disabled")
HAS_MODES = hasattr(gym.vector, "AutoresetMode")
ID = "RoboRewardColour-v0"

SOURCES: dict[str, Any] = {"capture": "render", "function": lambda envs, seen: seen["image"]}
"""What is passed as `frame_source`, where it is not the name of the case."""

Rewards = list[list[float]]


@pytest.fixture(autouse=True)
def colour_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_factories", {})
    monkeypatch.setattr(registry, "_loaded", {})
    register_reward_model("colour", ColourModel)
    gym.register(ID, "tests.fakes_vector:ColourEnv", max_episode_steps=50)
    yield
    del gym.registry[ID]


def need_modes(mode: str) -> None:
    if mode != "NextStep" and not HAS_MODES:
        pytest.skip("Gymnasium 1.0 has next-step autoreset only")


def expected_rewards(mode: str, lengths: Sequence[int], steps: int) -> Rewards:
    """What each step is rewarded with, by the rules of each mode and nothing else."""
    table = []
    state = [(0, 1) for _ in lengths]  # step and episode of each environment
    for _ in range(steps):
        row = []
        for index, length in enumerate(lengths):
            step, episode = state[index]
            if mode == "NextStep" and step == length:
                state[index] = (0, episode + 1)
                row.append(0.0)
                continue
            step += 1
            row.append(code(*colour(step, episode, index)) if step == length else 0.0)
            ended = mode != "NextStep" and step == length
            state[index] = (0, episode + 1) if ended else (step, episode)
        table.append(row)
    return table


def run(envs: gym.vector.VectorEnv, mode: str, steps: int) -> tuple[Rewards, list[dict[str, Any]]]:
    """Rewards and infos of each step; resets what ended where nobody else does."""
    envs.reset(seed=0)
    table, infos_by_step = [], []
    for _ in range(steps):
        actions = np.zeros(envs.action_space.shape or (), np.float32)
        _, rewards, terminations, truncations, infos = envs.step(actions)
        table.append(rewards.tolist())
        infos_by_step.append(infos)
        ended = np.logical_or(terminations, truncations)
        if mode == "Disabled" and ended.any():
            envs.reset(options={"reset_mask": ended})
    return table, infos_by_step


def check_clips(model: ColourModel, lengths: Sequence[int]) -> None:
    """Each clip holds every frame of one episode of one environment, in order, and no other."""
    for clip in model.clips:
        _, episode, blue = mean_colour(clip)
        index = int(blue) - int(colour(0, 0, 0)[2])
        frames = [mean_colour(clip, i) for i in range(len(clip.frames))]
        assert frames == [colour(step, int(episode), index) for step in range(lengths[index] + 1)]
        assert clip.task == f"episode {int(episode)} of {index}"
        assert clip.fps == 5.0


@pytest.mark.parametrize("truncates", [False, True], ids=["terminated", "truncated"])
@pytest.mark.parametrize("source", ["capture", "render", "image", "function"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_vectors_are_rewarded_for_the_last_frame(
    kind: str,
    mode: str,
    source: str,
    truncates: bool,  # noqa: FBT001
) -> None:
    need_modes(mode)
    lengths = LENGTHS if kind == "sync" else LENGTHS[:2]
    envs = make_vector(kind, lengths, mode, truncates=truncates, capture=source == "capture")
    model = ColourModel()
    scored = VLMRewardVectorWrapper(
        envs,
        model,
        frame_source=SOURCES.get(source, source),
        reward_map=colour_reward,
    )
    try:
        if source == "render" and mode == "SameStep":
            with pytest.raises(NoFrames, match="FrameCapture"):
                scored.reset()
            return
        rewards, infos = run(scored, mode, 12)
    finally:
        scored.close()
    expected = expected_rewards(mode, lengths, 12)
    assert rewards == expected
    check_clips(model, lengths)
    ends = [sum(reward > 0 for reward in row) for row in expected]
    assert model.calls == [count for count in ends if count], "one call for all that end together"
    for row, infos_by_step in zip(expected, infos, strict=True):
        scored = [reward > 0 for reward in row]
        assert ("roboreward/level" in infos_by_step) == any(scored)
        if any(scored):
            assert infos_by_step["_roboreward/level"].tolist() == scored
            assert infos_by_step["roboreward/level"].tolist() == [
                3.0 * is_scored for is_scored in scored
            ]
            assert infos_by_step["roboreward/level"].dtype == np.float64
            assert infos_by_step["roboreward/truncated"].tolist() == [
                s and truncates for s in scored
            ]
        assert not [key for key in infos_by_step if "recording" in key or "captured" in key]
        final = infos_by_step.get("final_info", {})
        assert not [key for key in final if "recording" in key or "captured" in key]


@pytest.mark.parametrize("truncates", [False, True], ids=["terminated", "truncated"])
@pytest.mark.parametrize("source", ["render", "image"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", LENGTHS)
def test_single_envs_are_rewarded_for_the_last_frame(
    length: int,
    mode: str,
    source: str,
    truncates: bool,  # noqa: FBT001
) -> None:
    if mode == "SameStep":
        pytest.skip("Gymnasium has no same-step autoreset of a single environment")
    model = ColourModel()
    env: gym.Env[Any, Any] = VLMRewardWrapper(
        make_colour_env(length, truncates=truncates),
        model,
        frame_source=source,
        reward_map=colour_reward,
    )
    if mode == "NextStep":
        env = gym.wrappers.Autoreset(env)
    env.reset(seed=0)
    rewards = []
    for _ in range(12):
        _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        rewards.append([float(reward)])
        assert ("roboreward/level" in info) == (reward > 0)
        if mode == "Disabled" and (terminated or truncated):
            assert (terminated, truncated) == (True, False)
            assert info["roboreward/truncated"] == truncates
            env.reset()
    assert rewards == expected_rewards(mode, [length], 12)
    check_clips(model, [length])


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_the_vector_wrapper_reports_what_wrappers_inside_a_vector_report(mode: str) -> None:
    need_modes(mode)
    outside = VLMRewardVectorWrapper(make_vector("sync", LENGTHS, mode), ColourModel())
    made = [VLMRewardWrapper(make_colour_env(n, i), ColourModel()) for i, n in enumerate(LENGTHS)]
    options = {"autoreset_mode": gym.vector.AutoresetMode(mode)} if HAS_MODES else {}
    inside = gym.vector.SyncVectorEnv([lambda env=env: env for env in made], **options)
    first, second = run(outside, mode, 9), run(inside, mode, 9)
    assert first[0] == second[0]
    assert data_equivalence(first[1], second[1])


@pytest.mark.parametrize("ending", ["terminated", "unchanged"])
@pytest.mark.parametrize("scoring", ["immediate", "deferred"])
@pytest.mark.parametrize("truncates", [False, True], ids=["terminated", "truncated"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_scored_end_is_a_termination_unless_it_is_to_stay_unchanged(
    mode: str,
    truncates: bool,  # noqa: FBT001
    scoring: Any,
    ending: Any,
) -> None:
    need_modes(mode)
    plain = make_vector("sync", LENGTHS, mode, truncates=truncates)
    scored = VLMRewardVectorWrapper(
        make_vector("sync", LENGTHS, mode, truncates=truncates, capture=True),
        ColourModel(),
        scoring=scoring,
        ending=ending,
    )
    plain.reset(seed=0)
    scored.reset(seed=0)
    ends = np.zeros(2, np.int64)
    for _ in range(9):
        actions = np.zeros((len(LENGTHS), 2), np.float32)
        wanted, got = plain.step(actions)[2:4], scored.step(actions)[2:4]
        if ending == "terminated":
            wanted = (np.logical_or(*wanted), np.zeros(len(LENGTHS), np.bool_))
        np.testing.assert_array_equal(got, wanted)
        ends += np.sum(got, axis=1)
    truncated = truncates and ending == "unchanged"
    assert (ends > 0).tolist() == [not truncated, truncated]
    scored.close()


@pytest.mark.skipif(not HAS_MODES, reason="Gymnasium 1.0 has no partial reset")
def test_a_partial_reset_reads_the_tasks_of_those_that_it_resets() -> None:
    envs = VLMRewardVectorWrapper(make_vector("sync", LENGTHS, "Disabled"), ColourModel())
    envs.reset()
    envs.step(np.zeros((3, 2), np.float32))
    _, infos = envs.reset(options={"reset_mask": np.array([True, False, False])})
    assert not [key for key in infos if "roboreward" in key]
    assert envs.tasks == ("episode 2 of 0", "episode 1 of 1", "episode 1 of 2")


@pytest.mark.skipif(HAS_MODES, reason="only Gymnasium 1.0 would ignore the mask")
def test_a_partial_reset_that_would_be_ignored_is_refused() -> None:
    envs = VLMRewardVectorWrapper(make_vector("sync", LENGTHS), ColourModel())
    envs.reset()
    with pytest.raises(InvalidSetting, match=r"gymnasium>=1\.1"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})


@pytest.mark.skipif(not HAS_MODES, reason="Gymnasium 1.0 has next-step autoreset only")
def test_two_vectors_of_one_class_keep_their_own_modes() -> None:
    # Gymnasium 1.1 to 1.3 write the mode into metadata that both share.
    first = VLMRewardVectorWrapper(
        make_vector("sync", [2], "SameStep", capture=True), ColourModel(), reward_map=colour_reward
    )
    same_step = make_vector("sync", [2], "NextStep")
    second = VLMRewardVectorWrapper(same_step, ColourModel(), reward_map=colour_reward)
    make_vector("sync", [2], "Disabled")
    for envs, mode in ((first, "SameStep"), (second, "NextStep")):
        assert run(envs, mode, 8)[0] == expected_rewards(mode, [2], 8)


@pytest.mark.parametrize("source", ["capture", "render", "image"])
def test_long_episodes_are_held_in_bounded_memory(source: str) -> None:
    vector = make_vector("sync", [3_000, 4], capture=source == "capture", max_frames=16)
    model = ColourModel()
    frame_source = "image" if source == "image" else "render"
    bounds = {} if source == "capture" else {"max_frames": 16}
    envs = VLMRewardVectorWrapper(vector, model, frame_source=frame_source, **bounds)
    run(envs, "NextStep", 3_000)
    longest = max(model.clips, key=lambda clip: clip.duration_s)
    assert 8 <= len(longest.frames) <= 16
    assert mean_colour(longest) == colour(3_000, 1, 0)
    assert (longest.num_frames, longest.fps) == (3_001, 5.0)
    if source == "capture":
        renders = vector.get_attr("renders")
        assert renders[0] < 120, "frames that would be dropped are not rendered"
        assert renders[1] == 3_001


def test_spec_travels_as_json_and_makes_the_same_env() -> None:
    env = VLMRewardWrapper(FrameCapture(gym.make(ID), max_frames=9), "colour", scoring="deferred")
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert isinstance(again, VLMRewardWrapper)
    assert isinstance(again.env, FrameCapture)


@pytest.mark.parametrize("scoring", ["immediate", "deferred"])
def test_envs_can_be_pickled_and_copied(scoring: Any) -> None:
    env = VLMRewardWrapper(make_colour_env(2), ColourModel(), scoring=scoring)
    captured = make_colour_env(2, capture=True)
    for original in (env, captured):
        original.reset()
        original.step(np.zeros(2, np.float32))
        for again in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
            with pytest.raises(gym.error.ResetNeeded):
                again.step(np.zeros(2, np.float32))
            again.reset()
            again.step(np.zeros(2, np.float32))
            assert again.step(np.zeros(2, np.float32))[2]


@pytest.mark.parametrize("make", [FrameCapture, lambda env: VLMRewardWrapper(env, "colour")])
def test_check_env_passes(make: Any) -> None:
    with warnings.catch_warnings():
        # The checker warns about every wrapped environment.
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version.*")
        check_env(make(gym.make(ID)))


def test_make_vec_takes_the_capture_as_a_wrapper() -> None:
    envs = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", wrappers=[FrameCapture], steps=3)
    scored = VLMRewardVectorWrapper(envs, "colour", reward_map=colour_reward)
    rewards, _ = run(scored, "NextStep", 4)
    assert rewards[2] == [code(*colour(3, 1, 0))] * 2


@pytest.mark.parametrize("mode", MODES)
def test_deferred_rewards_equal_immediate_ones(mode: str) -> None:
    need_modes(mode)
    model = ColourModel()
    vector = make_vector("sync", LENGTHS, mode, capture=mode == "SameStep")
    envs = VLMRewardVectorWrapper(vector, model, reward_map=colour_reward, scoring="deferred")
    rewards, infos = run(envs, mode, 12)
    expected = expected_rewards(mode, LENGTHS, 12)
    assert np.isnan(rewards).tolist() == (np.array(expected) > 0).tolist()
    ended = [(i, reward) for row in expected for i, reward in enumerate(row) if reward]
    pending, late = [], []
    for infos_by_step in [*infos, envs.reset()[1]]:
        pending += entries(infos_by_step, "roboreward/pending")
        late += zip(
            entries(infos_by_step, "roboreward/episode"),
            entries(infos_by_step, "roboreward/reward"),
            strict=True,
        )
    if mode != "Disabled":  # there the resets had the others
        assert [i for i, _ in pending] == [i for i, _ in ended]
        assert sorted(episode for episode, _ in late) == sorted(pending), "each once, by its number"
        assert sorted(reward for _, reward in late) == sorted(ended)
    assert model.calls == [sum(reward > 0 for reward in row) for row in expected if any(row)]


def entries(infos_by_step: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    """Environment and value of each entry that is there."""
    there = np.flatnonzero(infos_by_step[f"_{key}"]) if key in infos_by_step else []
    return [(int(i), infos_by_step[key][i].item()) for i in there]


def test_env_rewards_are_only_in_the_infos() -> None:
    envs = VLMRewardVectorWrapper(make_vector("sync", [2]), ColourModel())
    rewards, infos = run(envs, "NextStep", 4)
    assert rewards == [[0.0], [0.5], [0.0], [0.0]]
    infos_by_step = [info.get("roboreward/env_reward") for info in infos]
    assert infos_by_step == [[ENV_REWARD], [ENV_REWARD], None, [ENV_REWARD]]


def test_a_stub_env_is_what_the_matrix_thinks_it_is() -> None:
    env = ColourEnv(2, 1)
    env.reset()
    env.step(np.zeros(2, np.float32))
    assert tuple(env.render()[0, 0]) == colour(1, 1, 1)
    assert len(set(colour(1, 2, 0))) == 3
