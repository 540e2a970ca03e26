"""Errors of the plugin: each message says what is wrong, then what to do."""

import difflib
from collections.abc import Iterable, Sequence


def install_advice(extras: str) -> str:
    """What to run to get optional libraries.

    From a clone, because there is no release on the package index yet.

    >>> install_advice("models")
    "In a clone of roboreward-gym run: pip install '.[models]'"
    """
    return f"In a clone of roboreward-gym run: pip install '.[{extras}]'"


class RoboRewardError(Exception):
    """Base class of every error that this project raises on purpose."""


class InvalidClip(RoboRewardError, ValueError):
    """Frames, task or frame rate that no reward model can score."""


class InvalidScore(RoboRewardError, ValueError):
    """A score whose parts contradict one another or lie out of range."""


class EpisodeFileError(RoboRewardError, ValueError):
    """Arrays of an episode that do not fit together, or a file that is not an episode."""


class NoFrames(RoboRewardError, TypeError):
    """The environment gives no RGB frames, so that nothing can be recorded."""


class RewardModelFailure(RoboRewardError, RuntimeError):
    """The reward model raised, or returned something that is not a readable score."""


class UnreadableAnswer(RewardModelFailure):
    """The reward model answered without a level: it abstains, or its reply cannot be read."""


class PartialScores(RewardModelFailure):
    """Some clips of a call were scored, and others were not.

    Reward models whose answers cost something raise it from `score`; `roboreward_gym.scorer.outcomes`
    takes it apart.

    Attributes:
        outcomes: A `ProgressScore` or a `RoboRewardError` for each clip of the call, in order.
    """

    def __init__(self, outcomes: Sequence[object]) -> None:
        self.outcomes = list(outcomes)
        errors = [outcome for outcome in self.outcomes if isinstance(outcome, RoboRewardError)]
        first = f" The first: {errors[0]}" if errors else ""
        super().__init__(f"{len(errors)} of {len(self.outcomes)} clips got no score.{first}")

    def __reduce__(self) -> tuple[type["PartialScores"], tuple[list[object]]]:
        """Another process makes it again from its outcomes; by default it would be from the message."""
        return type(self), (self.outcomes,)


class InvalidReward(RoboRewardError, TypeError):
    """The environment's own reward is not a number."""


class WeightsError(RoboRewardError, OSError):
    """Weights that are missing, corrupt or not of the expected kind."""


class UnknownName(RoboRewardError, LookupError):
    """A name that is not among the known ones; suggests the closest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name = name
        known = sorted(known)
        closest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
        hint = f" Did you mean {closest[0]!r}?" if closest else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")
        self._parts = (kind, name, known)

    def __reduce__(self) -> tuple[type["UnknownName"], tuple[str, str, list[str]]]:
        """Another process makes it again from its parts; by default it would be from the message."""
        return type(self), self._parts


class InvalidRewardModel(RoboRewardError, TypeError):
    """Something that is not a reward model was passed, or made by a factory, as one."""


class RewardModelUnavailable(RoboRewardError, ImportError):
    """A reward model that is known by name but cannot be loaded on this machine."""


class InvalidSetting(RoboRewardError, ValueError):
    """A setting out of its range."""


class NotPortable(RoboRewardError, TypeError):
    """An environment spec that names an object which only lived in the process that wrote it."""


class NoEpisode(RoboRewardError, RuntimeError):
    """A call that needs an episode in another state than the present one."""


class RobotFaultEpisode(RoboRewardError, RuntimeError):
    """Something outside of the policy spoiled the episode, such as a fault of the robot.

    Environments raise it from `step`. The message is the reason. Whoever catches it keeps the
    episode apart: it is never scored and never learned from.
    """


class BudgetExhausted(RoboRewardError, RuntimeError):
    """The requests or the money that a reward model behind a paid server may use are used up."""


class InvalidMessage(RoboRewardError, ValueError):
    """Bytes between a client and a reward model's server that do not follow their format."""
