"""The whole loop in a few minutes: a reward model scores a simulated robot, and the robot improves.

    python -m experiments.demo
    python -m experiments.demo --resume

No GPU, no download. The only reward is the score that roboreward-nano gives the video of each episode.
"""

import dataclasses
import itertools
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import showcase
from experiments.config import DEMO, ExperimentConfig
from experiments.metrics import false_positive_rate
from experiments.phases import Finished, check, run
from experiments.report.page import Group
from experiments.report.report import decision_words, write_report
from experiments.run_folder import RunFolder
from experiments.workers import prepare
from roboreward_gym._cli import INTERRUPTED, run_program, this_python
from roboreward_gym.registry import load_reward_model

EXAMPLES_EACH = 3
"""Examples of each kind that show the reward model at work."""
EXAMPLES_NOTE = "Scripted episodes of random starts that neither training nor evaluation uses; nothing is left out."


@dataclass(frozen=True)
class DemoArgs:
    """Show a reward model at work, then fine-tune a robot policy with its scores and write a report."""

    resume: bool = False
    """Continue a demo that was stopped."""
    out: Path = Path("runs/demo")
    """Run folder; the report is written there."""
    seed: int = 0
    """Another seed, other starts."""
    training_episodes: int = DEMO.training_episodes
    """Episodes of fine-tuning."""
    evaluation_episodes: int = DEMO.base_episodes
    """Episodes of each evaluation."""
    workers: int = min(2, os.cpu_count() or 1)
    """Processes that share the evaluation episodes."""
    threads: int = 1
    """Threads of torch while training; the networks are so small that more of them mostly wait."""

    @property
    def config(self) -> ExperimentConfig:
        """The experiment that the demo is."""
        return dataclasses.replace(
            DEMO,
            seed=self.seed,
            training_episodes=self.training_episodes,
            base_episodes=self.evaluation_episodes,
            final_episodes=self.evaluation_episodes,
        )


def main(args: DemoArgs) -> int:
    """Run the demo; returns the exit status."""
    prepare(args.threads)
    begin = time.monotonic()
    checked = check(args.config)
    if not args.resume:
        set_aside(args.out)
    folder = RunFolder(args.out, checked, resume=args.resume)
    try:
        examples = show_reward_model(args.config)
        print("\n2. Base policy, fine-tuning with its scores, fine-tuned policy\n")
        finished = run(args.config, folder, workers=args.workers)
        page = write_report(args.config, folder, finished, [examples])
    except KeyboardInterrupt:
        print(f"\nStopped; nothing is lost. Continue with:\n  {command_line(args)} --resume")
        return INTERRUPTED
    print(summary(finished))
    print(f"\nReport: {page}   ({(time.monotonic() - begin) / 60:.1f} min)")
    return 0


def set_aside(path: Path) -> None:
    """Rename the folder of an earlier demo, so that a new one starts afresh and none is lost."""
    if not path.exists():
        return
    taken = (path.with_name(f"{path.name}-{n}") for n in itertools.count(1))
    kept = next(p for p in taken if not p.exists())
    path.rename(kept)
    print(f"The earlier demo is kept in {kept} (continue a stopped one with --resume).")


def show_reward_model(config: ExperimentConfig) -> Group:
    """Have some scripted episodes scored, print the scores, and return them for the report."""
    print(f"1. The reward model, {config.reward_model}, at work\n")
    examples = showcase.example_clips(config.env_id, config.seed, EXAMPLES_EACH)
    scores = load_reward_model(config.reward_model).score([e.clip for e in examples])
    agreement = showcase.agreement(examples, scores)
    print(f"{showcase.table(examples, scores)}\n\n{agreement}")
    note = f"{EXAMPLES_NOTE} {agreement}"
    return Group("The reward model at work", note, showcase.strips(examples, scores))


def summary(finished: Finished) -> str:
    """Success before and after, and the rewards against the truth."""
    counts = finished.training.confusion
    rows = "\n".join(
        f"  truth {level}  {'  '.join(f'{n:4d}' for n in row)}"
        for level, row in enumerate(counts, start=1)
    )
    gain = finished.record["gain_points"]
    return (
        f"\n3. What came of it (95 % Wilson intervals, starts that training never saw)\n\n"
        f"  kept: {decision_words(finished.record)}\n\n"
        f"  base        {finished.base.rate}\n"
        f"  fine-tuned  {finished.final.rate}   {gain:+.0f} points\n\n"
        f"  Rewards against truth over {counts.sum()} training episodes (columns: predicted 1 to 5)\n"
        f"{rows}\n"
        f"  false-positive rate (predicted 5, true level < 5): {100 * false_positive_rate(counts):.1f} %"
    )


def command_line(args: DemoArgs) -> str:
    """The command that was given, without `--resume`."""
    defaults = vars(DemoArgs())
    given = {k: v for k, v in vars(args).items() if k != "resume" and v != defaults[k]}
    options = [word for k, v in given.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    return shlex.join([this_python(), "-m", "experiments.demo", *options])


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(DemoArgs)))
