"""The configuration of an augmentation, and the file that keeps it beside the output."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from reward_models.augment.pipeline import Steps
from reward_models.data.example import InvalidSource
from reward_models.data.sources import ReadOptions
from reward_models.data.splits import Fractions
from reward_models.data.video_file import OutputError, VideoFormat, whole_file
from reward_models.scale.places import Place
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import split_name

GPT = "openai:gpt-5-mini"
QWEN = "local:Qwen/Qwen3-4B-Instruct-2507"
CONFIG = "config.json"
REWARD_MODEL = "reward-model:"
ON_SERVERS = {"openai", "gemini", "remote"}
"""Reward models that are asked over the network."""
MAY_CHANGE = {
    "limit",
    "concurrency",
    "place",
    "max_requests",
    "max_cost_usd",
    "usd_per_million_tokens",
    "page_episodes",
}
"""Settings with which a run may go on differently: none of them changes what is made of an episode."""


@dataclass(frozen=True)
class RoleNames:
    """Who plays which role: `openai:MODEL[@URL]`, `gemini:MODEL`, `local:FOLDER_OR_HUB_ID`, or a name given below.

    The verifier can also be a reward model that runs in this process, as `reward-model:NAME`.
    """

    standardiser: str = QWEN
    """Corrects the text of tasks; or `code`: spaces and punctuation only."""
    describer: str = GPT
    """Sees the video and describes it; or `simulator`."""
    planner: str = GPT
    """Plans failure modes; or `grammar`."""
    proposer: str = QWEN
    """Writes tasks; or `grammar`."""
    verifier: str = GPT
    """Sees the video; or `simulator`, `accept` (nothing is verified), or a reward model as said above."""


@dataclass(frozen=True)
class AugmentConfig:
    """What to make a reward data set from, how, and where to."""

    source: str
    """KIND:PATH of the episodes: published, rlds, lerobot, roboarena, simulator or csv."""
    out: Path
    """Folder of the data set; a run that was stopped goes on there."""
    roles: RoleNames = RoleNames()
    """Who plays which role."""
    steps: Steps = Steps()  # noqa: RUF009 - frozen
    """Which negatives are made."""
    read: ReadOptions = ReadOptions()  # noqa: RUF009 - frozen
    """How the source is read."""
    video: VideoFormat = VideoFormat()  # noqa: RUF009 - frozen
    """How videos are written."""
    splits: Fractions = Fractions()  # noqa: RUF009 - frozen
    """Parts of the examples of each subset that go to each split."""
    unlabelled: Literal["reject", "success"] = "reject"
    """Episodes without a reward: leave them out, or take each for a success."""
    truth: Path | None = None
    """Folder or file with the simulator's truth, for the role `simulator`; the source by default."""
    limit: int | None = None
    """Only the first episodes of the source."""
    seed: int = 0
    """Seed for proposers that draw, and for the splits."""
    max_requests: int | None = None
    """Most requests to paid servers; by default ROBOREWARD_MAX_REQUESTS, or 10,000."""
    max_cost_usd: float | None = None
    """Most to spend in USD; ROBOREWARD_MAX_COST_USD by default."""
    usd_per_million_tokens: tuple[float, float] | None = None
    """Price of a million input and output tokens, needed for --max-cost-usd; ROBOREWARD_USD_PER_MILLION_TOKENS by default."""
    concurrency: int = 4
    """Episodes that are worked on at a time, in one process; with several processes each works on one."""
    place: tyro.conf.OmitArgPrefixes[Place] = Place()  # noqa: RUF009 - frozen
    """Where to work."""
    page_episodes: int = 100
    """Episodes shown in audit.html; audit.jsonl has all."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InvalidSetting(f"The concurrency must be at least 1, not {self.concurrency}.")
        if self.steps.attempts < 1:
            raise InvalidSetting(f"At least 1 attempt is needed, not {self.steps.attempts}.")
        if self.limit is not None and self.limit < 1:
            raise InvalidSetting(f"The limit must be at least 1, not {self.limit}.")
        name = self.roles.verifier.removeprefix(REWARD_MODEL)
        if name != self.roles.verifier and split_name(name)[0] in ON_SERVERS:
            raise InvalidSetting(
                f"The verifier {self.roles.verifier!r} asks a server, whose scores would not be kept and would "
                "not count against --max-requests and --max-cost-usd. Let the model verify in words "
                "(openai:MODEL, openai:MODEL@URL or gemini:MODEL, without reward-model:), or name a reward "
                "model that runs in this process, such as reward-model:roboreward-8b."
            )


def as_json(config: AugmentConfig) -> dict[str, Any]:
    """Return the configuration as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def keep_config(config: AugmentConfig) -> None:
    """Save the configuration in the output folder, or check that the run that began there had the same.

    Raises:
        OutputError: Another configuration was used there, or the folder cannot be written.
    """
    path, new = config.out / CONFIG, as_json(config)
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidSource(
                f"{path} is not a configuration: {error}. Choose another folder."
            ) from error
        changed = [
            key for key in new if key not in MAY_CHANGE | {"out"} and old.get(key) != new[key]
        ]
        if changed:
            raise OutputError(
                f"{config.out} was begun with another configuration: {', '.join(changed)} changed. Choose "
                "another folder, or use the configuration in its config.json."
            )
    elif config.out.exists() and any(p.name != ".lock" for p in config.out.iterdir()):
        raise OutputError(f"{config.out} holds other files. Choose an empty folder.")
    with whole_file(path) as beside:
        beside.write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")
