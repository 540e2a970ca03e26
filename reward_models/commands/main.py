"""The console script `roboreward`: one subcommand per job; heavy libraries are imported only by the one that needs them."""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from roboreward_gym.errors import RoboRewardError, UnknownName, install_advice
from roboreward_gym.registry import reward_model_names

DISTRIBUTION = "roboreward-gym"
VERSIONED = ("gymnasium", "numpy", "torch", "transformers", "tokenizers")
"""Packages that `--version` names besides ours."""
FAILED, MISUSED, INTERRUPTED, UNREAD = 1, 2, 130, 141
"""Exit statuses besides 0: an error that was explained, a command that makes no sense, Ctrl-C, and output that
nobody reads any more (`roboreward ... | head`)."""


@dataclass(frozen=True)
class Command:
    """A subcommand: `module` has a function `main(argv) -> exit status`."""

    module: str
    help: str
    extra: str = "models"
    """What brings the packages that it needs."""


COMMANDS = {
    "score": Command(
        "reward_models.scoring.videos", "Score videos, folders of frames or a data set."
    ),
    "serve": Command(
        "reward_models.serving.server",
        "Let other machines score over HTTP.",
        extra="models,serve",
    ),
    "doctor": Command(
        "reward_models.commands.doctor", "Check that this machine can load and run a reward model."
    ),
    "bench": Command(
        "reward_models.bench.benchmark",
        "Measure a reward model on labelled clips.",
        extra="bench",
    ),
    "calibrate": Command(
        "reward_models.bench.calibrate",
        "Find where a score counts as success for one task.",
        extra="bench",
    ),
    "augment": Command(
        "reward_models.augment.run",
        "Make a reward data set with negatives from videos of successes.",
        extra="data,api",
    ),
    "label": Command(
        "reward_models.labeling.server", "Let people rate videos on a web page.", extra="label"
    ),
    "agreement": Command(
        "reward_models.labeling.agreement",
        "Compare people's ratings with one another and with reward models.",
        extra="label",
    ),
    "train": Command(
        "reward_models.commands.train",
        "Fine-tune a Qwen3-VL (nano, 4B, 8B) on reward data.",
        extra="train",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status.

    Args:
        argv: Arguments after the program's name; those of the process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        sys.stderr.write(usage())
        return MISUSED
    name, *rest = arguments
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(usage())
        return 0
    if name == "--version":
        sys.stdout.write(versions())
        return 0
    if name == "--completion":
        sys.stdout.write(completion())
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"{UnknownName('command', name, COMMANDS)}\n")
        return MISUSED
    try:
        return load(name)(rest)
    except RoboRewardError as error:
        sys.stderr.write(f"roboreward {name}: {error}\n")
        return FAILED
    except ModuleNotFoundError as error:
        # Some commands import what is heavy only after they have read their arguments.
        sys.stderr.write(
            f"roboreward {name}: {error.name} is not installed. "
            f"{install_advice(COMMANDS[name].extra)}\n"
        )
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write(f"roboreward {name}: stopped\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Python writes out what is left when it ends, and would complain of the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def load(name: str) -> Callable[[list[str]], int]:
    """Import the function behind a subcommand."""
    return import_module(COMMANDS[name].module).main


def versions() -> str:
    """List the versions that a score may depend on, a line each; what is not installed says so."""
    found = {DISTRIBUTION: version(DISTRIBUTION)}
    for package in VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["python"] = platform.python_version()
    return "".join(f"{package} {number}\n" for package, number in found.items())


def completion() -> str:
    """A function for bash (and for zsh with `bashcompinit`) that completes commands, models and files."""
    return f"""\
_roboreward() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
  if [ "$COMP_CWORD" = 1 ]; then words="{" ".join(COMMANDS)} --help --version --completion"; fi
  if [ "$before" = --model ]; then words="{" ".join(reward_model_names())}"; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _roboreward roboreward
"""


def usage() -> str:
    """List the subcommands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return (
        "usage: roboreward COMMAND [ARGUMENTS]\n\n"
        "Vision-language reward models for robots. Commands:\n\n"
        + "\n".join(lines)
        + "\n\nEach explains itself: roboreward COMMAND --help\n"
        "Versions: roboreward --version. Completion in bash: source <(roboreward --completion)\n"
    )


if __name__ == "__main__":
    sys.exit(main())
