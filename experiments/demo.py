"""The whole loop in a few minutes: a judge watches a simulated robot, and the robot improves.

    python -m experiments.demo
    python -m experiments.demo --resume

No GPU, no download. The only reward is what roboreward-nano, the embedded judge, says of each film.
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
from experiments.report.report import write_report
from experiments.run_folder import RunFolder
from experiments.workers import prepare
from roboreward_gym._cli import INTERRUPTED, run_program, this_python
from roboreward_gym.registry import load_reward_model

SHOWN_NOTE = (
    "Scripted episodes of a start that neither training nor evaluation uses. The second and third "
    "line are the film of the first: under another command, and cut short."
)


@dataclass(frozen=True)
class DemoArgs:
    """Show a judge at work, then fine-tune a robot policy with its scores and write a report."""

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
        shown = show_judge(args.config)
        print("\n2. Base policy, fine-tuning with the judge's scores, fine-tuned policy\n")
        finished = run(args.config, folder, workers=args.workers)
        page = write_report(args.config, folder, finished, [shown])
    except KeyboardInterrupt:
        print(f"\nStopped; nothing is lost. Continue with:\n  {command(args)} --resume")
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


def show_judge(config: ExperimentConfig) -> Group:
    """Have some scripted episodes judged, print what was said, and return it for the report."""
    print(f"1. The judge, {config.reward_model}, at work\n")
    model = load_reward_model(config.reward_model)
    shown = list(showcase.exhibits(config.env_id, config.seed))
    scores = showcase.judge(model, shown)
    print(showcase.table(shown, scores))
    return Group("The judge at work", SHOWN_NOTE, showcase.strips(shown, scores))


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
        f"  base        {finished.base.rate}\n"
        f"  fine-tuned  {finished.final.rate}   {gain:+.0f} points\n\n"
        f"  Rewards against truth over {counts.sum()} training episodes (columns: judged 1 to 5)\n"
        f"{rows}\n"
        f"  judged 5 though unfinished: {100 * false_positive_rate(counts):.1f} % of the unfinished"
    )


def command(args: DemoArgs) -> str:
    """The command that was given, without `--resume`."""
    defaults = vars(DemoArgs())
    given = {k: v for k, v in vars(args).items() if k != "resume" and v != defaults[k]}
    options = [word for k, v in given.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    return shlex.join([this_python(), "-m", "experiments.demo", *options])


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(DemoArgs)))
