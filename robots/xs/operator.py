"""The person beside the arm: stops it with a key at any time, agrees to its next motion, reports how an episode went."""

import threading

from robots.xs.keyboard import Keyboard

STOP, SPOILED, QUIT = " ", "i", "q"
LEVELS = {"s": 5, "f": 1, **{str(level): level for level in range(1, 6)}}
KEYS = "space stop at once, i spoiled (I touched it), q end; s success, f failure, or a level from 1 to 5"
STOPPED = {
    STOP: "The operator stopped the arm.",
    SPOILED: "The operator reports that the episode is spoiled.",
}


class OperatorEnds(KeyboardInterrupt):
    """The operator ends the session, as Ctrl-C does."""


class Operator:
    """The keys of a keyboard, read while the arm moves, and questions while it does not.

    Args:
        keyboard: Keyboard of the person.
    """

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        # The watching thread polls too, and a terminal's mode is shared.
        self._lock = threading.Lock()
        self.level: int | None = None
        """How the operator rates this episode, 1..5; None for nothing."""
        self._wants_to_end = False

    def poll(self) -> str | None:
        """Take note of the keys since the last call, without waiting; returns why the arm has to stop, or None."""
        reason = None
        with self._lock:
            keys = self._keyboard.pressed()
        for key in keys:
            self.level = LEVELS.get(key, self.level)
            self._wants_to_end |= key == QUIT
            # The first of several: a space that was pressed before is why.
            reason = reason or STOPPED.get(key)
        return reason

    def begin_episode(self) -> None:
        """Forget the rating: a new episode begins."""
        self.level = None

    def check_end(self) -> None:
        """Raise `OperatorEnds`, once, if the operator has pressed `q`."""
        if self._wants_to_end:
            self._wants_to_end = False
            raise OperatorEnds("The operator ends the session.")

    def end_later(self) -> None:
        """Let the next `check_end` end the session."""
        self._wants_to_end = True

    def ask(self, question: str) -> str:
        """Ask and wait for a line. A space in it agrees to nothing: its key stops the arm.

        Raises:
            OperatorEnds: The answer is `q`.
            KeyboardInterrupt: There is nobody to answer.
        """
        answer = self._keyboard.ask(question)
        while STOP in answer:
            answer = self._keyboard.ask(f"Space stops the arm, so it stays where it is. {question}")
        if answer.lower() == QUIT:
            raise OperatorEnds("The operator ends the session.")
        return answer

    def confirm_motion(self, reason: str) -> None:
        """Wait until the operator agrees that a stopped arm may move again.

        Raises:
            OperatorEnds: They do not.
            KeyboardInterrupt: There is nobody to answer.
        """
        self.ask(
            f"The arm was stopped and holds. {reason}\n"
            "Its next motion is slow. Hands away, then press Enter to let it move (q leaves it where it is)."
        )

    def ask_level(self, task: str) -> int | None:
        """Ask how the episode went, unless a key has been pressed for it; None if the operator does not know.

        An episode that is complete is not lost to `q`: the session ends with the next `check_end`.
        """
        question = f"How far did it get with {task!r}? 1 no success .. 5 perfect, Enter for unknown (q to end):"
        note = ""
        while self.level is None:
            answer = self._keyboard.ask(f"{note}{question}").strip().lower()
            self._wants_to_end |= answer == QUIT
            if answer in ("", QUIT):
                break
            self.level = LEVELS.get(answer)
            note = f"{answer!r} is not a rating. "
        return self.level
