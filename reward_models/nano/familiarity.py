"""Describe the world of a nano's training beside its weights: `python -m reward_models.nano.familiarity --model DIR --data DIR...`.

With the file nano abstains where it does not know the words or the pictures (`reward_models.qwen3vl.familiarity`). It is made
from the finished weights and the training data alone; nothing of another world is needed. Run it before `ship`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from sklearn.covariance import LedoitWolf
from tqdm import tqdm

from reward_models.data.reward_data import InvalidData, RewardData
from reward_models.nano.tower import OTHER_RECORDINGS
from reward_models.protocol.frames import SampledClip
from reward_models.qwen3vl.familiarity import Familiarity, KnownWords, describe, known_words
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.training.data import SimulatedClips
from reward_models.training.questions import Clips
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting

HELD_OUT = 0.25
"""Part of the training clips that the limit is read off, if there is no validation split; by whole episodes."""
MARGIN = 1.3
"""The limit is this many times the distance that most known clips keep: looks of the same world vary more than its data. For an
earlier nano it lay in the middle between home and other worlds of `python -m benchmarks.abstention --part validation`, whose worlds no
test has; for the shipped one 1.47 does."""
USUAL = (8, 1.0)
RECORDINGS = (*[USUAL] * 8, *OTHER_RECORDINGS, (4, 2.0))
"""Frames and size of the recordings that training clips are looked at as, in turn: those of its own world may be short, small or large.
The limit is read off usual ones."""
LEAST_PAIRS = 0.5
"""A task is known if at least this part of its neighbouring words stood together in training. New wordings of the simulated tasks have
0.8 and more, known words in an order without sense at most 0.3."""
KEPT = 0.98
"""Part of the known clips that lie within the limit before the margin. Not all of them: of 210 shifted recordings two lie twice as far as
the rest, farther than most other worlds."""


@dataclass(frozen=True)
class FamiliarityConfig:
    """What to describe."""

    model: Path
    """Folder of the trained model; the file is written into it."""
    data: tuple[Path, ...]
    """Data folders of its training; a validation split in them sets the limits."""
    clips: int = 1500
    """Clips to look at in each split."""
    kept: float = KEPT
    """Part of the known clips that must lie within the limit before the margin."""
    seed: int = 0
    """Seed of the choice of clips."""
    threads: int = 2
    """CPU threads."""

    def __post_init__(self) -> None:
        if self.clips < 10 or self.threads < 1:
            raise InvalidSetting("Choose 10 or more clips, and 1 or more threads.")
        if not 0.5 <= self.kept <= 1:
            raise InvalidSetting(f"kept is {self.kept}. Choose a part between 0.5 and 1.")


def fit_familiarity(config: FamiliarityConfig) -> Familiarity:
    """Describe training words and videos and write the file.

    Raises:
        InvalidData: There is no training split, or too few clips.
    """
    torch.set_num_threads(config.threads)
    splits = RewardData.open_splits(config.data)
    if "train" not in splits:
        raise InvalidData(
            f"There is no clip of the split 'train' in {[str(f) for f in config.data]}. Name the folders of the training."
        )
    data, model = splits["train"], RoboReward(config.model, device="cpu", abstain=False)
    rng = np.random.default_rng(config.seed)
    chosen = rng.permutation(len(data.clips))[: config.clips]
    train = described(model, SimulatedClips(data), chosen, "train videos", RECORDINGS)
    validation = splits.get("validation")
    if validation is None:
        train, known = _hold_out(data, train)
        tasks: set[str] = set()
    else:
        chosen = rng.permutation(len(validation.clips))[: config.clips]
        known = described(model, SimulatedClips(validation), chosen, "validation videos")
        tasks = {example.task for example in validation.examples}
    words = _fit_words({example.task for example in data.examples}, tasks)
    found = fitted(words, list(train.values()), list(known.values()), config.kept)
    found.save(config.model)
    return found


def shown(clip: SampledClip, count: int, factor: float) -> SampledClip:
    """Return the clip as a recording with this many frames, or with its own if it has fewer, and with frames of another size."""
    at = np.linspace(0, len(clip.frames) - 1, min(count, len(clip.frames))).round().astype(int)
    return replace(clip, frames=resized(clip.frames[at], factor), indices=clip.indices[at])


def resized(frames: np.ndarray, factor: float) -> np.ndarray:
    """Resize `(T, H, W, 3)` uint8 frames by a factor."""
    height, width = (round(factor * side) for side in frames.shape[1:3])
    pictures = [Image.fromarray(frame).resize((width, height)) for frame in frames]
    return np.stack([np.asarray(picture) for picture in pictures])


def described(
    model: RoboReward,
    clips: Clips,
    chosen: Sequence[int] | np.ndarray,
    what: str,
    recordings: Sequence[tuple[int, float]] = (USUAL,),
) -> dict[int, np.ndarray]:
    """`(2 * width,)` description of each chosen clip, by its number, shown as `recordings` in turn; `what` is for the progress bar."""
    found = {}
    progress = tqdm(chosen, desc=what, unit="clip")
    for clip, recording in zip(progress, cycle(recordings), strict=False):
        sampled = shown(clips.sampled(int(clip)), *recording)
        found[int(clip)] = describe(model.video_tokens([sampled])[0]).numpy()
    return found


def fitted(
    words: KnownWords,
    train: Sequence[np.ndarray],
    known: Sequence[np.ndarray],
    kept: float = KEPT,
) -> Familiarity:
    """Describe a world by the language and the videos of a training.

    Args:
        words: The language.
        train: Descriptions of training videos.
        known: Of others of the same world, which set the limit.
        kept: Part of `known` within the limit before the margin.
    """
    covariance = LedoitWolf().fit(np.stack(train))
    values, vectors = np.linalg.eigh(covariance.covariance_)
    found = Familiarity(
        words=words,
        mean=torch.from_numpy(covariance.location_).float(),
        # Half precision, as in the file: the limit then fits what will be computed.
        whitening=torch.from_numpy(vectors / np.sqrt(values)).half().float(),
        limit=0.0,
    )
    limit = MARGIN * float(np.quantile(_distances(found, np.stack(known)), kept))
    return replace(found, limit=limit)


def _hold_out(
    data: RewardData, train: dict[int, np.ndarray]
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Set whole episodes aside: clips of one episode look alike."""
    episodes = sorted({data.clips[clip].episode for clip in train})
    aside = set(episodes[:: round(1 / HELD_OUT)])
    known = {clip: v for clip, v in train.items() if data.clips[clip].episode in aside}
    rest = {clip: v for clip, v in train.items() if clip not in known}
    if not rest or not known:
        raise InvalidData("There are too few episodes to set some aside. Collect more.")
    return rest, known


def _distances(found: Familiarity, descriptions: np.ndarray) -> np.ndarray:
    whitened = (descriptions - found.mean.numpy()) @ found.whitening.numpy()
    return np.sqrt(np.square(whitened).mean(1))


def _fit_words(tasks: set[str], held_out: set[str]) -> KnownWords:
    """Describe the language of the training; as many unknown words are allowed as a validation task has."""
    words = known_words(tasks, max_unknown=0.0, min_pairs=LEAST_PAIRS)
    return replace(words, max_unknown=max((words.shares(t)[0] for t in held_out), default=0.0))


def main() -> None:
    """Command line."""
    config = tyro.cli(FamiliarityConfig, description=__doc__)
    found = fit_familiarity(config)
    tqdm.write(
        f"{config.model}: {len(found.words.words)} words, {len(found.words.pairs)} pairs of words, video limit {found.limit:.2f}"
    )


if __name__ == "__main__":
    run_program(main)
