"""Options of local models, in their names and on the command line: `roboreward-8b?dtype=bfloat16&device=cuda:1`.

They follow a question mark, as in an address: `checkpoint:FOLDER?quantize=int4`. This module imports no torch, so that a
command line can be parsed without it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import parse_qsl, quote

from roboreward_gym.errors import InvalidSetting, UnknownName
from roboreward_gym.registry import reward_model_names, split_name

Dtype = Literal["float32", "float16", "bfloat16"]
Quantization = Literal["int8", "int4"]
Abstain = Literal["auto", "never"]

LOCAL_MODELS = ("roboreward-nano", "roboreward-4b", "roboreward-8b", "checkpoint")
"""Names that take options; all others run elsewhere or compute nothing."""

FOR_WHOM = {
    "roboreward-8b": "robots and simulators of any kind; a GPU with 20 GB",
    "roboreward-4b": "the same; a GPU with 10 GB",
    "remote:http://HOST:PORT": "the same, where `roboreward serve` runs on another machine",
    "openai:MODEL": "anything; an API key, or a server such as vLLM (openai:MODEL@URL)",
    "gemini:MODEL": "anything; an API key",
    "checkpoint:FOLDER": "a Qwen3-VL of your own, such as a nano taught for your environment",
    "roboreward-nano": "the simulated WidowX tasks of this project only; any CPU",
    "robometer": "LeRobot's reward model; a GPU",
    "topreward": "LeRobot's prompt for any Qwen3-VL; a GPU",
    "human:FOLDER": "people, who score on the page of `roboreward label`",
    "constant:LEVEL": "a control that sees nothing",
    "random": "a control that sees nothing",
    "clock": "a control that sees the duration only",
}
"""What each of our reward models is for; the first named is the first to try."""


@dataclass(frozen=True)
class ModelOptions:
    """How a local model is loaded; the machine and the checkpoint decide what is left out."""

    device: str | None = None
    """Where a local model runs: cpu, cuda, cuda:1 or mps; a GPU if there is one by default."""
    dtype: Dtype | None = None
    """Precision of a local model's weights; float32 on a CPU and the checkpoint's own on a GPU by default."""
    quantize: Quantization | None = None
    """Store a local language model in 8 or 4 bits a weight; needs the extra `quantized`."""
    attention: str | None = None
    """Attention of a local model by its name in transformers: sdpa, eager or flash_attention_2."""

    abstain: Abstain | None = None
    """Whether a local model gives no level where it knows that it does not know (auto, the default), or never abstains."""

    def __post_init__(self) -> None:
        literals = {"dtype": Dtype, "quantize": Quantization, "abstain": Abstain}
        for name, choices in ((name, get_args(kind)) for name, kind in literals.items()):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InvalidSetting(f"{name} is {value!r}. Choose one of {', '.join(choices)}.")

    def add_to(self, name: str) -> str:
        """Return the name of a reward model with these options behind it.

        >>> ModelOptions(dtype="bfloat16").add_to("roboreward-8b")
        'roboreward-8b?dtype=bfloat16'

        Raises:
            InvalidSetting: Options for a model that takes none.
        """
        given = {key: value for key, value in vars(self).items() if value is not None}
        if not given:
            return name
        name = resolve_folder(name)
        base, argument = split_name(name)
        if base not in LOCAL_MODELS:
            raise InvalidSetting(
                f"{name} takes no {' or '.join(given)}: these are options of local models "
                f"({', '.join(LOCAL_MODELS)}). Leave them out."
            )
        written = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in given.items())
        has_options = "?" in name and not _is_folder(argument or "")
        return f"{name}{'&' if has_options else '?'}{written}"


def check_chosen(name: str) -> str:
    """Return the name of a reward model, which nobody chooses for a user.

    Raises:
        InvalidSetting: It is empty; lists the known ones and for whom each is.
    """
    if name:
        return name
    known = dict(FOR_WHOM)
    ours = {split_name(example)[0] for example in known}
    known |= {other: "of another package" for other in reward_model_names() if other not in ours}
    width = max(map(len, known))
    lines = "".join(f"\n  {example:<{width}}  {whom}" for example, whom in known.items())
    raise InvalidSetting(
        f"No reward model is named. Choose one (--model NAME on a command line):{lines}"
    )


def resolve_folder(name: str) -> str:
    """Return `checkpoint:FOLDER?options` for `FOLDER?options`, and any other name as it is; a known name wins."""
    base, _ = split_name(name)
    if base in reward_model_names():
        return name
    is_folder = _is_folder(name) or _is_folder(name.rpartition("?")[0])
    return f"checkpoint:{name}" if is_folder else name


def _is_folder(text: str) -> bool:
    return bool(text) and Path(text).is_dir()


Config = TypeVar("Config", bound=Any)


def options_into_name(config: Config, fields: Sequence[str] = ("model",)) -> Config:
    """Put the options that a command line gave into the name of its model; a folder alone becomes a checkpoint.

    Args:
        config: A dataclass with the field `options`.
        fields: Its fields that hold the name of a model, or None.

    Raises:
        InvalidSetting: Options for a model that takes none, or no model is named.
    """
    given = {field: getattr(config, field) for field in fields}
    names = {
        field: config.options.add_to(resolve_folder(check_chosen(name)))
        for field, name in given.items()
        if name is not None
    }
    return dataclasses.replace(config, **names, options=ModelOptions())


def split_options(argument: str) -> tuple[str, ModelOptions]:
    """Split what follows a name's colon into the part before the question mark and the options.

    >>> split_options("my/folder?dtype=bfloat16")[0]
    'my/folder'

    Raises:
        UnknownName: There is no option of that name.
        InvalidSetting: An option has a value that it cannot have, or none, or comes twice.
    """
    before, _, text = argument.rpartition("?") if "?" in argument else (argument, "", "")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError as error:
        raise InvalidSetting(
            f"The options {text!r} cannot be read: {error}. Write them as ?dtype=bfloat16&device=cuda:0."
        ) from error
    known = [field.name for field in dataclasses.fields(ModelOptions)]
    options: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            raise UnknownName("option", key, known)
        if key in options or not value:
            raise InvalidSetting(f"Give the option {key} one value: ?{key}=VALUE.")
        options[key] = value
    return before, ModelOptions(**options)  # ty: ignore[invalid-argument-type] checked when made
