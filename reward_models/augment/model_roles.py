"""The four roles played by models that answer in text, and how their answers are read."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward_models.augment import prompts
from reward_models.augment.models import ChatModel, Question
from reward_models.augment.roles import (
    NEGATIVE_LEVELS,
    Description,
    Episode,
    Plan,
    Proposal,
    UnusableAnswer,
    Verdict,
)
from reward_models.augment.words import content
from roboreward_gym.errors import InvalidClip
from roboreward_gym.types import Clip, RewardModel

MAX_TASK_CHARACTERS = 400
"""A proposer that does not stop has written no task."""

_ANSWER = re.compile(r"answer\s*:\s*\**\s*(true|false)\b", re.IGNORECASE)
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_LABEL = re.compile(r"^\s*(?:(?:new |corrected )?instruction|task|answer)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class ModelDescriber:
    """A vision-language model as describer.

    Attributes:
        model: Who is asked.
        attempts: Most questions about one episode.
    """

    model: ChatModel
    attempts: int = 3

    def describe(self, episode: Episode) -> Description:
        """Ask what can be seen."""
        prompt = prompts.describe(episode.task)
        return _first_usable(self.model, prompt, episode, self.attempts, _description)


@dataclass(frozen=True, eq=False)
class ModelPlanner:
    """A language model as planner.

    Attributes:
        model: Who is asked.
        attempts: Most questions about one episode.
    """

    model: ChatModel
    attempts: int = 3

    def plan(self, task: str, description: Description) -> Plan:
        """Ask for four failure modes."""
        prompt = prompts.plan(task, description)
        return _first_usable(self.model, prompt, None, self.attempts, _plan)


@dataclass(frozen=True, eq=False)
class ModelProposer:
    """A language model as proposer.

    Attributes:
        model: Who is asked.
    """

    model: ChatModel

    def propose(self, proposal: Proposal) -> str:
        """Ask for one task."""
        question = Question(prompts.propose(proposal), attempt=len(proposal.rejected))
        return one_line(self.model.ask(question))


@dataclass(frozen=True, eq=False)
class ModelVerifier:
    """A vision-language model as verifier.

    Attributes:
        model: Who is asked.
    """

    model: ChatModel

    def verify(self, episode: Episode, task: str, level: int) -> Verdict:
        """Ask whether a label is right."""
        return read_verdict(self.model.ask(Question(prompts.verify(task, level), episode)))


@dataclass(frozen=True, eq=False)
class ScoreVerifier:
    """A reward model as verifier: it confirms a label that equals its own score.

    Attributes:
        model: The reward model.
        tolerance: Most levels by which the score may differ.
    """

    model: RewardModel
    tolerance: int = 0

    def verify(self, episode: Episode, task: str, level: int) -> Verdict:
        """Score the clip and compare."""
        clip = Clip(episode.video.frames, task, episode.video.fps)
        try:
            score = self.model.score([clip])[0]
        except InvalidClip as error:
            raise UnusableAnswer("refused_clip", str(error)) from error
        if score.level is None:
            raise UnusableAnswer("unreadable_verdict", f"the reward model answers {score.text!r}")
        same = abs(score.level - level) <= self.tolerance
        answer = "TRUE" if same else "FALSE"
        return Verdict(same, f"The reward model gives level {score.level}. ANSWER: {answer}")


@dataclass(frozen=True, eq=False)
class ModelStandardiser:
    """A language model that corrects the text of tasks.

    Attributes:
        model: Who is asked.
    """

    model: ChatModel

    def standardise(self, task: str) -> str:
        """Return the corrected text, or the text as it was if the correction is another task."""
        corrected = one_line(self.model.ask(Question(prompts.standardise(task))))
        before, after = content(task), content(corrected)
        # Spelling may change a word or two; a text that keeps less is another one.
        return corrected if len(before & after) * 2 >= max(len(before), len(after)) else task


def read_verdict(text: str) -> Verdict:
    """Read a verdict off an answer.

    Raises:
        UnusableAnswer: It says neither TRUE nor FALSE, or both.
    """
    text = _THOUGHTS.sub("", text).strip()
    said = {found.upper() for found in _ANSWER.findall(text)}
    if len(said) > 1:
        raise UnusableAnswer(
            "contradictory_verdict", f"the verifier says TRUE and FALSE: {text[:200]!r}"
        )
    if not said:
        raise UnusableAnswer(
            "unreadable_verdict", f"the verifier says neither TRUE nor FALSE: {text[:200]!r}"
        )
    return Verdict("TRUE" in said, text)


def one_line(text: str) -> str:
    """Read a task off an answer: without thoughts, labels and quotation marks around it.

    Raises:
        UnusableAnswer: Nothing, or more than one line, or too long.
    """
    lines = [line.strip() for line in _THOUGHTS.sub("", text).strip().splitlines() if line.strip()]
    if len(lines) != 1 or len(lines[0]) > MAX_TASK_CHARACTERS:
        raise UnusableAnswer("no_task", f"the answer is not one line with a task: {text[:120]!r}")
    task = _LABEL.sub("", lines[0]).strip()
    if len(task) > 1 and task[0] == task[-1] and task[0] in "\"'`":
        task = task[1:-1].strip()
    if not task:
        raise UnusableAnswer("no_task", "the answer is empty")
    return task


def read_object(text: str) -> Mapping[str, Any]:
    """Read the one JSON object in an answer.

    Raises:
        UnusableAnswer: There is none.
    """
    text = _THOUGHTS.sub("", text)
    start = text.find("{")
    try:
        value, _ = json.JSONDecoder().raw_decode(text[max(start, 0) :])
        json.dumps(value, ensure_ascii=False).encode()  # half of a character cannot be written
    except (ValueError, RecursionError) as error:
        raise UnusableAnswer("no_json", f"the answer has no JSON object: {text[:120]!r}") from error
    if not isinstance(value, dict):
        raise UnusableAnswer("no_json", f"the answer is not a JSON object: {text[:120]!r}")
    return value


def _description(text: str) -> Description:
    value = read_object(text)
    objects, done = value.get("objects"), value.get("done_at_start", [])
    texts = [value.get(key) for key in ("initial", "actions", "final")]
    if not _texts(objects) or not _texts(done) or not _texts(texts) or not objects:
        raise UnusableAnswer("no_description", f"the description lacks something: {text[:200]!r}")
    return Description(tuple(objects), *map(str, texts), tuple(done))


def _plan(text: str) -> Plan:
    value = read_object(text)
    failures = [value.get(str(level)) for level in NEGATIVE_LEVELS]
    if not _texts(failures) or len({str(f).strip().lower() for f in failures}) < len(failures):
        raise UnusableAnswer("no_plan", f"the plan has no four different failures: {text[:200]!r}")
    first, second, third, fourth = map(str, failures)
    return Plan((first, second, third, fourth))


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value)


def _first_usable(
    model: ChatModel, prompt: str, episode: Episode | None, attempts: int, read: Any
) -> Any:
    """Ask until an answer can be read."""
    for attempt in range(attempts):
        try:
            return read(model.ask(Question(prompt, episode, attempt)))
        except UnusableAnswer:
            if attempt + 1 == attempts:
                raise
    raise UnusableAnswer("no_attempts", "no attempt is allowed")
