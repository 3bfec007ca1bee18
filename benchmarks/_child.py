"""What pipeline.py measures in processes of their own: python benchmarks/_child.py WHAT ARGUMENT..."""

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REFERENCE_ROWS = 5_000


def made_scores(rows: int, members: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated scores of members of unlike worth: float32 (5,000, m), (rows, m) in column order; bool (rows,)."""
    rng = np.random.default_rng(seed)
    label = rng.random(rows) < 0.3
    sides = []
    for n, shift in ((REFERENCE_ROWS, np.zeros(REFERENCE_ROWS)), (rows, label.astype(float))):
        common, table = rng.standard_normal(n), np.empty((n, members), dtype=np.float32, order="F")
        for member in range(members):
            own = np.random.default_rng([seed, member])
            share, worth = own.uniform(0.3, 0.9), own.uniform(0, 1.5)
            noise = rng.standard_normal(n)
            table[:, member] = share * common + np.sqrt(1 - share**2) * noise + worth * shift
        sides.append(table)
    return sides[0], sides[1], label


def blend(path: str, method: str) -> None:
    """Read scores, blend them, and give every member and the blend its intervals."""
    from ensemble_ad.blend import blend_scores
    from ensemble_ad.statistics import auc_many, compare_to_best, separation_many

    with np.load(path) as file:
        reference, test, label = file["reference"], file["test"], file["label"]
    found = blend_scores(reference, test, method)
    separations = separation_many(reference, test)
    every = np.column_stack([test, found.scores])
    aucs = auc_many(label, every)
    intervals = [aucs.estimate(i) for i in range(every.shape[1])]
    intervals += [separations.estimate(i) for i in range(test.shape[1])]
    intervals += [found.separation] if found.separation else []
    best = compare_to_best(label, every)
    print(len(intervals), int(best.tied.sum()), intervals[test.shape[1]])


def copies(rows: str, members: str, what: str) -> None:
    """Print how far the peak of memory lies above what there was before the scores, in copies of the scores."""
    from ensemble_ad.blend import blend_scores
    from ensemble_ad.statistics import auc_many, compare_to_best

    blend_scores(*made_scores(600, 20)[:2], what if what in ("auto", "greedy") else "auto")  # what is imported late
    gc.collect()
    before = _memory("VmRSS")
    reference, test, label = made_scores(int(rows), int(members))
    size = reference.nbytes + test.nbytes
    started = time.perf_counter()
    if what in ("auto", "greedy", "median"):
        blend_scores(reference, test, what)
    elif what == "auc_many":
        auc_many(label, test)
    else:
        compare_to_best(label, test)
    peak = _memory("VmHWM")
    print(json.dumps({
        "scores_mb": size / 1e6, "peak_mb": peak / 1e6, "before_mb": before / 1e6,
        "copies": (peak - before) / size, "seconds": time.perf_counter() - started,
    }))  # fmt: skip


def peak(*arguments: str) -> None:
    """Run `ensad` and print the bytes that it had resident at most, file-backed pages included."""
    from ensemble_ad.cli import main

    if arguments[0] == "import":
        import ensemble_ad.search.tune  # noqa: F401
    else:
        main(list(arguments), standalone_mode=False)
    print(_memory("VmHWM"))


def _memory(name: str) -> int:
    """Bytes that are resident (VmRSS), or were at most (VmHWM; `ru_maxrss` begins with what the parent had)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


if __name__ == "__main__":
    CALLS: dict[str, Callable[..., None]] = {"blend": blend, "copies": copies, "peak": peak}
    CALLS[sys.argv[1]](*sys.argv[2:])
