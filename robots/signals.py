"""An orderly end: whatever ends a program that drives an arm ends it as Ctrl-C does, so that the arm goes to sleep."""

import signal

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, and a terminal that goes, for example when an ssh connection drops."""


def end_on_signals() -> None:
    """Let each of them raise `KeyboardInterrupt` in the main thread, also in a shell's background job."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
