"""Many files worked on side by side, by threads: what comes of them in their order, and few of them ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

_AT_ONCE = 8  # a thread takes several items a turn, since most are done at once
_MOST_THREADS = 16  # each holds a picture of up to 2^24 pixels
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """What `work` gives of each item, in their order.

    No more than 16 items a core are begun and not yet given. What `work` raises is raised here once its turn comes.

    Args:
        work: is called in threads, one a core.
        items: are taken as they are needed, by the calling thread.
    """
    items = iter(items)
    first, second = next(items, None), next(items, None)
    if first is None or second is None:  # no thread for one item
        yield from map(work, [] if first is None else [first])
        return
    items = chain([first, second], items)
    turns = iter(lambda: list(islice(items, _AT_ONCE)), [])
    threads, waiting = _thread_count(), deque[Future[list[_Result]]]()
    pool = ThreadPoolExecutor(threads)
    try:
        for turn in turns:
            waiting.append(pool.submit(lambda some: [work(each) for each in some], turn))
            if len(waiting) == 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _thread_count() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)
