"""What recording costs beside Gymnasium's own wrappers: `python -m benchmarks.recording`, needs moviepy (`pip install moviepy`).

CPU time per step of CartPole-v1 with a balancing policy, the environment's own part included, measured in turn with the peer in one
process: a reward model at RoboReward's rate (2 frames per second), and one that is given each step. `RecordVideo` is stopped before it
encodes its video, which is no part of the row; ours is stopped before it scores. The memory is the peak of what Python and NumPy
allocate (`tracemalloc`) in one episode of 10^5 steps with frames of 32x32 pixels.
"""

import logging
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AddRenderObservation, RecordVideo
from gymnasium.wrappers.vector import RecordVideo as RecordVectorVideo
from tqdm import trange

from benchmarks.side_by_side import compare, record_row
from reward_models.protocol.frames import ROBOREWARD_PROTOCOL
from roboreward_gym import (
    Clip,
    FrameCapture,
    ProgressScore,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
)

COMMAND = "python -m benchmarks.recording"
STEPS = 100
ENVS = 4
LONG = 100_000
TASK = "balance the pole"


class EachStep:
    """A reward model that does not say which frames it needs: it is given all."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Not called here."""
        return [ProgressScore(3) for _ in clips]


class AtTheRate(EachStep):
    """A reward model that samples as RoboReward does."""

    protocol = ROBOREWARD_PROTOCOL


def play(env: gym.Env[Any, Any]) -> None:
    """Balance the pole for `STEPS` steps, which end no episode."""
    env.reset(seed=0)
    for _ in range(STEPS):
        _, _, angle, turn = env.unwrapped.state  # ty: ignore[missing-attribute]
        env.step(int(angle + 0.3 * turn > 0))


def play_vector(envs: gym.vector.VectorEnv) -> None:
    """The same in each environment of a vector."""
    envs.reset(seed=0)
    inner = envs.unwrapped.envs  # ty: ignore[missing-attribute]
    for _ in range(STEPS):
        states = np.array([env.unwrapped.state for env in inner])
        envs.step((states[:, 2] + 0.3 * states[:, 3] > 0).astype(int))


def cart_pole() -> gym.Env[Any, Any]:
    """One that renders."""
    return gym.make("CartPole-v1", render_mode="rgb_array")


def record_video(env: Any, wrapper: Any, play_it: Callable[[Any], None]) -> Callable[[], None]:
    """Play with `RecordVideo`, and drop its frames where it would encode them."""
    folder = tempfile.mkdtemp()
    recorder = wrapper(env, folder, episode_trigger=lambda _: True)
    recorder.stop_recording = lambda: vars(recorder).update(recorded_frames=[], recording=False)

    def work() -> None:
        play_it(recorder)
        recorder.stop_recording()

    return work


def single_rows() -> None:
    """Beside `AddRenderObservation` and `RecordVideo`."""
    peers = {
        "Gymnasium AddRenderObservation": (lambda env: lambda: play(env))(
            AddRenderObservation(cart_pole())
        ),
        "Gymnasium RecordVideo": record_video(cart_pole(), RecordVideo, play),
    }
    for work, model in (("recording", AtTheRate()), ("recording of each step", EachStep())):
        env = VLMRewardWrapper(cart_pole(), model, TASK)
        for peer, theirs in peers.items():
            measured = compare(lambda env=env: play(env), theirs, rounds=7, repeats=1)
            record_row(
                work, peer, "gymnasium", measured | {"steps": STEPS}, goal=1.0, command=COMMAND
            )


def vector(**settings: Any) -> gym.vector.VectorEnv:
    """Several that render."""
    return gym.make_vec(
        "CartPole-v1", ENVS, vectorization_mode="sync", render_mode="rgb_array", **settings
    )


def vector_rows() -> None:
    """Beside the vector's `RecordVideo`."""
    envs = VLMRewardVectorWrapper(vector(wrappers=[FrameCapture]), AtTheRate(), TASK)
    theirs = record_video(vector(), RecordVectorVideo, play_vector)
    measured = compare(lambda: play_vector(envs), theirs, rounds=7, repeats=1) | {
        "steps": STEPS,
        "envs": ENVS,
    }
    record_row(
        "recording in a vector",
        "Gymnasium vector RecordVideo",
        "gymnasium",
        measured,
        goal=1.0,
        command=COMMAND,
    )


class Endless(gym.Env[np.ndarray, Any]):
    """Small frames, and no end."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    render_mode = "rgb_array"
    spec = None

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin."""
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on."""
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def render(self) -> np.ndarray:
        """Another array each time."""
        return np.zeros((32, 32, 3), np.uint8)


def peak_mib(env: gym.Env[Any, Any]) -> dict[int, float]:
    """Peak of what is allocated in one episode, in [MiB], after a tenth of its steps and after all."""
    tracemalloc.start()
    env.reset()
    peaks = {}
    for step in trange(1, LONG + 1, desc=type(env).__name__, leave=False):
        env.step(0)
        if step in (LONG // 10, LONG):
            peaks[step] = round(tracemalloc.get_traced_memory()[1] / 2**20, 2)
    tracemalloc.stop()
    return peaks


def memory_row() -> None:
    """Beside `RecordVideo`: the peaks, and how ours grew over the last nine tenths."""
    ours = peak_mib(VLMRewardWrapper(Endless(), EachStep(), TASK))
    peer = RecordVideo(Endless(), tempfile.mkdtemp(), episode_trigger=lambda _: True)
    theirs = peak_mib(peer)
    vars(peer).update(recorded_frames=[], recording=False)
    measured = {
        "ratio": round(theirs[LONG] / ours[LONG], 2),
        "ours_mib": ours[LONG],
        "ours_mib_at_a_tenth": ours[LONG // 10],
        "peer_mib": theirs[LONG],
        "steps": LONG,
    }
    record_row(
        "memory at 10^5 steps",
        "Gymnasium RecordVideo",
        "gymnasium",
        measured,
        goal=1.0,
        command=COMMAND,
    )


def main() -> None:
    """Measure all rows."""
    logging.disable(logging.WARNING)  # episodes are reset in the middle, on purpose
    single_rows()
    vector_rows()
    memory_row()


if __name__ == "__main__":
    main()
