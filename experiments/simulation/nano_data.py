"""nano's training data: the episodes of SimReward with landmarks, `python -m experiments.simulation.nano_data --out DIR --split train`.

Each episode is the one that `experiments.simulation.simreward` plays for the same seed, under the same shifts. Only the eight frames
that the protocol samples of it are rendered, and the landmarks of the tower's training are noted as the shifted camera sees
them. Some tasks are spelled as people write them, with a capital and a full stop. The layout is that of
`reward_models.data.reward_data`; the test split of SimReward is never trained on, so it is not offered.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from experiments.run_folder import new_folder
from experiments.simulation.behaviours import LearnedPolicy
from experiments.simulation.reward_data import FRAMES, LabelledClip, write_clips
from experiments.simulation.simreward import SEED_OFFSET, SEEDS
from experiments.simulation.simreward_episode import (
    SEVERAL,
    SINGLE,
    EpisodePlan,
    Question,
    ask_about,
    play,
    render,
)
from experiments.workers import prepare, worker_pool
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting
from robots.conventions import CONTROL_HZ

SPLITS: dict[Literal["train", "validation"], Literal["train", "val"]] = {
    "train": "train",
    "validation": "val",
}
"""Our names of the splits, and SimReward's."""
SPELLED = 0.35
"""How often a task is spelled in another way than all in lower case and without a full stop."""


@dataclass(frozen=True)
class NanoDataConfig:
    """What to collect."""

    out: Path
    """Folder to write; must not exist yet."""
    split: Literal["train", "validation"] = "train"
    """Which of SimReward's splits to play."""
    episodes: int = 3000
    """Episodes."""
    first: int = 0
    """Number of the first episode of the split."""
    policies: tuple[Path, Path] = (
        Path("policies/weights/toy-on-towel"),
        Path("policies/weights/drawer"),
    )
    """Folders of the policies that play some episodes of toys and of drawers."""
    toy_noise_policy: Path | None = None
    """File of a noise policy that the policy for toys was fine-tuned with."""
    on_policy: float = 0.2
    """Share of the episodes that they play."""
    counterfactuals: int = 3
    """Other tasks that each clip is labelled for besides its own."""
    shifted: tuple[float, float] = (SINGLE, SEVERAL)
    """Shares of the episodes with one shift of the look, and with two to four; the others look as in the experiments."""
    size: tuple[int, int] | None = None
    """Height and width that frames are resized to, for recordings of other cameras; by default as they are rendered."""
    workers: int = 2
    """Processes; the result does not depend on it."""

    def __post_init__(self) -> None:
        if not 0 <= self.on_policy <= 1:
            raise InvalidSetting(f"on_policy is {self.on_policy}. Choose a share in 0..1.")
        if min(self.shifted) < 0 or sum(self.shifted) > 1:
            raise InvalidSetting(
                f"shifted is {self.shifted}. Choose two shares that are 0 or more, and 1 or less together."
            )
        if not 0 <= self.first < self.first + self.episodes <= SEEDS:
            raise InvalidSetting(
                f"Choose first >= 0, episodes >= 1 and first + episodes <= {SEEDS}, not {self.first} and {self.episodes}."
            )

    def plans(self) -> list[EpisodePlan]:
        """What each episode is made from."""
        split = SPLITS[self.split]
        start = SEED_OFFSET[split] + self.first
        toy, drawer = self.policies
        return [
            EpisodePlan(
                folder=self.out,
                split=split,
                seed=seed,
                policies=(LearnedPolicy(toy, self.toy_noise_policy), LearnedPolicy(drawer)),
                on_policy=self.on_policy,
                other_envs=0.0,
                counterfactuals=self.counterfactuals,
                shifted=self.shifted,
            )
            for seed in range(start, start + self.episodes)
        ]


def make_clips(plan: EpisodePlan, size: tuple[int, int] | None = None) -> list[LabelledClip]:
    """Play one episode and label its clips: the whole one and, by chance, one that is cut short."""
    rng = np.random.default_rng([plan.seed, 3])
    rng.random()  # SimReward asks here whether the recording is of another environment
    scene, shifts, played, env = play(plan, rng)
    questions = list(ask_about(plan, played, rng))
    spelling = np.random.default_rng([plan.seed, 5])
    total = len(played.captions)
    lengths = list(dict.fromkeys(question.frames for question in questions))
    at = np.stack([np.linspace(0, n - 1, FRAMES).round().astype(int) for n in lengths])
    # All at once: what takes a shift off again does not bring back the colours of the episode.
    moments = render(plan, played, shifts, env, at.ravel())
    clips = []
    for i, length in enumerate(lengths):
        pictures, landmarks = zip(*moments[i * FRAMES : (i + 1) * FRAMES], strict=True)
        meta = {
            "episode": f"{scene}-{plan.split}-{plan.seed}",
            "seed": plan.seed,
            "scene": scene,
            "split": next(ours for ours, theirs in SPLITS.items() if theirs == plan.split),
            "source": played.behaviour,
            "shifts": list(shifts),
            "kept": length / total,
            "fps": CONTROL_HZ,
            "frame_times_s": [round(float(k) / CONTROL_HZ, 3) for k in at[i]],
            "caption": played.captions[length - 1],
        }
        rows = list(_examples([q for q in questions if q.frames == length], spelling))
        frames = np.stack([_resized(picture, size) for picture in pictures])
        clips.append(LabelledClip(frames, np.stack(landmarks[1::2]), meta, rows))
    return clips


def spelled(task: str, rng: np.random.Generator) -> str:
    """A task as people type it: with a capital, with a full stop, or both."""
    if rng.random() >= SPELLED:
        return task
    capital, full_stop = ((True, False), (False, True), (True, True))[int(rng.integers(3))]
    return (task[0].upper() + task[1:] if capital else task) + ("." if full_stop else "")


def _examples(questions: list[Question], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for question in questions:
        yield {"task": spelled(question.task, rng), "level": question.reward, "kind": question.kind}


def _resized(picture: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))


def _run_job(job: tuple[EpisodePlan, tuple[int, int] | None]) -> list[LabelledClip]:
    return make_clips(*job)


def collect(config: NanoDataConfig) -> None:
    """Play all episodes and write the folder.

    Raises:
        RunFolderError: The folder exists.
    """
    jobs = [(plan, config.size) for plan in config.plans()]
    new_folder(config.out)
    with worker_pool(config.workers) as pool:
        episodes = pool.imap(_run_job, jobs, chunksize=2)
        progress = tqdm(episodes, total=len(jobs), desc=f"{config.split} episodes", unit="ep")
        write_clips(config.out, asdict(config), progress)


def main() -> None:
    """Command line."""
    prepare(threads=1)
    collect(tyro.cli(NanoDataConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
