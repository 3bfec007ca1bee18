"""As many threads as other processes leave cores.

The threads of one product wait for each other by spinning, those of oneDNN's convolutions always. Beside a process that
keeps the cores busy one of them is not there for milliseconds at a time, and the others spin: two threads took forty
times as long as one, which was not slowed at all (benchmarks/train.md).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, process_time
from typing import NamedTuple

import torch

_STAT = Path("/proc/stat")
_LEAST_WINDOW = 0.3  # seconds; the system counts in hundredths
_SPARE = 0.25  # what others may use of a core that still counts as free


class _Use(NamedTuple):
    """How long the cores have been busy until `at`, in seconds: all together, and with this process."""

    at: float
    all: float
    own: float


class Others:
    """What other processes use of the cores that this one may use."""

    def __init__(self) -> None:
        self._since, self._used = _use(), 0.0

    def cores(self) -> float:
        """How many cores they have used since this was last asked, 0.3 s ago or more; 0 where nothing tells."""
        now = _use()
        if now is not None and self._since is not None and now.at - self._since.at >= _LEAST_WINDOW:
            of_others = (now.all - self._since.all) - (now.own - self._since.own)
            self._used = max(0.0, of_others / (now.at - self._since.at))
            self._since = now
        return self._used

    def leave(self, most: int) -> int:
        """How many threads, of `most`, have a core of their own; at least 1."""
        used = self.cores()
        return most if used <= _SPARE else max(1, min(most, int(len(os.sched_getaffinity(0)) - used + _SPARE)))


def _use() -> _Use | None:
    """None where the system does not tell, as outside Linux."""
    with suppress(OSError, ValueError, AttributeError):
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = 0
        for line in _STAT.read_text(encoding="ascii").splitlines():
            name, *numbers = line.split()
            if name in mine:
                user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, numbers[:8])
                ticks += user + nice + system + irq + softirq + steal
        return _Use(monotonic(), ticks / os.sysconf("SC_CLK_TCK"), process_time())
    return None


OTHERS = Others()
_told = False  # whether the user knows of them; a run has a worker for each trial


class Threads:
    """Torch's threads while trials are trained; see `fitting_threads`."""

    def __init__(self, *, repeats: bool) -> None:
        self.most = torch.get_num_threads()
        self._repeats, self._note = repeats, ""

    def fit(self) -> None:
        """Give torch as many threads as others leave cores now."""
        threads = self.most if "OMP_NUM_THREADS" in os.environ else OTHERS.leave(self.most)
        if not self._repeats:
            torch.set_num_threads(threads)
        if threads < self.most:
            then = f"by {threads} of {self.most} threads"
            if self._repeats:
                then = f"OMP_NUM_THREADS={threads} may be many times as fast"
            self._note = f"others keep {OTHERS.cores():.1f} cores busy, which torch's threads wait for; {then}"

    def note(self) -> str:
        """What the user should know of others that were in the way, once in a process; else nothing."""
        global _told
        if _told or not self._note:
            return ""
        _told = True
        return self._note


@contextmanager
def fitting_threads(*, repeats: bool) -> Iterator[Threads]:
    """While entered, torch has as many threads as others leave cores, by each `Threads.fit`; then all again.

    Where the user has set OMP_NUM_THREADS, torch has those throughout.

    Args:
        repeats: torch keeps its threads, and the note says what that costs: by fewer, sums would be rounded otherwise.
    """
    threads = Threads(repeats=repeats)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads.most)
