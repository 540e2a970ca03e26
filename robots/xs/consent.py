"""A real arm that was stopped does not move again, not even to its sleep pose, before a person has agreed."""

from robots.errors import MotionRefused
from robots.xs.operator import Operator


class Consent:
    """Whether the arm may move.

    Args:
        needed: The arm is a real one.
        operator: Whom to ask; without one the program has to call `give`.
    """

    def __init__(self, operator: Operator | None, *, needed: bool) -> None:
        self._operator, self._needed = operator, needed
        self._stopped_by = ""

    @property
    def missing(self) -> str:
        """Why the person has to agree; empty if the arm may move."""
        return self._stopped_by if self._needed else ""

    def withdraw(self, reason: str) -> None:
        """The arm was stopped; the newest reason counts."""
        self._stopped_by = reason

    def give(self) -> None:
        """The person beside the arm agrees."""
        self._stopped_by = ""

    def require(self) -> None:
        """Ask, if the arm was stopped.

        Raises:
            MotionRefused: There is nobody to ask.
            KeyboardInterrupt: They do not agree.
        """
        if not self.missing:
            return
        if self._operator is None:
            raise MotionRefused(
                f"The arm was stopped and holds, under torque. {self._stopped_by} Call allow_motion() once "
                "the person beside it agrees that it may move."
            )
        self._operator.confirm_motion(self._stopped_by)
        self.give()
