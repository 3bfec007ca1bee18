"""Signals that end a process, from `kill`, a closed terminal, Docker or a cluster's scheduler: as Ctrl-C."""

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_TO_END = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
TO_END = frozenset(_TO_END)
"""Signals by which a process is told to end."""
_pending = False  # a KeyboardInterrupt was raised of which nobody has said that it has arrived


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does, unless they are ignored, as SIGHUP is under `nohup`.

    Python hears signals in its main thread alone; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _TO_END}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, interrupt)
    arrived()
    try:
        yield
    finally:
        arrived()
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def interrupt(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """What a signal's handler does to end the work.

    Raises:
        KeyboardInterrupt: now, and in `heed` once more where Python drops it, as it does in a destructor.
    """
    global _pending
    _pending = True
    raise KeyboardInterrupt


class UntilInterrupted:
    """Ends quietly by a KeyboardInterrupt, and frees what its frames hold.

    A result that was being read in one of them keeps SQLite's database locked, for this process too, until the frame is
    gone; and frames of exceptions are in cycles, which stay until the garbage is collected.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> bool:
        if not isinstance(error, KeyboardInterrupt):
            return False
        traceback.clear_frames(frames)
        return True


def heed() -> None:
    """Called now and then by long work, as after each epoch.

    Raises:
        KeyboardInterrupt: if `interrupt` has raised one that has not `arrived`.
    """
    if _pending:
        raise KeyboardInterrupt


def arrived() -> None:
    """Say that a KeyboardInterrupt was caught, so that what is done next is not interrupted by it again."""
    global _pending
    _pending = False
