"""The text of ROS message definitions, read without ROS: which fields, in which order, of which type."""

from dataclasses import dataclass
from pathlib import Path

from roboreward_gym.errors import RoboRewardError

MESSAGES = Path(__file__).parent / "messages"
"""Our packages of messages, by name; each is an ordinary ament package that colcon builds too."""

PACKAGES = ("interbotix_xs_msgs", "roboreward_sim_msgs", "roboreward_msgs")


class InvalidDefinition(RoboRewardError, ValueError):
    """Text that is not a message or service definition."""


@dataclass(frozen=True)
class Field:
    """One field of a message, as `float32[] cmd`."""

    type: str
    name: str


def parse_fields(text: str) -> tuple[Field, ...]:
    """Fields of one message in order; comments, constants and blank lines left out.

    Raises:
        InvalidDefinition: A line that is not a type and a name.
    """
    fields = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words or "=" in "".join(words[1:]):  # a constant is not a field: it is not sent
            continue
        if len(words) != 2 or not words[1].isidentifier():
            raise InvalidDefinition(
                f"Line {number} must read '<type> <name>', got {line.strip()!r}."
            )
        fields.append(Field(*words))
    return tuple(fields)


def parse_definition(text: str) -> tuple[tuple[Field, ...], ...]:
    """Fields of a message `(fields,)`, or of a service `(request, response)`."""
    parts = [[]]
    for line in text.splitlines():
        if line.strip() == "---":
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) > 2:
        raise InvalidDefinition(f"A definition has at most one '---' line, got {len(parts) - 1}.")
    return tuple(parse_fields("\n".join(part)) for part in parts)


def definitions(package: Path) -> dict[str, tuple[tuple[Field, ...], ...]]:
    """Each definition below a package's folder, by `msg/Name` or `srv/Name`."""
    paths = sorted([*package.glob("msg/*.msg"), *package.glob("srv/*.srv")])
    return {
        f"{path.parent.name}/{path.stem}": parse_definition(path.read_text(encoding="utf-8"))
        for path in paths
    }


def differences(ours: Path, theirs: Path) -> list[str]:
    """What of `ours` is missing or has other fields in `theirs`; messages that only they have do not matter."""
    found, wanted = definitions(theirs), definitions(ours)
    return [
        f"{name} is missing" if name not in found else f"{name} has other fields"
        for name, fields in wanted.items()
        if found.get(name) != fields
    ]
