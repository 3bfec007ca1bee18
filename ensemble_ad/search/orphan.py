"""A worker's process ends where it is told to, and where its crew's process has ended, be it by SIGKILL."""

import _thread
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ensemble_ad.errors import Interrupted
from ensemble_ad.search import lease
from ensemble_ad.search.signals import TO_END, like_ctrl_c

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 5.0
_EXIT_CODE = 130


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The process that has started a crew.

    Attributes:
        name: the name of its lease, which is the crew's name as well.
        pid: its number on its machine.
        studies: the studies' folder, where its lease is.
    """

    name: str
    pid: int
    studies: Path

    @property
    def is_ours(self) -> bool:
        """Whether it has started this process itself, as far as the system tells."""
        return os.name == "posix" and os.getppid() == self.pid

    def is_over(self) -> bool:
        """Whether it is known to have ended: it ran on this machine, and has left its lease."""
        return lease.is_over(self.studies, self.name)


class _Watch(threading.Thread):
    """Ends this process soon after a signal has told it to end, or `parent` has ended; made in the main thread.

    A KeyboardInterrupt alone does not do that: Python drops one that is raised in a destructor, raises none while the
    main thread computes outside of Python, and joblib takes one for a task's result. multiprocessing's pool then waits
    for the process, and the process for another task, without end.
    """

    def __init__(self, parent: Parent) -> None:
        super().__init__(daemon=True)
        self._parent, self._was_ours = parent, parent.is_ours
        self.at_work = threading.Event()
        # The system writes a signal's number there at once, whatever the main thread is doing.
        self._signals, self._written = socket.socketpair()
        self._written.setblocking(False)
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        while not (told := self._is_told()) and not self._is_orphan():
            pass
        if self.at_work.is_set() and not told:
            self._interrupt()
        until = time.monotonic() + _GRACE_SECONDS
        while (told or self.at_work.is_set()) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS / 10)
        os._exit(_EXIT_CODE)  # nobody waits for a result any more, and joblib would wait for another task

    def _is_told(self) -> bool:
        """Wait for a while, less where a signal comes; whether one has told this process to end."""
        ready, _, _ = select.select([self._signals], [], [], _LOOK_SECONDS)
        return bool(ready) and not TO_END.isdisjoint(self._signals.recv(64))

    def _is_orphan(self) -> bool:
        return not self._parent.is_ours if self._was_ours else self._parent.is_over()

    def _interrupt(self) -> None:
        """As Ctrl-C, so that the main thread leaves its trial; it may be asleep."""
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, signal.SIGTERM)
        else:
            _thread.interrupt_main(signal.SIGTERM)


_watch: _Watch | None = None


@contextmanager
def ended_with(parent: Parent | None) -> Iterator[None]:
    """The main thread's work: if it is interrupted, or `parent` has ended, this process ends, now or within seconds.

    A process that no crew has started (None) goes on, and so does a cluster's worker, which runs tasks in other threads
    than the main one.
    """
    global _watch
    if parent is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    if _watch is None:
        _watch = _Watch(parent)
        _watch.start()
    with like_ctrl_c():
        _watch.at_work.set()
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            os._exit(_EXIT_CODE)  # who sent the signal waits for the process, not for its result
        finally:
            _watch.at_work.clear()
