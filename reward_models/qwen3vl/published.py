"""Local models by name: `roboreward-4b`, `roboreward-8b`, and `checkpoint:FOLDER_OR_HUB_ID[@REVISION]` for any Qwen3-VL.

Options follow a question mark: `roboreward-8b?dtype=bfloat16&device=cuda:1` (see `reward_models.model_options`). Torch and
transformers are imported when a model is made, so that naming one costs nothing.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reward_models.model_options import ModelOptions, split_options
from roboreward_gym.errors import InvalidSetting, WeightsError, install_advice

if TYPE_CHECKING:
    from reward_models.qwen3vl.roboreward import RoboReward


@dataclass(frozen=True)
class Published:
    """A checkpoint that RoboReward's authors published.

    Attributes:
        hub_id: Its repository on the hub.
        revision: Commit that results are cited with; eight digits where the literature gives no more. The
            full commit is looked up on the hub, or in the cache, and stands in the manifest of every score.
        hidden_size: Width of its language model, which tells the sizes apart.
    """

    hub_id: str
    revision: str
    hidden_size: int


PUBLISHED = {
    "roboreward-4b": Published("teetone/RoboReward-4B", "4dec8af8", 2560),
    "roboreward-8b": Published(
        "teetone/RoboReward-8B", "3a185b4fce2b1253643105be1f234ae618b9732f", 4096
    ),
}


def load_published(name: str, options: str = "") -> "RoboReward":
    """Load a checkpoint of `PUBLISHED` at its pinned commit.

    Args:
        name: Which one.
        options: Such as `?dtype=bfloat16&device=cuda:0`.

    Raises:
        WeightsError: It cannot be fetched, or what was fetched is incomplete or another model.
        RewardModelUnavailable: Too little memory for it.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    published = PUBLISHED[name]
    model = load_local(
        published.hub_id, only_options(name, options), name=name, revision=published.revision
    )
    found = model.model.config.text_config.hidden_size
    if found != published.hidden_size:
        raise WeightsError(
            f"{name} has a width of {published.hidden_size}, what was loaded from {published.hub_id} has "
            f"{found}: it is another model. Delete it from the cache and fetch it again: "
            f"hf download {published.hub_id} --revision {published.revision}"
        )
    return model


# The entry points of these names.
load_4b = partial(load_published, "roboreward-4b")
load_8b = partial(load_published, "roboreward-8b")


def load_checkpoint(source: str) -> "RoboReward":
    """Load any Qwen3-VL to be asked like RoboReward: the entry point `checkpoint`.

    Args:
        source: A local folder, or a hub id with or without `@REVISION` (branch, tag or commit); options
            may follow behind a question mark. A published checkpoint without a revision is that of its name.

    Raises:
        WeightsError: No such checkpoint, or it is incomplete or of another kind.
        RewardModelUnavailable: Too little memory for it.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    place, options = (source, ModelOptions()) if _is_folder(source) else split_options(source)
    if _is_folder(place):  # a folder's name may hold an @
        return load_local(str(Path(place).expanduser()), options)
    identifier, _, revision = place.rpartition("@") if "@" in place else (place, "", "")
    pins = {published.hub_id: published.revision for published in PUBLISHED.values()}
    return load_local(identifier, options, revision=revision or pins.get(identifier))


def load_local(
    source: str, options: ModelOptions, *, name: str | None = None, revision: str | None = None
) -> "RoboReward":
    """Make a `RoboReward` with the options of its name.

    Raises:
        ModuleNotFoundError: The extra `models` is not installed.
    """
    try:
        from reward_models.qwen3vl.roboreward import RoboReward
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name or source} needs {error.name}, which is not installed. "
            f"{install_advice('models')}"
        ) from error

    return RoboReward(
        source,
        library="torch" if _is_light(source, options) else "transformers",
        name=name,
        revision=revision,
        device=options.device or "auto",
        dtype=options.dtype,
        attention=options.attention,
        quantize=options.quantize,
        abstain=options.abstain != "never",
    )


def only_options(name: str, argument: str) -> ModelOptions:
    """Read the options of a model whose name takes no other argument.

    Raises:
        InvalidSetting: There is something else.
    """
    before, options = split_options(argument)
    if before:
        raise InvalidSetting(
            f"{name} takes options only, such as {name}?dtype=bfloat16; {before!r} is not an option."
        )
    return options


def _is_light(source: str, options: ModelOptions) -> bool:
    """Whether our own forward pass computes this one: transformers takes longer to import than nano to score."""
    from reward_models.qwen3vl.plain import is_plain

    asked = options.attention is not None or options.quantize is not None
    return not asked and _is_folder(source) and is_plain(Path(source).expanduser())


def _is_folder(source: str) -> bool:
    return Path(source).expanduser().is_dir()
