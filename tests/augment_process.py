"""A slow augmentation in a process of its own, to be killed: `python -m tests.augment_process SOURCE OUT`."""

import sys
import time
from pathlib import Path

from reward_models.augment import run as program
from reward_models.augment.units import Unit
from tests.augment_data import config


def main() -> None:
    work = program.Worker.__call__

    def slow(self: program.Worker, unit: Unit) -> program.Line:
        time.sleep(0.1)
        return work(self, unit)

    program.Worker.__call__ = slow  # type: ignore[method-assign]
    program.run(config(Path(sys.argv[1]), Path(sys.argv[2])))


if __name__ == "__main__":
    main()
