"""An orderly end: whatever ends a program that drives an arm ends it as Ctrl-C does, so that the arm goes to sleep."""

import signal
import threading

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a terminal that goes, for example when an ssh connection drops."""


def end_on_signals() -> None:
    """Let each of them raise `KeyboardInterrupt` in the main thread, also in a shell's background job."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)


def end_on_unhandled_signals() -> None:
    """The same in a program of others, such as a LeRobot command: where nobody handles a signal, which then kills at once."""
    if threading.current_thread() is not threading.main_thread():
        return  # Python sets handlers in the main thread only
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
