"""Run an experiment: evaluate the base policy, fine-tune it with a reward model's scores, evaluate again.

    python -m experiments.run toy-on-towel-nano --seed 0
    python -m experiments.run toy-on-towel-nano --seed 0 --resume
    python -m experiments.run toy-on-towel-nano-ros2 --training-episodes 100

Each phase keeps what it has finished in the run folder, so a run can be stopped at any moment.
"""

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.config import CONFIGS, ROS2, ExperimentConfig, get_config
from experiments.phases import EPISODES, open_run, run
from experiments.report.report import write_report
from experiments.robot import Robot, RobotOptions, ros_id
from experiments.tracking import tensorboard_log, wandb_log
from experiments.workers import prepare
from roboreward_gym._cli import INTERRUPTED, run_program, this_python
from roboreward_gym.errors import InvalidSetting
from robots.signals import end_on_signals


@dataclass(frozen=True)
class RunArgs:
    """Evaluate the base policy, fine-tune it with a reward model's scores, evaluate again."""

    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")]
    resume: bool = False
    """Continue the run in the run folder."""
    out: Path | None = None
    """Run folder; by default `runs/<config>-seed<S>`."""
    base: Path | None = None
    """Folder that `experiments.evaluate --out` made of the same base policy and seed: its episodes are taken as the evaluation
    of the base policy, so that several runs share it."""
    episodes_behind: int = 0
    """With `human:...` in simulation: training episodes that may be without a rating while play and learning go on; 0: each is
    waited for."""
    threads: int = 1
    """Threads of torch; with 1, two runs share two cores well."""
    workers: int = 1
    """Processes that share the evaluation episodes."""
    blind: bool = False
    """Hide the truth from training altogether, not only from the learner: a check that it learns
    the same; the report then lacks the truth of the training episodes."""
    wandb: bool = False
    """Log training to Weights & Biases as well, with videos and a table of episodes (extra `wandb`)."""
    tensorboard: bool = False
    """Log training to TensorBoard as well, into the run folder (`pip install tensorboardX`)."""

    on: Annotated[RobotOptions, tyro.conf.arg(name="")] = field(default_factory=RobotOptions)

    @property
    def folder(self) -> Path:
        """The run folder."""
        robot = "" if self.on.robot == "sim" else f"-{self.on.robot}"
        name = f"{self.experiment.name}{robot}-seed{self.experiment.seed}"
        return self.out or Path("runs") / name

    @property
    def config(self) -> ExperimentConfig:
        """The experiment with the options that change its outcome.

        On a robot each episode has cost a person a minute, so training keeps a checkpoint of every one.
        """
        config = self.experiment
        if self.on.robot == "ros2":
            dsrl = dataclasses.replace(config.dsrl, save_every=1)
            config = dataclasses.replace(config, env_id=ros_id(config.env_id), dsrl=dsrl)
        return config

    @property
    def arm(self) -> Robot | None:
        """The arm over ROS 2; None for the simulation."""
        return None if self.on.robot == "sim" else Robot(self.folder / EPISODES, self.on)


def parse(argv: list[str]) -> RunArgs:
    """Read `<experiment> [--option ...]`; the experiment's values are the defaults of the options.

    Raises:
        UnknownName: No such experiment.
        InvalidSetting: Options that do not go together.
    """
    if not argv or argv[0].startswith("-"):
        print(usage())
        raise SystemExit(0 if argv[:1] in (["--help"], ["-h"]) else 2)
    name = argv[0].removesuffix(ROS2)
    on = RobotOptions(robot="sim" if name == argv[0] else "ros2")
    default = RunArgs(get_config(name), on=on)
    args = tyro.cli(RunArgs, default=default, args=argv[1:], prog=f"experiments.run {argv[0]}")
    args.on.check(args.workers, args.experiment.reward_model)
    if args.episodes_behind < 0 or (args.episodes_behind and args.on.robot != "sim"):
        raise InvalidSetting(
            f"--episodes-behind is for the simulation and 0 or more, got {args.episodes_behind}. On a robot the person who "
            "watches rates each episode where it ends."
        )
    return args


def usage() -> str:
    """The experiments that can be run."""
    return (
        f"{__doc__}\nEXPERIMENT: {', '.join(CONFIGS)}; {ROS2} behind it: on the robot; TASK-NAME:ARGUMENT: any other "
        "reward model\n"
        "Its options: python -m experiments.run EXPERIMENT --help"
    )


def main(argv: list[str]) -> int:
    """Run, say what came out and where it is; returns the exit status."""
    args = parse(argv)
    prepare(args.threads)
    config, path = args.config, args.folder
    # A stop from outside ends like Ctrl-C: an arm goes to sleep before its torque goes off.
    end_on_signals()
    arm = args.arm
    if arm is not None:
        arm.check_installed()
    described = None if arm is None else arm.options.description()
    folder = open_run(config, path, resume=args.resume, robot=described)
    try:
        logs = [wandb_log(config, path)] if args.wandb else []
        logs += [tensorboard_log(path)] if args.tensorboard else []

        def log(line: Mapping[str, Any]) -> None:
            for each in logs:
                each(line)

        finished = run(
            config,
            folder,
            workers=args.workers,
            blind=args.blind,
            log=log,
            robot=arm,
            shared_base=args.base,
            behind=args.episodes_behind,
        )
        page = write_report(config, folder, finished)
    except KeyboardInterrupt:
        words = [word for word in argv if word != "--resume"]
        again = shlex.join([this_python(), "-m", "experiments.run", *words, "--resume"])
        print(f"\nStopped; what was played is kept. Continue with:\n  {again}")
        return INTERRUPTED
    finally:
        if arm is not None:
            print(arm.condition())
    print(f"base        {finished.base.rate}")
    print(f"fine-tuned  {finished.final.rate}")
    print(f"report      {page}")
    print(f"result      {path / 'result.json'}")
    return 0


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
