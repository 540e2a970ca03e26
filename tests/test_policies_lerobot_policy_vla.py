"""SmolVLA and pi0, by LeRobot's own classes with tiny random weights, steered by their noise."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")
if importlib.util.find_spec("num2words") is None:
    pytest.skip("SmolVLA needs num2words (LeRobot's extra `smolvla`)", allow_module_level=True)

import torch
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from safetensors.torch import load_file, save_file

from policies.errors import InvalidObservation
from policies.lerobot_policy import steering
from policies.lerobot_policy.decoder import load_decoder
from policies.lerobot_policy.folder import load_config
from policies.lerobot_policy.observations import Interface
from roboreward_gym.errors import InvalidSetting, WeightsError
from tests.lerobot_marks import LEROBOT
from tests.lerobot_policies import (
    CAMERA,
    ROOM,
    make_pi0_tiny,
    pi0_config,
    save,
    save_smolvlm,
    save_tokenizer,
    smolvla_config,
)

pytestmark = LEROBOT


@pytest.fixture(scope="module", params=["smolvla", "pi0"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    home = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "smolvla":
            config = smolvla_config(save_smolvlm(home / "vlm"))
        else:
            make_pi0_tiny(monkeypatch, save_tokenizer(home / "tokenizer"))
            config = pi0_config()
        yield save(config, home / "policy")


def observed(batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 48, 64, 3), dtype=np.uint8)
    return images, rng.normal(size=(batch, 7)).astype(np.float32)


def noise(batch: int = 2, seed: int = 0) -> torch.Tensor:
    # The width of the models' noise, 9, is more than the 7 numbers of an action.
    return torch.randn((batch, 6, 9), generator=torch.Generator().manual_seed(seed))


def test_actions_are_those_that_lerobot_predicts(folder: Path) -> None:
    decoder = load_decoder(folder, ROOM)
    assert (decoder.chunk, decoder.action_dim, decoder.history) == (6, 9, 1)
    images, states = observed()
    ours = decoder.decode(decoder.encode(images, states), noise())
    assert ours.shape == (2, 3, 7)  # of a chunk of 6 the 3 that the policy plays

    config = load_config(folder, "cpu")
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, pretrained_path=str(folder))
    batch = before(
        {
            CAMERA: torch.from_numpy(images).permute(0, 3, 1, 2) / 255,
            "observation.state": torch.from_numpy(states),
            "task": [ROOM.task] * 2,
        }
    )
    theirs = after(policy.predict_action_chunk(batch, noise=noise()))[:, :3]
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_noise_decides_and_each_row_has_its_own_observation(folder: Path) -> None:
    decoder = load_decoder(folder, ROOM)
    images, states = observed()
    encoded = decoder.encode(images, states)
    assert encoded.shape == (2, decoder.feature_dim)
    together = decoder.decode(encoded, noise())
    assert torch.equal(together, decoder.decode(encoded, noise()))
    assert not torch.allclose(together, decoder.decode(encoded, noise(seed=1)))
    # Decoded in another order, and one by one: by features, not by place.
    for row in (1, 0):
        alone = decoder.decode(encoded[row : row + 1], noise()[row : row + 1])
        assert torch.allclose(together[row : row + 1], alone, atol=1e-5)


def test_the_task_is_told(folder: Path) -> None:
    images, states = observed(1)
    actions = []
    for task in ("open the drawer", "drawer"):
        decoder = load_decoder(folder, Interface((96, 128), 7, 7, task))
        actions.append(decoder.decode(decoder.encode(images, states), noise(1)))
    assert not torch.equal(*actions)


def test_forgotten_observations_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = load_decoder(folder, ROOM)
    monkeypatch.setattr(steering, "REMEMBERED", 1)
    images, states = observed()
    encoded = decoder.encode(images, states)
    decoder.decode(encoded[1:], noise(1))
    with pytest.raises(InvalidObservation, match="Decode before encoding more"):
        decoder.decode(encoded[:1], noise(1))


def test_weights_that_lerobot_would_replace_by_random_ones_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[next(key for key in tensors if "action_out_proj" in key)]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="another version"):
        load_decoder(tmp_path, ROOM)


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: object, **kwargs: object) -> None:
        raise ImportError("no package num2words")

    monkeypatch.setattr("policies.lerobot_policy.folder.get_policy_class", absent)
    with pytest.raises(InvalidSetting, match=r"num2words.*pip install 'lerobot"):
        load_decoder(folder, ROOM)
