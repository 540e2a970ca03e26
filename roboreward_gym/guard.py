"""A guard against reward hacking: a success counts only if the reward model says it again when it looks again.

A reward map of the name `guarded:MAP?OPTION=VALUE&...` has one. Options, of which at least one is needed:

- `endings=N`: success in each of the last N endings, the episode cut short by 0 to N-1 frames;
- `samplings=N`: success in N samplings of the frames, of which each but the first shows only every N-th frame and the last;
- `p5=P`: the probability of level 5 is at least P, 0..1;
- `point=FILE`: it passes the operating point of `roboreward calibrate`.

The model is asked again only where it says success. A vetoed success becomes level 4; its manifest keeps, as `guard`, what was
said and why it does not count. The guard takes successes away and never adds one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from roboreward_gym.errors import InvalidSetting, PartialScores, RoboRewardError
from roboreward_gym.operating_point import OperatingPoint
from roboreward_gym.scorer import ScoreOrError, outcomes
from roboreward_gym.types import LEVELS, Clip, ProgressScore, RewardModel

GUARD = "guard"
"""Entry of a checked score's manifest: `vetoed`, and the `levels` and `success_probabilities` of all looks."""
SUCCESS = LEVELS[-1]
MIN_FRAMES = 2
"""A look at fewer shows no change."""
OPTIONS = ("endings", "p5", "point", "samplings")


@dataclass(frozen=True)
class Guard:
    """A reward map behind a guard: pass it as `reward_map`.

    Attributes:
        reward_map: From the score, vetoed or not, to the reward.
        endings: Endings in a row that have to be a success, the true one among them.
        samplings: Samplings of the frames that have to agree, the usual one among them.
        p5: Least probability of level 5.
        point: Operating point that has to be passed as well.

    Raises:
        InvalidSetting: A value out of its range, or a guard that would let everything pass.
    """

    reward_map: Callable[[ProgressScore], float]
    endings: int = 1
    samplings: int = 1
    p5: float = 0.0
    point: OperatingPoint | None = None

    def __post_init__(self) -> None:
        if self.endings < 1 or self.samplings < 1 or not 0 <= self.p5 <= 1:
            raise InvalidSetting(
                "A guard needs endings and samplings of 1 or more and p5 in 0..1, got "
                f"endings={self.endings}, samplings={self.samplings}, p5={self.p5}."
            )
        if self.endings == self.samplings == 1 and self.p5 == 0 and self.point is None:
            raise InvalidSetting(
                "A guard without a check lets every success pass. Give one of "
                f"{', '.join(OPTIONS)}, for example guarded:progress?endings=3."
            )

    def __call__(self, score: ProgressScore) -> float:
        """The reward of a score that was checked."""
        return self.reward_map(score)

    def over(self, reward_model: RewardModel) -> RewardModel:
        """The reward model with its successes checked."""
        return GuardedRewardModel(reward_model, self)

    def looks(self, clip: Clip) -> list[Clip]:
        """What the reward model is shown again of a clip that it calls a success."""
        count = len(clip.frames)
        kept: list[np.ndarray] = [np.arange(count - cut) for cut in range(1, self.endings)]
        kept += [
            np.union1d(np.arange(first, count, self.samplings), [count - 1])
            for first in range(1, self.samplings)
        ]
        return [_part(clip, frames) for frames in kept if len(frames) >= MIN_FRAMES]

    def passes(self, score: ProgressScore) -> bool:
        """Whether one look is a success."""
        return (
            score.level == SUCCESS
            and score.success_probability >= self.p5
            and (self.point is None or self.point.is_success(score))
        )

    def check(self, score: ProgressScore, looks: Sequence[ScoreOrError]) -> ScoreOrError:
        """What becomes of a success: itself, level 4, or a failure or an unreadable answer among the looks."""
        found: list[ProgressScore] = [score]
        for look in looks:
            if isinstance(look, RoboRewardError):
                return look
            if look.level is None:
                return replace(look, text=f"The guard looked again: {look.text}")
            found.append(look)
        vetoed = not all(map(self.passes, found))
        manifest = {
            **score.manifest,
            GUARD: {
                "vetoed": vetoed,
                "levels": [int(one.level or 0) for one in found],
                "success_probabilities": [one.success_probability for one in found],
            },
        }
        return replace(_lowered(score) if vetoed else score, manifest=manifest)


@dataclass(frozen=True)
class GuardedRewardModel:
    """A reward model whose successes are checked by a guard."""

    reward_model: RewardModel
    guard: Guard

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score the clips, and then in one more call what the guard wants to see again.

        Raises:
            PartialScores: The model failed on some; it holds the outcomes of all.
        """
        found = outcomes(self.reward_model, clips)
        claims = {
            i: score
            for i, score in enumerate(found)
            if isinstance(score, ProgressScore) and score.level == SUCCESS
        }
        looks = {
            i: self.guard.looks(clips[i]) if self.guard.passes(score) else []
            for i, score in claims.items()
        }
        again = iter(outcomes(self.reward_model, [c for look in looks.values() for c in look]))
        for i, score in claims.items():
            found[i] = self.guard.check(score, [next(again) for _ in looks[i]])
        scores = [s for s in found if isinstance(s, ProgressScore)]
        if len(scores) < len(found):
            raise PartialScores(found)
        return scores


def parse(options: str, reward_map: Callable[[ProgressScore], float]) -> Guard:
    """Read `endings=3&p5=0.9`.

    Raises:
        InvalidSetting: An unknown option, or a value that is not a number.
    """
    given = dict(pair.partition("=")[::2] for pair in options.split("&") if pair)
    if unknown := given.keys() - set(OPTIONS):
        raise InvalidSetting(
            f"A guard has no option {min(unknown)!r}. Known: {', '.join(OPTIONS)}."
        )
    point = given.get("point")
    try:
        return Guard(
            reward_map,
            endings=int(given.get("endings", 1)),
            samplings=int(given.get("samplings", 1)),
            p5=float(given.get("p5", 0)),
            point=None if point is None else OperatingPoint.load(point),
        )
    except ValueError as error:
        if isinstance(error, RoboRewardError):
            raise
        raise InvalidSetting(
            f"An option of guarded:...?{options} is not a number: {error}."
        ) from error


def _part(clip: Clip, kept: np.ndarray) -> Clip:
    """Some frames of a clip, each at its own time; the recording ends with the last of them."""
    indices = kept if clip.indices is None else np.asarray(clip.indices)[kept]
    return Clip(clip.frames[kept], clip.task, clip.fps, indices, int(indices[-1]) + 1)


def _lowered(score: ProgressScore) -> ProgressScore:
    """The score with level 4, and the probability of 5 added to that of 4."""
    if score.probabilities is None:
        return replace(score, level=SUCCESS - 1)
    p = np.array(score.probabilities)
    p[-2:] = p[-2:].sum(), 0.0
    return replace(score, level=SUCCESS - 1, probabilities=p)
