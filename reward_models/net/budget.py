"""How many requests paid servers may be sent, and what they may cost: a limit per process."""

import functools
import math
import os
import threading

from roboreward_gym.errors import BudgetExhausted, InvalidSetting

MAX_REQUESTS = 10_000
"""Requests per process to servers of others, unless `ROBOREWARD_MAX_REQUESTS` says otherwise."""


class Budget:
    """Counts requests and their cost; safe to share between threads.

    Args:
        max_requests: Most requests, repeated ones included; None for any number.
        max_cost_usd: Most to spend in [USD]; requests under way when it is reached still finish.
        usd_per_million_tokens: Price of input and of output tokens; needed to know the cost.

    Raises:
        InvalidSetting: A negative limit, or a cost without prices.
    """

    def __init__(
        self,
        max_requests: int | None = None,
        max_cost_usd: float | None = None,
        usd_per_million_tokens: tuple[float, float] | None = None,
    ) -> None:
        for name, limit in (("max_requests", max_requests), ("max_cost_usd", max_cost_usd)):
            if limit is not None and not limit >= 0:
                raise InvalidSetting(f"{name} must be at least 0, got {limit}.")
        if max_cost_usd is not None and usd_per_million_tokens is None:
            raise InvalidSetting(
                "A limit on cost needs prices, and none are set. Set "
                "ROBOREWARD_USD_PER_MILLION_TOKENS=INPUT,OUTPUT to those of your model."
            )
        self._max_requests = max_requests
        self._max_cost_usd = max_cost_usd
        self._prices = usd_per_million_tokens
        self._lock = threading.Lock()
        self._uncounted = False
        self.requests = 0
        self.cost_usd = 0.0

    def take(self) -> None:
        """Count one request, before it is sent.

        Raises:
            BudgetExhausted: A limit is reached; nothing was sent.
        """
        with self._lock:
            if self._uncounted:
                raise BudgetExhausted(
                    "The server does not say how many tokens an answer took, so ROBOREWARD_MAX_COST_USD "
                    "cannot be kept. Limit this server by ROBOREWARD_MAX_REQUESTS instead."
                )
            if self._max_requests is not None and self.requests >= self._max_requests:
                raise BudgetExhausted(
                    f"This process has sent {self.requests} of {self._max_requests} requests that it may. "
                    "Raise ROBOREWARD_MAX_REQUESTS to continue."
                )
            if self._max_cost_usd is not None and self.cost_usd >= self._max_cost_usd:
                raise BudgetExhausted(
                    f"This process has spent {self.cost_usd:.4f} of {self._max_cost_usd:.4f} USD that it "
                    "may. Raise ROBOREWARD_MAX_COST_USD to continue."
                )
            self.requests += 1

    def charge(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Add what an answer cost.

        Without the numbers of tokens a limit on cost cannot be kept: the answer at hand is paid for and
        stays, but no other request is sent.
        """
        if self._prices is None:
            return
        if input_tokens is None or output_tokens is None:
            self._uncounted = self._max_cost_usd is not None
            return
        price_in, price_out = self._prices
        with self._lock:
            self.cost_usd += (input_tokens * price_in + output_tokens * price_out) / 1e6


_processes = 1


def share_between(processes: int) -> None:
    """Give this process its part of every limit, as several like it work at the same time.

    Args:
        processes: How many there are; call it before a budget is made.
    """
    global _processes
    _processes = processes


@functools.cache
def process_budget() -> Budget:
    """Return the budget that all models behind APIs share in this process, from the environment."""
    return budget_with()


@functools.cache
def own_server_budget() -> Budget:
    """Return the budget of servers of one's own: without a limit but for what the environment says."""
    return budget_with(default=None)


def budget_with(
    max_requests: int | None = None,
    max_cost_usd: float | None = None,
    usd_per_million_tokens: tuple[float, float] | None = None,
    *,
    default: int | None = MAX_REQUESTS,
) -> Budget:
    """Make a budget, or this process's part of it; the environment, or the default, decides on each value that is None.

    Raises:
        InvalidSetting: A negative limit, a cost without prices, or a variable that is not a number.
    """
    if max_requests is None:
        number = _number("ROBOREWARD_MAX_REQUESTS")
        max_requests = default if number is None else int(number)
    if max_cost_usd is None:
        max_cost_usd = _number("ROBOREWARD_MAX_COST_USD")
    prices = os.environ.get("ROBOREWARD_USD_PER_MILLION_TOKENS")
    if usd_per_million_tokens is None and prices is not None:
        usd_per_million_tokens = _prices(prices)
    if max_requests is not None:
        max_requests //= _processes
    if max_cost_usd is not None:
        max_cost_usd /= _processes
    return Budget(max_requests, max_cost_usd, usd_per_million_tokens)


def _number(variable: str) -> float | None:
    text = os.environ.get(variable)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InvalidSetting(f"{variable} must be a number >= 0, got {text!r}.")
    return number


def _prices(text: str) -> tuple[float, float]:
    parts = text.split(",")
    try:
        prices = tuple(float(part) for part in parts)
    except ValueError:
        prices = ()
    if len(prices) != 2 or not all(math.isfinite(p) and p >= 0 for p in prices):
        raise InvalidSetting(
            f"ROBOREWARD_USD_PER_MILLION_TOKENS must hold two prices >= 0, got {text!r}. "
            "Write INPUT,OUTPUT in USD, for example 0.25,2.00."
        )
    return prices[0], prices[1]
