"""Train nano from nothing: `python -m reward_models.nano.train --data DIR [DIR ...] --out DIR`.

First its vision tower alone on dense labels, then, with the tower frozen as in RoboReward, its language model on
descriptions, locations and scores. Every stage resumes where it was stopped; a finished stage is not repeated. The folder
`OUT/model` is a complete checkpoint: that of the step with the lowest validation macro MAE.

Processes share the batches of the second stage: `torchrun --nproc-per-node 2 -m reward_models.nano.train --stage language
--tower-from DIR ...`; `--language.batch-size` is that of each.
"""

import tyro

from reward_models.nano.config import TrainConfig
from roboreward_gym._cli import keep_freed_memory, run_program


def main(argv: list[str] | None = None) -> int:
    """Train nano, as the command line says."""
    config = tyro.cli(
        TrainConfig, args=argv, prog="python -m reward_models.nano.train", description=__doc__
    )
    # Torch and transformers take seconds to import: only once it is known that there is something to train.
    from reward_models.nano.stages import train

    keep_freed_memory()
    train(config)
    return 0


if __name__ == "__main__":
    run_program(main)
