"""Write the report of a finished run again: `python -m experiments.report runs/toy-on-towel-nano-seed0`."""

from pathlib import Path

import tyro

from experiments.phases import reopen
from experiments.report.report import write_report
from experiments.workers import prepare
from roboreward_gym._cli import run_program


def main(run: tyro.conf.Positional[Path]) -> None:
    """Write the report of a finished run again.

    Args:
        run: Its run folder.
    """
    prepare(threads=1)
    config, folder, finished = reopen(run)
    print(write_report(config, folder, finished))


if __name__ == "__main__":
    run_program(lambda: tyro.cli(main))
