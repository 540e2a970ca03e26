"""Keys and tokens: from the environment into a header, and nowhere else."""

import os

from roboreward_gym.errors import InvalidSetting

TOKEN_VARIABLE = "ROBOREWARD_TOKEN"
"""Where clients and servers of ours find their common secret."""

HIDDEN = "[hidden]"

SHORTEST = 6
"""Characters below which a text is not taken for a key: hiding it would only make words unreadable."""


def read_key(*variables: str, purpose: str) -> str:
    """Return the first of these environment variables that is set.

    Raises:
        InvalidSetting: None is; says which one to set.
    """
    key = find_key(*variables)
    if key is None:
        names = " or ".join(variables)
        raise InvalidSetting(
            f"The environment variable {names} holds no key for {purpose}. "
            f"Run: export {variables[0]}=..."
        )
    return key


def find_key(*variables: str) -> str | None:
    """Return the first of these environment variables that is set, or None.

    Raises:
        InvalidSetting: It holds something that no header may hold, for example a line break.
    """
    for variable in variables:
        key = os.environ.get(variable, "").strip()
        if key:
            return check_key(key, variable)
    return None


def check_key(key: str, source: str) -> str:
    """Return the key, or raise `InvalidSetting` if it cannot travel in a header."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        # The key itself stays out of the message.
        raise InvalidSetting(
            f"{source} contains spaces or characters that are not printable ASCII. Copy the key again."
        )
    return key


def without(key: str | None, text: str) -> str:
    """Return the text with the key hidden: some servers repeat it in their complaint.

    >>> without("sk-1234", "Incorrect key sk-1234.")
    'Incorrect key [hidden].'
    """
    return text.replace(key, HIDDEN) if key and len(key) >= SHORTEST else text
