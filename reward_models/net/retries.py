"""Sending a request again when it makes sense, with growing pauses, and giving up with an error."""

import email.utils
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from roboreward_gym.errors import InvalidSetting, RewardModelFailure

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers of HTTP servers after which the same request may succeed."""


class Transient(Exception):
    """A request that may succeed when it is sent again.

    Args:
        message: What was got instead of an answer.
        retry_after_s: How long the server asks us to wait, in [s].
        unanswered: Whether nothing at all came back before the time was up: the request may have
            been lost on its way.
    """

    def __init__(
        self, message: str, retry_after_s: float | None = None, *, unanswered: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.unanswered = unanswered


class NoAnswer(RewardModelFailure):
    """A server gave no answer until patience ended."""


@dataclass(frozen=True)
class Patience:
    """How often, how soon and for how long a request is sent again."""

    attempts: int = 5
    """Most requests for one answer, the first included."""
    first_wait_s: float = 1.0
    """Pause before the second request in [s]; it doubles from then on, plus some jitter."""
    longest_wait_s: float = 30.0
    """Longest pause in [s], unless the server asks for a longer one."""
    give_up_after_s: float = 300.0
    """Time in [s] after which no new request begins, a pause that the server asks for included. A
    request that was not answered at all is sent once more in any case: its time-out alone may be longer."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidSetting(f"attempts must be at least 1, got {self.attempts}.")
        for name in ("first_wait_s", "longest_wait_s", "give_up_after_s"):
            if not getattr(self, name) >= 0:
                raise InvalidSetting(f"{name} must be at least 0 s, got {getattr(self, name)}.")

    def retry(self, send: Callable[[], Answer], who: str) -> Answer:
        """Call `send` until it returns, or patience ends.

        Args:
            send: One request; raises `Transient` if another may succeed.
            who: The server, for messages.

        Raises:
            NoAnswer: It stayed without an answer.
        """
        backoff = tenacity.wait_exponential_jitter(
            initial=self.first_wait_s, max=self.longest_wait_s, jitter=self.first_wait_s
        )

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after_s if isinstance(error, Transient) else None
            return backoff(state) if asked is None else asked

        def log(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait = state.next_action.sleep if state.next_action else 0.0
            logger.warning("%s: %s; trying again in %.1f s", who, error, wait)

        too_late = tenacity.stop_before_delay(self.give_up_after_s)

        def stop(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            lost = isinstance(error, Transient) and error.unanswered and state.attempt_number == 1
            return state.attempt_number >= self.attempts or (too_late(state) and not lost)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=stop,
            wait=pause,
            before_sleep=log,
            reraise=True,
        )
        began = time.monotonic()
        try:
            return retrying(send)
        except Transient as error:
            tried = retrying.statistics.get("attempt_number", 1)
            raise NoAnswer(
                f"No answer from {who}: {error} "
                f"(the last of {tried} requests in {time.monotonic() - began:.1f} s). "
                "Check that the server runs and can be reached, then score again."
            ) from error


def retry_after_s(header: str | None) -> float | None:
    """Read a Retry-After header, in seconds or as a date, into [s]; None if there is none to obey.

    >>> retry_after_s("2"), retry_after_s("soon")
    (2.0, None)
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_tz(header)
            seconds = math.nan if date is None else email.utils.mktime_tz(date) - time.time()
        except (ValueError, OverflowError, IndexError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
