"""The simulator's state as describer and verifier: roles that know the truth, to run and to measure the pipeline with."""

from collections.abc import Mapping

from reward_models.augment.roles import Description, Episode, UnusableAnswer, Verdict
from reward_models.data.truth import EpisodeTruth


class SimulatorState:
    """Describes and verifies simulated episodes by what the simulator wrote down.

    Args:
        truths: Truth by source episode.
    """

    def __init__(self, truths: Mapping[str, EpisodeTruth]) -> None:
        self._truths = truths

    def describe(self, episode: Episode) -> Description:
        """Give the captions of the simulator."""
        truth = self._truth(episode)
        steps = [
            c for c, before in zip(truth.captions[1:], truth.captions, strict=False) if c != before
        ]
        return Description(
            objects=truth.objects,
            initial=truth.captions[0],
            actions="; then ".join(dict.fromkeys(steps)) or "nothing changes",
            final=truth.captions[episode.count - 1],
            done_at_start=truth.done_at_start,
        )

    def verify(self, episode: Episode, task: str, level: int) -> Verdict:
        """Compare with the true level at the last frame shown."""
        true = self._truth(episode).level(task, episode.count - 1)
        if true is None:
            raise UnusableAnswer("unknown_task", f"the simulator does not score {task!r}")
        caption = self._truth(episode).captions[episode.count - 1]
        answer = "TRUE" if true == level else "FALSE"
        return Verdict(true == level, f"At the end: {caption}. Level {true}. ANSWER: {answer}")

    def _truth(self, episode: Episode) -> EpisodeTruth:
        truth = self._truths.get(episode.source_episode)
        if truth is None:
            raise UnusableAnswer(
                "no_truth", f"the simulator's truth has no episode {episode.source_episode}"
            )
        if len(truth.captions) != episode.total:
            raise UnusableAnswer(
                "no_truth",
                f"the truth about {episode.source_episode} has {len(truth.captions)} moments, the video "
                f"{episode.total} frames",
            )
        return truth


class AcceptAll:
    """Confirms every label: for measuring what verification is worth, and for data that people check later."""

    def verify(self, episode: Episode, task: str, level: int) -> Verdict:
        """Confirm."""
        del episode, task, level
        return Verdict(confirmed=True, text="Not verified. ANSWER: TRUE")
