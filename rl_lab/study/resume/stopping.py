"""Ctrl-C and SIGTERM end a run after its update, so that it can go on from there; the second Ctrl-C ends it at once."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

PATIENCE_SECONDS = 12.0
"""After which a run is stopped wherever it is; a supervisor waits a little longer before it kills."""


class Stop:
    """Whether somebody has asked the run to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._patience = threading.Timer(PATIENCE_SECONDS, _thread.interrupt_main)
        self._patience.daemon = True

    def ask(self) -> None:
        """Wish it, and interrupt the run if that is not heeded in time."""
        self.asked = True
        self._patience.start()

    def heeded(self) -> None:
        """The run is stopping, or over: closing its files must not be cut short."""
        self._patience.cancel()


@contextmanager
def gentle(say: Callable[[str], None]) -> Iterator[Stop]:
    """While the block runs, SIGINT and SIGTERM are a wish; outside of the main thread nothing is changed."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def wish(signum: int, frame: FrameType | None) -> None:
        if not stop.asked:
            stop.ask()
            with suppress(Exception):  # in the middle of whatever it interrupts, another line for instance
                say(
                    f"stops after this update, in {PATIENCE_SECONDS:g} s at the latest, and can go on from there "
                    "(Ctrl-C again: at once)"
                )
        elif signum == signal.SIGINT:  # a second SIGTERM is only somebody else's first
            raise KeyboardInterrupt

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        stop.heeded()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
