"""How the benchmarks compare: what is compared takes turns, so that a slower minute of the machine slows all of it."""

import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds of a call: the clock's, and the processor's, which include the child processes that ended meanwhile."""

    wall: float
    processor: float


def turns(compared: Sequence[T], repeats: int) -> Iterator[tuple[int, T]]:
    """Every repeat's number, from 0, with each of the compared; every second repeat goes through them backwards."""
    for repeat in range(repeats):
        for each in compared if repeat % 2 == 0 else reversed(compared):
            yield repeat, each


def in_turns(ways: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """What each way returned, a value a repeat."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _, name in turns(list(ways), repeats):
        found[name].append(ways[name]())
    return found


def timed(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[Cost]]:
    """What each call cost, after one call of each way that is not counted."""
    for way in ways.values():
        way()
    return in_turns({name: lambda way=way: cost(way) for name, way in ways.items()}, repeats)  # type: ignore[misc]


def cost(call: Callable[[], object]) -> Cost:
    """Make the call, and say what it cost."""
    gc.collect()
    processor, wall = _processor_seconds(), time.perf_counter()
    call()
    return Cost(time.perf_counter() - wall, _processor_seconds() - processor)


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Each repeat's value over the other way's value of the same repeat."""
    return [value / other for value, other in zip(values, others, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest of repeats, and how many there were."""
    return {"median": statistics.median(values), "least": min(values), "largest": max(values), "repeats": len(values)}


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
