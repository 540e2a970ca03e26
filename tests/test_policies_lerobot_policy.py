"""LeRobot's diffusion policy as a decoder: the actions that LeRobot itself would play, decided by the noise alone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

import huggingface_hub
import torch
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from safetensors.torch import load_file, save_file

from experiments.base_policy import open_policy
from policies.dsrl.learner import Learner, load_learned
from policies.errors import InvalidObservation
from policies.lerobot_policy.decoder import LeRobotDecoder, load_decoder
from policies.lerobot_policy.folder import find, fingerprint, load_config
from policies.lerobot_policy.observations import Interface
from policies.player import BaseNoise, play
from roboreward_gym.errors import InvalidSetting, RoboRewardError, WeightsError
from tests.fakes_policies import TINY
from tests.lerobot_marks import LEROBOT
from tests.lerobot_policies import CAMERA, ROOM, StepCounter, diffusion_config, features, save

pytestmark = LEROBOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(diffusion_config(), tmp_path_factory.mktemp("lerobot") / "diffusion")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> LeRobotDecoder:
    return load_decoder(folder, ROOM)


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def observed(batch: int = 2, history: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lead = (batch,) if history == 1 else (batch, history)
    images = rng.integers(0, 256, (*lead, 48, 64, 3), dtype=np.uint8)
    return images, rng.normal(size=(*lead, 7)).astype(np.float32)


def noise(decoder: LeRobotDecoder, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, decoder.chunk, decoder.action_dim), generator=generator)


@pytest.mark.parametrize("history", [1, 2])
def test_actions_are_those_that_lerobot_selects_step_by_step(tmp_path: Path, history: int) -> None:
    config = diffusion_config(
        n_obs_steps=history, noise_scheduler_type="DDIM", num_inference_steps=3
    )
    folder = save(config, tmp_path / "policy")
    decoder = load_decoder(folder, ROOM)
    images, states = observed(1, history=history)
    w = noise(decoder, 1)
    ours = decoder.decode(decoder.encode(images, states), w)[0]

    policy = get_policy_class("diffusion").from_pretrained(folder)
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    frames, poses = (images, states) if history == 1 else (images[0], states[0])
    theirs = []
    for step in range(history - 1 + config.n_action_steps):
        now = min(step, history - 1)
        image = torch.from_numpy(frames[now]).permute(2, 0, 1) / 255
        batch = before({CAMERA: image, "observation.state": torch.from_numpy(poses[now])})
        if step < history - 1:  # LeRobot's queue of observations fills up without playing a chunk
            policy.select_action(batch, noise=w)
            policy._queues["action"].clear()
        else:
            theirs.append(after(policy.select_action(batch, noise=w))[0])
    assert torch.allclose(ours, torch.stack(theirs), atol=1e-5)
    assert len(ours) == config.n_action_steps


def test_noise_alone_decides_and_the_global_generator_does_not(decoder: LeRobotDecoder) -> None:
    encoded = decoder.encode(*observed())
    torch.manual_seed(1)
    first = decoder.decode(encoded, noise(decoder))
    torch.manual_seed(2)
    assert torch.equal(first, decoder.decode(encoded, noise(decoder)))
    assert not torch.equal(first, decoder.decode(encoded, noise(decoder, seed=1)))


def test_a_batch_is_decoded_as_its_rows_are(decoder: LeRobotDecoder) -> None:
    images, states = observed(3)
    w = noise(decoder, 3)
    together = decoder.decode(decoder.encode(images, states), w)
    for row in range(3):
        one = slice(row, row + 1)
        alone = decoder.decode(decoder.encode(images[one], states[one]), w[one])
        assert torch.allclose(together[one], alone, atol=1e-5)


def test_larger_images_are_shrunk_to_those_of_the_data_set(decoder: LeRobotDecoder) -> None:
    images, states = observed()
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    assert torch.allclose(decoder.encode(large, states), decoder.encode(images, states), atol=1e-6)


def test_states_are_normalised_and_actions_brought_back(folder: Path, tmp_path: Path) -> None:
    # The statistics say -2..2 for both: what is twice as far in them is played twice as far.
    doubled = copy(folder, tmp_path)
    name = next(path.name for path in doubled.glob("policy_postprocessor*.safetensors"))
    wide = load_file(doubled / name)
    save_file(
        {k: 2 * v if k.startswith("action.m") else v for k, v in wide.items()}, doubled / name
    )
    plain, far = load_decoder(folder, ROOM), load_decoder(doubled, ROOM)
    encoded, w = plain.encode(*observed()), noise(plain)
    assert torch.allclose(2 * plain.decode(encoded, w), far.decode(encoded, w), atol=1e-5)
    assert torch.allclose(encoded[:, :7], torch.from_numpy(observed()[1]) / 2, atol=1e-6)


def test_the_stochastic_sampler_is_replaced(folder: Path) -> None:
    assert load_config(folder, "cpu").noise_scheduler_type == "DDPM"
    load_decoder(folder, ROOM)  # its check decodes twice from the same noise


def test_episodes_are_played_in_the_chunks_of_the_policy_with_its_history(tmp_path: Path) -> None:
    source = save(diffusion_config(n_obs_steps=2), tmp_path / "policy")
    policy, env = open_policy(f"lerobot:{source}", StepCounter())
    source_of_noise = BaseNoise()
    record = play(env, policy, source_of_noise, seed=0, generator=torch.Generator().manual_seed(0))
    assert record.executed.tolist() == [4, 4, 2]
    assert record.noise.shape == (3, 8, 7)
    seen = record.features
    assert seen.shape == (4, policy.feature_dim)
    # Half of the features belong to the step before; each state is the number of its step, halved by the normaliser.
    assert (2 * seen[:, 0]).round().tolist() == [0, 3, 7, 9]
    assert (2 * seen[:, policy.feature_dim // 2]).round().tolist() == [0, 4, 8, 10]


@pytest.mark.parametrize("algorithm", ["best_of_n", "sac", "noise_aliased"])
def test_a_policy_that_plays_a_part_of_its_horizon_is_fine_tuned(
    folder: Path, tmp_path: Path, algorithm: str
) -> None:
    policy, env = open_policy(f"lerobot:{folder}", StepCounter())
    assert policy.decoded_dim == 4 * 7 < policy.chunk * policy.action_dim
    learner = Learner(replace(TINY, algorithm=algorithm, batch=4), policy)
    generator = torch.Generator().manual_seed(0)
    learner.add(play(env, policy, BaseNoise(), seed=0, generator=generator))
    assert np.isfinite(list(learner.warm_up().values())).all()
    again = play(env, policy, learner.explore, seed=0, generator=generator)
    assert again.executed.tolist() == [4, 4, 2]
    learner.final.save(tmp_path / "learned.safetensors")
    load_learned(tmp_path / "learned.safetensors", policy)


def test_the_fingerprint_changes_with_weights_and_statistics(folder: Path, tmp_path: Path) -> None:
    whole = fingerprint(folder)
    other = copy(folder, tmp_path)
    assert fingerprint(other) == whole
    (other / "README.md").write_text("A note changes nothing.")
    assert fingerprint(other) == whole
    for name in ("model.safetensors", next(p.name for p in other.glob("policy_pre*.safetensors"))):
        before = fingerprint(other)
        tensors = load_file(other / name)
        key = next(iter(tensors))
        save_file({**tensors, key: tensors[key] + 1}, other / name)
        assert fingerprint(other) != before


def test_a_checkpoint_of_lerobot_train_is_found(tmp_path: Path) -> None:
    (tmp_path / "last" / "pretrained_model").mkdir(parents=True)
    assert find(str(tmp_path / "last")) == tmp_path / "last" / "pretrained_model"


def refused(folder: Path, interface: Interface = ROOM) -> str:
    with pytest.raises(RoboRewardError) as error:
        load_decoder(folder, interface)
    return str(error.value)


def test_a_policy_of_another_robot_or_camera_is_refused(folder: Path, tmp_path: Path) -> None:
    def like(**changes: Any) -> Interface:
        return Interface(**{**ROOM.__dict__, **changes})

    assert "gives 7 numbers per action and the environment takes 6" in refused(
        folder, like(action_dim=6)
    )
    assert "takes 7 numbers of state and the environment has 9" in refused(
        folder, like(state_dim=9)
    )
    assert "another aspect" in refused(folder, like(image_size=(128, 128)))
    two = features()
    two["input_features"]["observation.images.wrist"] = two["input_features"][CAMERA]
    message = refused(save(diffusion_config(**two), tmp_path / "two"))
    assert "observation.images.top', 'observation.images.wrist" in message


def test_a_policy_that_draws_its_own_noise_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A sampler that is not deterministic, such as the one of training.
    monkeypatch.setattr("policies.lerobot_policy.decoder.deterministic", lambda config: config)
    assert "draws noise of its own" in refused(folder)


def test_a_policy_that_ignores_its_noise_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = get_policy_class("diffusion")
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionModel

    sample = DiffusionModel.conditional_sample
    still = lambda self, size, noise, **rest: sample(self, size, noise=0 * noise, **rest)  # noqa: E731
    monkeypatch.setattr(DiffusionModel, "conditional_sample", still)
    assert model.name == "diffusion"
    assert "does not use the noise" in refused(folder)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("multi_task_dit", "draws its noise itself"), ("act", "without noise"), ("vqbet", "tried")],
)
def test_a_type_without_noise_is_refused_with_the_reason(
    folder: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    from lerobot.policies.factory import make_policy_config

    other = copy(folder, tmp_path)
    make_policy_config(kind, device="cpu", **features())._save_pretrained(other)
    message = refused(other)
    assert f"type {kind} cannot be steered" in message
    assert reason in message


def test_a_policy_without_normaliser_is_refused(folder: Path, tmp_path: Path) -> None:
    other = copy(folder, tmp_path)
    for path in other.glob("policy_preprocessor*.safetensors"):
        path.unlink()
    assert "no processors that can be read" in refused(other)
    for path in other.glob("policy_*"):
        path.unlink()
    message = refused(other)
    assert "normalise" in message
    assert "migrate_policy_normalization" in message

    config = diffusion_config()
    for processor in make_pre_post_processors(config, dataset_stats=None):
        processor.save_pretrained(other)
    assert "lacks the statistics to normalise" in refused(other)


def test_a_policy_of_another_version_is_refused(folder: Path, tmp_path: Path) -> None:
    other = copy(folder, tmp_path)
    edit(other / "config.json", lambda plain: plain.update(a_new_option=3))
    message = refused(other)
    assert "another version" in message
    assert "a_new_option" in message
    edit(other / "config.json", lambda plain: plain.update(type="tomorrow"))
    assert "'tomorrow', which LeRobot" in refused(other)
    edit(other / "config.json", lambda plain: plain.update(type=None))
    assert "None, which LeRobot" in refused(other)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "cut"])
def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path, change: str) -> None:
    other = copy(folder, tmp_path)
    path = other / "model.safetensors"
    tensors = load_file(path)
    name = next(key for key in tensors if key.endswith("rgb_encoder.0.out.weight"))
    if change == "missing":
        del tensors[name]
    elif change == "unknown":
        tensors["normalize_inputs.buffer_observation_state.mean"] = torch.zeros(7)
    elif change == "shape":
        tensors[name] = torch.zeros(3, 3)
    save_file(tensors, path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    message = refused(other)
    assert "model.safetensors cannot be read" in message
    assert "another version" in message


def test_a_folder_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    assert "config.json and model.safetensors missing" in refused(tmp_path)
    with pytest.raises(WeightsError, match="There is no folder"):
        find(str(tmp_path / "nothing" / "here"))


def test_a_hub_id_without_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="the Hugging Face Hub gave no policy of that name"):
        find("somebody/no-policy-of-this-name")


def test_an_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    other = copy(folder, tmp_path)
    edit(other / "config.json", lambda plain: plain.update(use_peft=True))
    assert "adapter" in refused(other)


def test_observations_of_another_kind_are_refused(decoder: LeRobotDecoder) -> None:
    images, states = observed()
    with pytest.raises(InvalidObservation, match="uint8"):
        decoder.encode(images.astype(np.float32), states)
    with pytest.raises(InvalidObservation, match="finite"):
        decoder.encode(images, np.full_like(states, np.nan))


def test_an_environment_without_image_and_state_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="must observe"):
        Interface.of(gym.make("CartPole-v1"))
