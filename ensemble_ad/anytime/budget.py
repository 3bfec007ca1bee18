"""The wall time that a run may take, and the alarm that keeps it."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from ensemble_ad.search.signals import arrived, interrupt

_SLOWEST = 4.0
_HAS_ALARM = hasattr(signal, "SIGALRM")


@dataclass(kw_only=True)
class Budget:
    """A run's wall time, which begins when this is made.

    Attributes:
        seconds: how long the run may take; None for no limit.
        over: whether something that ran `within` the budget was interrupted since the time was up.
    """

    seconds: float | None
    over: bool = field(default=False, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    @property
    def used(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the end; infinite where there is no limit."""
        return float("inf") if self.seconds is None else self.seconds - self.used

    @property
    def slowness(self) -> float:
        """How much longer than alone this process takes on a machine that others use too, in [1, 4]."""
        return min(_SLOWEST, max(1.0, self.used / max(1e-3, time.process_time())))

    @contextmanager
    def within(self, reserve: float) -> Iterator[None]:
        """While entered, a KeyboardInterrupt comes when no more than `reserve` seconds are left, and `over` is set.

        What loses nothing by Ctrl-C so loses nothing by the end of the time. Alarms exist on Unix and reach the main
        thread alone; elsewhere the time is looked at between two trials only.
        """
        if self.seconds is None or not _HAS_ALARM or threading.current_thread() is not threading.main_thread():
            yield
            return

        def end(number: int, frame: FrameType | None) -> None:
            self.over = True
            interrupt(number, frame)

        before = signal.signal(signal.SIGALRM, end)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, self.left - reserve))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if self.over:
                arrived()
