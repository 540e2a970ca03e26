"""Train an own small reward model: `python -m reward_models.nano.teach --env ID --level KEY --task TEXT --out DIR`.

For any Gymnasium environment that can say its own level. Episodes are played and recorded as `VLMRewardWrapper` records them,
stored in the published layout with the level that the environment says, and roboreward-nano is trained on them: first its
vision tower, then its language model. The result is scored on episodes of its own: `OUT/report.json`. Use it by the name
`checkpoint:OUT/model`. The same command goes on from where it was stopped.
"""

import tyro

from reward_models.nano.teach.config import TeachConfig
from roboreward_gym._cli import keep_freed_memory, run_program
from roboreward_gym.errors import RewardModelUnavailable, install_advice


def main(argv: list[str] | None = None) -> int:
    """Train, as the command line says."""
    config = tyro.cli(
        TeachConfig, args=argv, prog="python -m reward_models.nano.teach", description=__doc__
    )
    # Torch and transformers take seconds to import: only once it is known that there is something to train.
    try:
        from reward_models.nano.teach.run import teach
    except ModuleNotFoundError as error:
        raise RewardModelUnavailable(
            f"Training needs {error.name}, which is not installed. {install_advice('train,bench')}"
        ) from error
    keep_freed_memory()
    folder = teach(config)
    print(f"Use it as reward_model='checkpoint:{folder}'")  # noqa: T201
    return 0


if __name__ == "__main__":
    run_program(main)
