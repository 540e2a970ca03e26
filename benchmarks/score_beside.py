"""A score beside what others do on the same weights: `python -m benchmarks.score_beside`, rows of `benchmarks.side_by_side`.

roboreward-nano scores clips of 32 frames of 192x320, in turn with `generate` of transformers asked as roboreason does (as it is
given, once and over ten prefixes; it has no batch), and with the bare forward pass of transformers on tensors that lie ready. These
compare CPU time in one thread. With `--wall` each row also has `wall_ratio`, the same by the clock on the wall with a thread for each
core on both sides; it needs a quiet machine, where the two threads do not wait for each other. The last row is 32 environments that end
in the same step, beside scoring their episodes one by one: wall time, as ours takes the core that torch's thread leaves free. Parts can
be named: `environments`, `score`. A busy machine moves all times and, less, their ratios.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.deferred_scoring import Noise
from benchmarks.score_latency import Bench, LatencyConfig, load
from benchmarks.side_by_side import compare, record_row
from reward_models.protocol.frames import sample_clip
from roboreward_gym import Clip, ProgressScore, RewardModel, VLMRewardVectorWrapper

COMMAND = "python -m benchmarks.score_beside"
BATCH = 8
ENVS = 32
STEPS = 8
ROUNDS = 3
CORES = 2
FORWARD_GOAL = 0.91
"""Within 1.1 times the bare pass."""
Work = Callable[[], Any]


def wall_ratio(ours: Work, peer: Work, rounds: int = ROUNDS) -> float:
    """Median over the rounds of the peer's wall time over ours, with a thread of torch for each core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(CORES)
    found = [_wall_s(peer) / _wall_s(ours) for _ in range(rounds)]
    torch.set_num_threads(threads)
    return round(median(found), 2)


def _wall_s(work: Work) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def bare_forward(bench: Bench, clips: Sequence[Clip]) -> Work:
    """The pass of transformers on all clips at once; their tensors are made before."""
    inputs = bench.reward_model.prepare([sample_clip(clip) for clip in clips])

    @torch.inference_mode()
    def run() -> Any:
        return bench.reward_model.model(**inputs, use_cache=False, logits_to_keep=1).logits

    return run


def score_rows(bench: Bench, *, wall: bool) -> None:
    """One clip and several, beside `generate` and the bare pass."""
    wrapper, model = bench.wrapper, bench.reward_model
    assert wrapper is not None
    # No two frames are equal: of equal ones ours sees one only.
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 192, 320, 3), np.uint8)
    clips = [Clip(frames, "put the duck on the towel", 5.0) for frames in noise]
    # In favour of generate: it is given the eight frames that the protocol chooses.
    shown = [Clip(np.ascontiguousarray(sample_clip(c).frames), c.task, 1.0) for c in clips]
    for work, some, seen in (
        ("score of a clip", clips[:1], shown[:1]),
        (f"scores of {BATCH} clips", clips, shown),
    ):
        peers: dict[str, tuple[Work, float]] = {
            "transformers generate": (
                lambda seen=seen, path=wrapper: [path.score(c) for c in seen],
                3.0,
            ),
            "bare forward pass of transformers": (bare_forward(bench, some), FORWARD_GOAL),
        }
        if len(some) == 1:
            peers["ten prefixes by generate, as roboreason"] = (
                lambda some=some: wrapper.score_prefixes(some[0]),
                10.0,
            )
        for peer, (theirs, goal) in peers.items():
            ours = lambda some=some: model.score(some)  # noqa: E731
            measured = compare(ours, theirs, rounds=ROUNDS, repeats=1)
            if wall:
                measured["wall_ratio"] = wall_ratio(ours, theirs)
            record_row(work, peer, "transformers", measured, goal=goal, command=COMMAND)


class OneByOne:
    """Scores each clip in a call of its own."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self.protocol = getattr(model, "protocol", None)

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score each clip."""
        return [self._model.score([clip])[0] for clip in clips]


class Short(Noise):
    """Ends after a few steps; small frames."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do nothing."""
        self._steps += 1
        return np.zeros(1, np.float32), 0.0, False, self._steps == STEPS, {}

    def render(self) -> np.ndarray:
        """Noise."""
        return self.np_random.integers(0, 256, (96, 160, 3), np.uint8)


def ending(model: RewardModel) -> Callable[[], tuple[float, np.ndarray]]:
    """Return a function that plays an episode in all environments: wall seconds of the ending step, and the rewards."""
    vector = gym.vector.SyncVectorEnv(
        [Short] * ENVS, autoreset_mode=gym.vector.AutoresetMode.NEXT_STEP
    )
    envs = VLMRewardVectorWrapper(vector, model, "lift the cup")

    def play() -> tuple[float, np.ndarray]:
        envs.reset(seed=0)
        for _ in range(STEPS - 1):
            envs.step(np.zeros(ENVS, int))
        begin = time.perf_counter()
        rewards = envs.step(np.zeros(ENVS, int))[1]
        return time.perf_counter() - begin, rewards

    return play


def environments_row(model: RewardModel) -> None:
    """Environments that end together."""
    together, one_by_one = ending(model), ending(OneByOne(model))
    if not np.allclose(together()[1], one_by_one()[1], atol=1e-6):
        raise SystemExit("An episode has another score in a call with others.")
    times = [(together()[0], one_by_one()[0]) for _ in range(ROUNDS)]
    measured = {
        "ratio": round(median(b / a for a, b in times), 2),
        "ours_ms": round(1e3 * median(a for a, _ in times), 1),
        "peer_ms": round(1e3 * median(b for _, b in times), 1),
        "clock": "wall",
        "cores": CORES,
    }
    work, peer = f"{ENVS} environments that end together", "one by one"
    record_row(work, peer, "", measured, goal=1.5, command=COMMAND)


def main() -> None:
    """Measure all rows, or the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["environments", "score"])
    parser.add_argument("--wall", action="store_true", help="measure wall time too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = load("nano", LatencyConfig(), Path(folder))
    bench.reward_model.abstain = False
    if "environments" in options.parts:
        environments_row(bench.reward_model)
    if "score" in options.parts:
        score_rows(bench, wall=options.wall)


if __name__ == "__main__":
    main()
