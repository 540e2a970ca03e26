"""What a scene remembers of an episode: its state at the start, one step ago and now."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

State = TypeVar("State")


class StateHistory(ABC, Generic[State]):
    """The part of a `Scene` that rubric levels are read from."""

    def __init__(self) -> None:
        self._fresh = True
        self.start = self.before = self.now = self._read()

    def observe(self) -> None:
        """Note the state now; the first call after a reset is the start."""
        state = self._read()
        if self._fresh:
            self.start = self.now = state
            self._fresh = False
        self.before, self.now = self.now, state

    def level(self, task: str) -> int:
        """Rubric level of the state now for any task of the scene."""
        return self.level_between(task, self.start, self.before, self.now)

    @abstractmethod
    def level_between(self, task: str, start: State, before: State, now: State) -> int:
        """Rubric level of the state `now` after `before`, if the episode began with `start`."""

    @abstractmethod
    def _read(self) -> State:
        """The state now."""
