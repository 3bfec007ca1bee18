"""How far `auto` believes small test batches with few anomalies, and batches without any, on the members of runs.

    python benchmarks/_sets.py SOURCE SETS
    for set in faces64 magnetic_tile tile_patches digits digits_odd; do
      ensad run --time 2m --data SETS/$set/data --studies RUNS/$set/studies --name run
    done
    python benchmarks/few_anomalies.py --sets SETS --runs RUNS

The columns are those of each run's blend. Anomalies are thinned; `before` believes what the regression sees in the very
images that it was fitted on, less one standard error, as `auto` did until commit 883207d. Labels thin and measure.
Prints Markdown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from _record import head, line, parser
from _sets import SETS, thinned

from ensemble_ad.blend import auto
from ensemble_ad.blend.columns import Columns, stacked
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import list_members
from ensemble_ad.statistics import auc
from ensemble_ad.statistics.arrays import Floats64, Labels

SHARES = (None, 0.2, 0.1, 0.05, 0.02, 0.01)
DRAWS, SPLITS = 5, 20


@contextmanager
def before() -> Iterator[None]:
    """`auto` as it was: the share of anomalies is read off the rows that the regression was fitted on."""

    def fitted(features: Floats64, n: int, seed: int) -> Floats64:
        return features @ auto._slopes(features[:n], features[n:])

    def at_least(linear: auto._Linear, *, is_judged: bool) -> float:
        return max(0.0, linear.share.value - linear.share.standard_error)

    with mock.patch.object(auto, "_out_of_fold", fitted), mock.patch.object(auto, "_at_least", at_least):
        yield


def opened(sets: Path, runs: Path, name: str) -> tuple[Columns, Labels]:
    """The columns of a set's run, and the test images' labels."""
    studies = runs / name / "studies"
    columns = stacked(load_blend(studies, "run").rule().names, list_members(studies)[0])
    return columns, read_labels(sets / name / "labels.csv", [str(i) for i in range(len(columns.test))])


def of_anomalies(columns: Columns, label: Labels, share: float | None) -> Floats64:
    """Mean over draws: the AUC of the prior alone, of `auto` before and of `auto`, how much both learn, and images."""
    seen, found = SeenDefects.of(columns.reference, columns.pseudo), []
    for draw in range(DRAWS):
        rows = thinned(label, share, draw)

        def fitted(known: float | None = None, rows: np.ndarray = rows) -> tuple[float, float]:
            rule = auto.fit_auto(columns.reference, columns.test[rows], seen=seen, anomaly_share=known)
            return auc(label[rows], rule.test).value, rule.learnt or 0.0

        with before():
            was, learnt_before = fitted()
        now, learnt = fitted()
        found.append([fitted(1e-9)[0], was, now, learnt_before, learnt, len(rows)])
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def of_none(columns: Columns, label: Labels) -> Floats64:
    """Mean over splits of the normal images into reference and test: how much was learnt before and is; the same of
    scores without pseudo-anomalies.
    """
    normal, found = np.concatenate([columns.reference, columns.test[label == 0]]), []
    n = len(columns.reference)
    for split in range(SPLITS):
        rows = np.random.default_rng(split).permutation(len(normal))
        reference, test, row = normal[rows[:n]], normal[rows[n:]], []
        for seen in (SeenDefects.of(reference, columns.pseudo), None):
            with before():
                row.append(auto.fit_auto(reference, test, seen=seen).learnt or 0.0)
            row.append(auto.fit_auto(reference, test, seen=seen).learnt or 0.0)
        found.append(row)
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def main() -> None:
    """Measure and print."""
    given = parser(__doc__, "sets", "runs").parse_args()
    opens = {name: opened(given.sets, given.runs, name) for name in SETS}
    print(head("set", "held out", "columns", "share", "test images", "prior alone", "before", "`auto`", "learnt before",
               "learnt"))  # fmt: skip
    means: dict[float | None, list[Floats64]] = {}
    for name, (columns, label) in opens.items():
        for share in SHARES:
            row = of_anomalies(columns, label, share)
            means.setdefault(share, []).append(row)
            told = "as it is" if share is None else f"{share:.0%}"
            aucs, learnt = (f"{value:.4f}" for value in row[:3]), (f"{value:.2f}" for value in row[3:5])
            print(line(name, *columns.reference.shape, told, f"{row[5]:.0f}", *aucs, *learnt), flush=True)
    for share, rows in means.items():
        row = np.mean(rows, axis=0)
        told = "as it is" if share is None else f"{share:.0%}"
        print(line("mean", "", "", told, "", *(f"{v:.4f}" for v in row[:3]), *(f"{v:.2f}" for v in row[3:5])))
    names = ("learnt before", "learnt", "before, without pseudo-anomalies", "without them")
    print("\n" + head("normal images alone", *names))
    for name, (columns, label) in opens.items():
        print(line(name, *(f"{value:.2f}" for value in of_none(columns, label))), flush=True)


if __name__ == "__main__":
    main()
