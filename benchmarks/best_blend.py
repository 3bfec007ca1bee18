"""What `ensad run` would hand in if it kept its best blend by separation: of the runs with a look in the results.

    python benchmarks/best_blend.py

Reads `results/anytime-*.json`, of `benchmarks/anytime.py`: the AUC of every blend of a run, by labels, and the value
that the run gave it. Prints Markdown, the mean over each set's runs.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from _record import RESULTS, head, line, parser
from scipy.stats import spearmanr

BELOW = (0.003, 0.006, 0.010, 0.020)
RULES = ("the last", "the best", *(f"the last at most {below} below the best so far" for below in BELOW))
FEWEST = 6  # blends; a run of fewer, as of a minute, has nothing to choose from


def looked() -> Iterator[Mapping[str, Any]]:
    """The runs with a look that have at least `FEWEST` blends."""
    for path in sorted(RESULTS.glob("anytime-*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            if row["piece"] == "run" and row["mode"] in ("run", "transductive") and len(row["value"]) >= FEWEST:
                yield row


def blends(row: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """The AUC of each blend of a run, in their order, and its value: the last that the run had noted by then."""
    noted = [(auc, [value for at, value in row["value"] if at <= seconds + 0.01]) for seconds, auc in row["curve"]]
    return [auc for auc, values in noted if values], [values[-1] for _, values in noted if values]


def handed_in(aucs: list[float], values: list[float]) -> list[float]:
    """The AUC by each of `RULES`."""
    best = np.maximum.accumulate(values)
    lasts = [aucs[int(np.flatnonzero(values >= best - below)[-1])] for below in BELOW]
    return [aucs[-1], aucs[int(np.argmax(values))], *lasts]


def main() -> None:
    """Print the table and the rank correlations."""
    parser(__doc__).parse_args()
    found, correlations = defaultdict(list), []
    for row in looked():
        aucs, values = blends(row)
        found[row["set"]].append(handed_in(aucs, values))
        correlations.append(spearmanr(aucs, values).statistic)
    print(head("", "runs", *RULES))
    for name, runs in found.items():
        print(line(name, len(runs), *(f"{auc:.3f}" for auc in np.mean(runs, axis=0))))
    low, middle, high = np.quantile(correlations, [0, 0.5, 1])
    print(f"\nrank correlation within {len(correlations)} runs: median {middle:.2f}, {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
