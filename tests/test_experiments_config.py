import dataclasses
import json

import pytest

from experiments.config import (
    CONFIGS,
    DEMO,
    EVALUATION_SEEDS,
    RUNS,
    SHOWCASE_SEEDS,
    TRAINING_SEEDS,
    ExperimentConfig,
    evaluation_seeds,
    get_config,
    training_seeds,
)
from experiments.simulation.demonstrations import SEED_OFFSET as DEMONSTRATION_SEEDS
from experiments.simulation.reward_data import SEED_OFFSET as REWARD_DATA_SEEDS
from roboreward_gym.errors import InvalidSetting, UnknownName


def overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def test_every_reward_source_of_both_tasks_is_named() -> None:
    sources = (
        "human", "oracle", "oracle-binary", "roboreward-8b", "roboreward-4b", "nano", "nano-without-negatives",
        "gemini-robotics-er-1.5", "gpt-5-mini", "robometer", "constant", "clock", "random", "simulated-human",
    )  # fmt: skip
    tasks = ("toy-on-towel", "drawer")
    assert set(CONFIGS) == {f"{task}-{source}" for task in tasks for source in sources}
    assert all(config.name == name for name, config in CONFIGS.items())


def test_the_clock_runs_until_the_time_limit_of_the_task() -> None:
    assert CONFIGS["toy-on-towel-clock"].reward_model == "clock:8"
    assert CONFIGS["drawer-clock"].reward_model == "clock:4.8"


def test_any_reward_model_can_be_named_with_its_argument() -> None:
    config = get_config("drawer-checkpoint:runs/nano/model", seed=3)
    assert (config.reward_model, config.seed) == ("checkpoint:runs/nano/model", 3)
    assert config.name == "drawer-checkpoint-runs-nano-model"
    same = dataclasses.replace(config, name="drawer-nano", reward_model="roboreward-nano", seed=0)
    assert same == CONFIGS["drawer-nano"]


def test_reward_sources_differ_in_the_reward_only() -> None:
    nano = CONFIGS["drawer-nano"]
    for source in ("oracle", "constant", "random"):
        other = CONFIGS[f"drawer-{source}"]
        assert other.reward_model != nano.reward_model
        same = dataclasses.replace(other, name=nano.name, reward_model=nano.reward_model)
        assert same == nano


def test_unknown_experiment_suggests_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'drawer-nano'"):
        get_config("drawer-nan0")


def test_seed_is_that_of_the_run() -> None:
    config = get_config("drawer-nano", seed=2)
    assert config.seed == 2


@pytest.mark.parametrize("seed", [-1, RUNS])
def test_seed_without_a_block_of_its_own_is_refused(seed: int) -> None:
    with pytest.raises(InvalidSetting, match="seed"):
        get_config("drawer-nano", seed=seed)


def test_more_episodes_than_a_block_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="final_episodes"):
        dataclasses.replace(DEMO, final_episodes=100_001)


def test_evaluation_never_sees_a_seed_of_training() -> None:
    used = [TRAINING_SEEDS, EVALUATION_SEEDS, SHOWCASE_SEEDS]
    assert not any(overlap(a, b) for a in used for b in used if a is not b)
    for config in (get_config("drawer-nano", seed=s) for s in (0, 1, RUNS - 1)):
        first = training_seeds(config.seed).start
        trained = range(first, first + config.training_episodes + config.dsrl.validation_episodes)
        assert trained.stop <= training_seeds(config.seed).stop
        for other in (0, 1, RUNS - 1):
            assert not overlap(trained, evaluation_seeds(other, 200))


def test_runs_have_starts_of_their_own() -> None:
    assert not overlap(training_seeds(0), training_seeds(1))
    assert not overlap(evaluation_seeds(0, 100_000), evaluation_seeds(1, 100_000))


def test_demonstrations_and_reward_data_use_other_seeds() -> None:
    # Each of them has less than a hundred million seeds above its offset.
    offsets = [DEMONSTRATION_SEEDS, *REWARD_DATA_SEEDS.values()]
    assert max(offsets) + 100_000_000 <= min(TRAINING_SEEDS.start, EVALUATION_SEEDS.start)
    assert max(EVALUATION_SEEDS.stop, SHOWCASE_SEEDS.stop) < 2**31


def test_config_is_read_back_from_json() -> None:
    config = get_config("toy-on-towel-nano", seed=1)
    plain = {**dataclasses.asdict(config), "policy": config.policy}
    assert ExperimentConfig.from_json(json.loads(json.dumps(plain))) == config
