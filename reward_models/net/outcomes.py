"""What a client's `score` does with one outcome per clip."""

from collections.abc import Sequence

from roboreward_gym.errors import PartialScores, RoboRewardError
from roboreward_gym.scorer import ScoreOrError
from roboreward_gym.types import ProgressScore


def scores_or_raise(outcomes: Sequence[ScoreOrError]) -> list[ProgressScore]:
    """Return the scores if every clip has one.

    Raises:
        RoboRewardError: Why the only clip has none.
        PartialScores: One of several clips has none; the scores of the others are in its `outcomes`.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, RoboRewardError)]
    if errors:
        raise errors[0] if len(outcomes) == 1 else PartialScores(outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, ProgressScore)]
