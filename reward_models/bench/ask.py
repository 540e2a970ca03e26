"""Ask a reward model every question of a benchmark, each video decoded once and passed in one call with all its tasks."""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from reward_models.bench.answers import Answer, AnswerLog
from reward_models.bench.questions import Question, Questions
from roboreward_gym.errors import InvalidClip, RewardModelFailure, RoboRewardError
from roboreward_gym.scorer import ScoreOrError, outcomes
from roboreward_gym.types import Clip, ProgressScore, RewardModel

FAILURES_IN_A_ROW = 5
"""After so many questions that the model itself failed on, it is taken to be out of order."""


def ask(
    model: RewardModel,
    questions: Questions,
    log: AnswerLog,
    *,
    batch_size: int = 16,
    title: str = "scoring",
) -> RoboRewardError | None:
    """Answer the questions that have no answer yet; each answer is in the log at once.

    What gets no answer is named on stderr. Those left when the model is out of order, or has no budget, are not asked.

    Args:
        model: The reward model.
        questions: What to ask.
        log: Where the answers go, and which there are.
        batch_size: Clips in one call; more if one video has more questions.
        title: Name of the progress bar.

    Returns:
        The first error, if there was one.
    """
    open_rows = [row for row in questions.rows if row.key not in log.answers]
    failures, left = Failures(), len(open_rows)
    done = len(questions) - left
    with tqdm(total=len(questions), initial=done, desc=title, unit="clip") as bar:
        for batch in batches(open_rows, batch_size):
            for row, outcome, seconds in _ask_batch(model, questions, batch):
                if isinstance(outcome, ProgressScore):
                    log.add(Answer.of(row.key, outcome, seconds))
                failures.note(f"{row.key} ({row.task!r})", outcome)
            bar.update(len(batch))
            left -= len(batch)
            if failures.stop and left:
                tqdm.write(f"The last {left} questions were not asked.", file=sys.stderr)
                break
    return failures.first


class Failures:
    """What got no answer: named on stderr and counted, until the model is taken to be out of order.

    Attributes:
        first: The first error, if there was one.
        count: Questions without an answer.
        stop: Whether nothing more should be asked.
    """

    def __init__(self) -> None:
        self.first: RoboRewardError | None = None
        self.count = 0
        self.stop = False
        self._in_a_row = 0

    def note(self, name: str, outcome: ScoreOrError) -> None:
        """Take in what came of a question of this name."""
        self._in_a_row = self._in_a_row + 1 if isinstance(outcome, RewardModelFailure) else 0
        self.stop |= self._in_a_row >= FAILURES_IN_A_ROW
        if isinstance(outcome, ProgressScore):
            return
        self.first = self.first or outcome
        self.count += 1
        # Without a budget, for one, nothing more can be scored.
        self.stop |= not isinstance(outcome, InvalidClip | RewardModelFailure)
        tqdm.write(f"{name}: {outcome}", file=sys.stderr)


def batches(rows: Sequence[Question], size: int) -> Iterator[list[Question]]:
    """Put questions about the same video next to each other, and never into two batches.

    The order is that of the first question of each video.
    """
    by_video: dict[str, list[Question]] = defaultdict(list)
    for row in rows:
        by_video[row.video].append(row)
    batch: list[Question] = []
    for group in by_video.values():
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = [*batch, *group]
    if batch:
        yield batch


def _ask_batch(
    model: RewardModel, questions: Questions, batch: Sequence[Question]
) -> Iterator[tuple[Question, ScoreOrError, float]]:
    """Outcome of each question of a batch, and the seconds of the call per clip."""
    clips: dict[str, Clip] = {}
    unreadable: dict[str, InvalidClip] = {}
    asked: list[tuple[Question, Clip]] = []
    for row in batch:
        try:
            if row.video not in clips and row.video not in unreadable:
                clips[row.video] = questions.read(row)
        except RoboRewardError as error:
            unreadable[row.video] = InvalidClip(f"The video cannot be read: {error}")
        if row.video in unreadable:
            yield row, unreadable[row.video], 0.0
        else:
            asked.append((row, with_task(clips[row.video], row.task)))
    began = time.perf_counter()
    found = outcomes(model, [clip for _, clip in asked])
    seconds = (time.perf_counter() - began) / max(len(asked), 1)
    for (row, _), outcome in zip(asked, found, strict=True):
        yield row, outcome, seconds


def with_task(clip: Clip, task: str) -> Clip:
    """Return the same frames with another task."""
    return Clip(clip.frames, task, clip.fps, clip.indices, clip.num_frames)
