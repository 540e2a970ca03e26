"""SimReward, the simulated reward set, from seeds: `python -m experiments.simulation.simreward --out DIR`.

Three splits in the published layout (`reward_models.data.published`), beside each the side file `simulator.jsonl` (what
was played, how it was shown and how the task was worded: `reward_models.data.simulator.Note`), so that metrics can be
split by them, and beside all of them `truth.jsonl`. The same command continues where it stopped. Nothing of an episode
depends on the others, nor on the number of processes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from experiments.run_folder import RunFolder, read_lines, write_lines
from experiments.simulation.behaviours import LearnedPolicy
from experiments.simulation.simreward_episode import EpisodePlan, Written, write_episode
from experiments.workers import prepare, worker_pool
from reward_models.data import truth
from reward_models.data.card import card
from reward_models.data.published_writer import write_metadata
from reward_models.data.simulator import NOTES
from reward_models.data.video_file import VideoFormat
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting

JOURNAL = "journal.jsonl"
"""Episodes that are finished, one a line; gone once the split is."""
SEED_OFFSET: Mapping[str, int] = {"train": 600_000_000, "val": 650_000_000, "test": 700_000_000}
"""Each split has a block of 50 million seeds, of which nothing else takes any."""
SEEDS = 50_000_000
WEIGHTS = Path("policies/weights")
"""The shipped policies, from the root of the checkout."""

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class SimRewardConfig:
    """What to make."""

    out: Path
    """Folder to write, or to continue."""
    train: int = 4000
    """Episodes of the training split."""
    val: int = 300
    """Episodes of the validation split; looks and wordings are those of training."""
    test: int = 1000
    """Episodes of the test split, with looks, wordings and environments that training never has."""
    toy_policy: Path | None = WEIGHTS / "toy-on-towel"
    """Folder of a policy that acts in some recordings of toys; None: no policy does."""
    toy_noise_policy: Path | None = WEIGHTS / "fine_tuned/toy-on-towel.safetensors"
    """File of its fine-tuned noise policy, `training/noise_policy.safetensors` of a run; None: the base policy acts."""
    drawer_policy: Path | None = WEIGHTS / "drawer"
    """Likewise for drawers."""
    drawer_noise_policy: Path | None = WEIGHTS / "fine_tuned/drawer.safetensors"
    """Likewise."""
    on_policy: float = 0.2
    """Share of the episodes of a scene with a policy that it plays."""
    other_envs: float = 0.04
    """Share of recordings from other Gymnasium environments."""
    counterfactuals: int = 2
    """Other tasks that each recording is labelled for besides its own."""
    video: VideoFormat = VideoFormat(256, 192, 0)  # noqa: RUF009 - frozen
    """How videos are written; by default with the size and rate of the environments."""
    first: int = 0
    """Number of the first episode of each split, for a set that shares none with another."""
    workers: int = 2
    """Processes; the result does not depend on it."""

    def __post_init__(self) -> None:
        for name in ("on_policy", "other_envs"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}. Choose a share in 0..1.")
        for policy, noise_policy in self._policies():
            if noise_policy is not None and policy is None:
                raise InvalidSetting(
                    f"The noise policy {noise_policy} needs the policy that it was tuned for. Name its folder too, or pass "
                    "None for both."
                )
        for split in SEED_OFFSET:
            if not 0 <= self.first <= self.first + getattr(self, split) <= SEEDS:
                raise InvalidSetting(
                    f"first and {split} must not be below 0, nor reach {SEEDS} together: there the seeds of "
                    "another split begin."
                )

    def _policies(self) -> tuple[tuple[Path | None, Path | None], ...]:
        return (
            (self.toy_policy, self.toy_noise_policy),
            (self.drawer_policy, self.drawer_noise_policy),
        )

    def plans(self, split: SplitName) -> list[EpisodePlan]:
        """What each episode of a split is made from."""
        toy, drawer = (LearnedPolicy(p, noise) if p else None for p, noise in self._policies())
        start = SEED_OFFSET[split] + self.first
        return [
            EpisodePlan(
                folder=self.out / split,
                split=split,
                seed=seed,
                policies=(toy, drawer),
                on_policy=self.on_policy,
                other_envs=self.other_envs,
                counterfactuals=self.counterfactuals,
                video=self.video,
            )
            for seed in range(start, start + getattr(self, split))
        ]


def make(config: SimRewardConfig) -> None:
    """Make what is not there yet.

    Raises:
        RunFolderError: The folder holds something else, or a set of another configuration.
    """
    whole = json.loads(json.dumps(asdict(replace(config, workers=0)), default=str))
    whole.pop("out")
    folder = RunFolder(config.out, whole, resume=(config.out / "config.json").exists())
    splits: list[SplitName] = [s for s in ("train", "val", "test") if getattr(config, s)]
    rows: dict[str, list[dict[str, Any]]] = {}
    truths: list[truth.EpisodeTruth] = []
    elsewhere: set[str] = set()
    left_out = 0
    for split in splits:
        made = list(_finish(config, split))
        finished = _without_copies(config.out / split, made, elsewhere)
        left_out += len(made) - len(finished)
        rows[split] = [row for episode in finished for row in episode["rows"]]
        notes = [note for episode in finished for note in episode["notes"]]
        truths += [truth.EpisodeTruth(**e["truth"]) for e in finished if e["truth"]]
        write_lines(folder / split / NOTES, notes)
        write_metadata(folder / split, rows[split])
    truth.write_truths(folder / truth.TRUTH, truths)
    seeds = ", ".join(
        f"{SEED_OFFSET[s] + config.first} and up for the episodes of {s}" for s in splits
    )
    rejected = {"episode_of_another_split": left_out} if left_out else {}
    text = card(
        "SimReward", rows, rejected, {"task and reward": "the simulator's state"}, seeds, "MuJoCo, a simulated WidowX 250S",
        made="`python -m experiments.simulation.simreward`; its configuration is in `config.json`, what was played and how "
        "it was shown in the `simulator.jsonl` of each split, the level of every task at every frame in `truth.jsonl`. "
        "Recordings without a reward are of other environments: their reward is unknown",
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")


def _without_copies(
    folder: Path, episodes: list[dict[str, Any]], elsewhere: set[str]
) -> list[dict[str, Any]]:
    """Leave out episodes of which another split has a byte-identical recording: short ones of other environments can be equal.

    Args:
        folder: The split; the videos of what is left out are deleted.
        episodes: All its episodes.
        elsewhere: Hashes of the videos of other splits; those of what is kept are added.
    """
    kept = [episode for episode in episodes if elsewhere.isdisjoint(episode["videos"])]
    for episode in episodes:
        if not elsewhere.isdisjoint(episode["videos"]):
            for row in episode["rows"]:
                (folder / row["file_name"]).unlink(missing_ok=True)
    elsewhere.update(video for episode in kept for video in episode["videos"])
    return kept


def _finish(config: SimRewardConfig, split: SplitName) -> Iterator[dict[str, Any]]:
    """Make the episodes of a split that are missing; yield all of them in the order of their seeds."""
    plans = config.plans(split)
    folder = config.out / split
    folder.mkdir(exist_ok=True)
    journal = folder / JOURNAL
    known = {line["seed"]: line for line in read_lines(journal)}
    write_lines(journal, known.values())  # a kill may have cut the last line
    missing = [plan for plan in plans if plan.seed not in known]
    with journal.open("a") as file, worker_pool(config.workers) as pool:
        work = pool.imap_unordered(_write, missing, chunksize=2)
        for done in tqdm(
            work, total=len(plans), initial=len(plans) - len(missing), desc=split, unit="ep"
        ):
            known[done.seed] = asdict(done)
            file.write(json.dumps(known[done.seed]) + "\n")
            file.flush()
    return (known[plan.seed] for plan in plans)


def _write(plan: EpisodePlan) -> Written:
    return write_episode(plan)


def main() -> None:
    """Command line."""
    prepare(threads=1)
    make(tyro.cli(SimRewardConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
