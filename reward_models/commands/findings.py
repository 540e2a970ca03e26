"""What `roboreward doctor` reports."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        status: `problem` stands in the way, `warning` deserves a look, `note` is worth knowing.
        found: What is there.
        advice: What to do; empty if nothing.
    """

    check: str
    status: Status
    found: str
    advice: str = ""
