"""What a model is trained on: questions about clips, with the answers it should give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reward_models.protocol.frames import SampledClip
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt
from reward_models.protocol.tokens import TURN_END


@dataclass(frozen=True)
class Question:
    """One question about one clip, with the answer it should get.

    Attributes:
        clip: Number of the clip.
        text: What the user asks.
        answer: What the assistant should answer, the end of its turn included.
        level: True level 1..5 if it asks for a score, else None.
        subset: What macro errors average over.
        name: Which example it is, for people.
    """

    clip: int
    text: str
    answer: str
    level: int | None = None
    subset: str = ""
    name: str = ""


def score_question(clip: int, task: str, level: int, subset: str, name: str) -> Question:
    """Ask for a score, in the words that reward models are asked in.

    Raises:
        InvalidClip: The task cannot stand in a prompt.
    """
    answer = f"{ANSWER_PREFIX}{level}{TURN_END}"
    return Question(clip, build_prompt(task), answer, level, subset, name)


class Clips(Protocol):
    """Clips that questions are about."""

    def __len__(self) -> int:
        """How many there are."""

    def sampled(self, clip: int) -> SampledClip:
        """Read the frames of a clip that the model sees; its task does not matter.

        Raises:
            RoboRewardError: The clip cannot be read; the message names it.
        """

    def fingerprint(self, clip: int) -> str:
        """Hash of all that these frames and their times follow from."""

    def visual_tokens(self, clip: int) -> int:
        """About how many visual tokens it has, without decoding it; 0 if that is not known."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Questions and the clips that they are about."""

    clips: Clips
    questions: Sequence[Question]
