"""Make a reward data set from videos of successes: other tasks for the same video, and the video cut short, each verified.

Stopped in any way and started again with the same --out, a run continues where it stopped; answers that were paid for are kept.
"""

import dataclasses
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import tyro
from tqdm import tqdm

from reward_models.augment.config import AugmentConfig, keep_config
from reward_models.augment.journal import Journal
from reward_models.augment.models import AnswerCache, ChatModel
from reward_models.augment.output import STAGED, Summary, write_set
from reward_models.augment.page import write_page
from reward_models.augment.pipeline import AugmentedEpisode, Label, Roles, augment, standardised
from reward_models.augment.roles_by_name import RoleMaker
from reward_models.augment.units import Unit, units, write_labels
from reward_models.data.example import Example, InvalidSource, Skipped
from reward_models.data.sources import read_source
from reward_models.net.budget import Budget, budget_with, share_between
from reward_models.protocol.prompt import check_task_text
from reward_models.scale.places import in_threads
from roboreward_gym._cli import run_program
from roboreward_gym.errors import BudgetExhausted, RewardModelFailure, RoboRewardError
from roboreward_gym.types import LEVELS

FAILURES_IN_A_ROW = 5
"""Episodes in a row without an answer after which a model is taken to be out of order."""

Line = dict[str, Any]
ModelLoader = Callable[[str], ChatModel]


class Worker:
    """Does a unit of work: reads the video, makes the labels, writes the videos.

    Args:
        config: The configuration.
        roles: Who plays which role.
        reserved: File names that belong to units.
    """

    def __init__(self, config: AugmentConfig, roles: Roles, reserved: set[str]) -> None:
        self._config = config
        self._roles = roles
        self._reserved = reserved

    def __call__(self, unit: Unit) -> Line:
        """Return the line of the journal.

        Raises:
            RewardModelFailure, BudgetExhausted: A model gave no answer, or may not be asked any more.
            OutputError: No room.
        """
        example = unit.example
        about: Line = {"subset": example.subset, "episode": example.source_episode}
        reward = example.reward
        if reward is None and self._config.unlabelled == "success":
            reward = LEVELS[-1]
        if reward is None:
            return {**about, "rule": "unlabelled", "why": "the reward is not known"}
        try:
            check_task_text(example.task)
        except RoboRewardError as error:
            return {**about, "rule": "reserved_token", "why": str(error)}
        try:
            video = example.video.read()
        except RoboRewardError as error:
            return {**about, "rule": "unreadable_video", "why": str(error)}
        if example.kind == "original" or (example.kind == "organic" and example.reward is None):
            outcome = augment(
                example.source_episode,
                example.task,
                video,
                self._roles,
                self._config.steps,
                self._config.seed,
            )
        else:
            outcome = _as_it_is(example, reward, len(video.frames), self._roles)
        rows = write_labels(
            unit,
            outcome.task,
            outcome.labels,
            video,
            self._config.out / STAGED,
            self._config.video,
            self._reserved,
        )
        return {
            **about,
            "task": outcome.task,
            "original_task": example.original_task,
            "description": vars(outcome.description) if outcome.description else None,
            "plan": outcome.plan.failures if outcome.plan else None,
            "events": outcome.events,
            "rows": list(rows) if outcome.labels else [],
        }


def _as_it_is(example: Example, reward: int, count: int, roles: Roles) -> AugmentedEpisode:
    """Keep an example that has its label already."""
    outcome = AugmentedEpisode(standardised(example.task, roles))
    check, by = example.check, example.checked_by
    outcome.accept(Label(example.kind, outcome.task, reward, count, example.kept, check, by))
    return outcome


class ProcessWorker:
    """A `Worker` in a process of its own, with its own models and its part of the budget.

    Args:
        config: The configuration.
        reserved: File names that belong to units.
        load: Makes a model by name.
    """

    def __init__(self, config: AugmentConfig, reserved: set[str], load: ModelLoader | None) -> None:
        share_between(config.place.workers)
        cache = AnswerCache(config.out / "cache")
        self._work = Worker(
            config, RoleMaker(config, load or _loader(config), cache).roles(), reserved
        )

    def __call__(self, unit: Unit) -> Line:
        """Return the line of the journal; raises as `Worker` does."""
        return self._work(unit)


def run(config: AugmentConfig, load: ModelLoader | None = None) -> Summary:
    """Do all units that are not done yet, and write the set.

    Args:
        config: The configuration.
        load: Makes a model by name; by default those of `reward_models.augment.chat_models`.

    Raises:
        InvalidSource: There is no such source, or nothing in it can be used.
        OutputError: The output cannot be written, is another run's, or nothing is left to write.
        BudgetExhausted, RewardModelFailure: See `Worker`; what was done stays done.
    """
    with Journal(config.out) as journal:
        keep_config(config)
        todo = list(_limited(units(read_source(config.source, config.read)), config.limit))
        if not todo:
            raise InvalidSource(f"{config.source} is empty.")
        reserved = {f"{unit.name}.mp4" for unit in todo if isinstance(unit, Unit)}
        if config.place.here:
            with (
                closing(AnswerCache(config.out / "cache")) as cache,
                closing(RoleMaker(config, load or _loader(config), cache)) as maker,
            ):
                threads = config.concurrency
                worker = Worker(config, maker.roles(), reserved)
                failed = _work(
                    todo, journal, lambda left: in_threads(worker, left, threads, 2 * threads)
                )
        else:
            job = partial(ProcessWorker, config, reserved, load)
            failed = _work(todo, journal, lambda left: config.place.map(job, left))
        summary = write_set(config, journal.lines.values())
        write_page(config.out, journal.lines.values(), config.page_episodes)
        return dataclasses.replace(summary, failed=failed)


def _work(
    todo: Sequence[Unit | Skipped],
    journal: Journal,
    results: Callable[[Sequence[Unit]], Generator[Callable[[], Line]]],
) -> int:
    """Do what is left, and return how many episodes failed because a model gave no answer.

    Args:
        todo: All units, and the items that cannot be used.
        journal: What is done.
        results: Begins units, and gives the result of each in order.
    """
    named = [unit for unit in todo if isinstance(unit, Unit)]
    for item in todo:
        if isinstance(item, Skipped) and item.where not in journal.lines:
            journal.append(item.where, {"rule": item.rule, "why": item.why})
            tqdm.write(f"{item.where}: {item.why}", file=sys.stderr)
    left = [unit for unit in named if unit.name not in journal.lines]
    failed = failed_in_a_row = 0
    bar = tqdm(total=len(named), initial=len(named) - len(left), desc="augment", unit="episode")
    with bar, closing(results(left)) as taken:
        for unit, take in zip(left, taken, strict=True):
            try:
                line = take()
            except BudgetExhausted as error:
                raise BudgetExhausted(
                    f"{error} Here that is --max-requests and --max-cost-usd. What was paid for is kept: the "
                    "same command continues from there."
                ) from error
            except RewardModelFailure as error:
                failed += 1
                failed_in_a_row += 1
                tqdm.write(f"{unit.name}: {error}", file=sys.stderr)
                if failed_in_a_row == FAILURES_IN_A_ROW:
                    raise
                continue
            failed_in_a_row = 0
            journal.append(unit.name, line)
            if "rule" in line:
                tqdm.write(f"{unit.name}: {line['why']}", file=sys.stderr)
            bar.update()
    return failed


def _limited(items: Iterator[Unit | Skipped], limit: int | None) -> Iterator[Unit | Skipped]:
    count = 0
    for item in items:
        if isinstance(item, Unit):
            if count == limit:
                return
            count += 1
        yield item


def _loader(config: AugmentConfig) -> ModelLoader:
    def load(name: str) -> ChatModel:
        from reward_models.augment.chat_models import load_chat_model
        from reward_models.judges.api_judge import ApiSettings

        limits = (config.max_requests, config.max_cost_usd, config.usd_per_million_tokens)
        # Without limits the environment variables decide, and whose server it is.
        unlimited = limits == (None,) * 3
        budget = None if unlimited else budgets.setdefault("", budget_with(*limits))
        return load_chat_model(name, ApiSettings(budget=budget, concurrency=config.concurrency))

    budgets: dict[str, Budget] = {}
    return load


def main(argv: list[str] | None = None) -> int:
    """Augment what the command line names; the exit status."""
    config = tyro.cli(AugmentConfig, args=argv, description=__doc__, prog="roboreward augment")
    summary = run(config)
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary.by_kind.items())
    splits = ", ".join(f"{split} {n}" for split, n in summary.by_split.items())
    sys.stderr.write(
        f"{summary.examples} examples ({kinds}) in {config.out}: {splits}. "
        f"Rejected: {sum(summary.rejected_by_rule.values())}, see {config.out / 'audit.html'}.\n"
    )
    if summary.failed:
        sys.stderr.write(
            f"{summary.failed} episodes failed, because a model gave no answer, and are not in the set. The "
            "same command tries them again.\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    run_program(main)
