"""Clean text of tasks without a language model: what can be corrected without understanding it."""

import re
import unicodedata

_PUNCTUATION = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": "-",
        "\u2026": "...",
    }
)


def standardise(task: str) -> str:
    """Return a task with single spaces, plain punctuation, a capital letter first and without a full stop.

    Letters of other alphabets stay: the meaning must not change.

    >>> standardise("  put the   jalape\u00f1o in the \u201cbig\u201d pot_ . ")
    'Put the jalape\u00f1o in the "big" pot'
    """
    text = unicodedata.normalize("NFC", task).translate(_PUNCTUATION).replace("_", " ")
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split())).rstrip(" .")
    return text[:1].upper() + text[1:] if text else task
