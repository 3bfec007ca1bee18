"""How the prior does as a run's members come, and `auto` where anomalies are thinned, by rules tried and by today's.

    python benchmarks/_sets.py SOURCE SETS
    for set in digits faces64; do
        ensad run --no-look --time 30m --data SETS/$set/data --studies RUNS/$set
    done
    python benchmarks/prior_growth.py --sets SETS --runs RUNS

The columns are those of the best five members of each family, as in the run. Their models score the test images, and
labels judge. Prints Markdown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from _record import head, line, parser
from prior import thin

from ensemble_ad.blend import blend_scores, prior
from ensemble_ad.blend.columns import Batch, Columns, stacked
from ensemble_ad.blend.normalise import normalise
from ensemble_ad.blend.of_members import columns_of
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.detect.batch import open_batch, score_batch
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.choose import select
from ensemble_ad.members.column import Column
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.statistics import auc
from ensemble_ad.statistics.arrays import Labels

FIRST = (3, 8, 12, 20, 30, 45, 60, 80, 100)
SHARES = (0.2, 0.1, 0.05, 0.02, 0.01)
DRAWS = 4
ANY = 10**9
BEFORE, NOW = (30, ANY), (60, 30)
RULES = {
    "thirty may join, the five have half (before)": BEFORE,
    "thirty, less than half of many": (30, 30),
    "sixty, half": (60, ANY),
    "**sixty, less than half of many**": NOW,
}


@contextmanager
def ruled(rule: tuple[int, int]) -> Iterator[None]:
    """So many may join, and of more columns than that the five have less than half."""
    with mock.patch.object(prior, "_CANDIDATES", rule[0]), mock.patch.object(prior, "_FEW", rule[1]):
        yield


class Run(NamedTuple):
    """A run's members, oldest first, what they make of the test images, and these images' labels."""

    members: list[Member]
    batch: Batch
    label: Labels

    def columns(self, n: int) -> Columns:
        """The columns of the first n members."""
        first = self.members[:n]
        some = [member for term in select(first, ",".join({m.family for m in first})) for member in term.members]
        kinds = [(member, kind) for member in some for kind in columns_of(member, "main")]
        test = np.stack([self.batch.vectors[m.key][:, m.columns.index(kind)] for m, kind in kinds], axis=1)
        return stacked([Column(m.key, kind).name for m, kind in kinds], some, test)


def opened(sets: Path, studies: Path) -> Run:
    """Read a run's members, and let them score the test images."""
    members = list_members(studies)[0]
    images = open_batch(sets / studies.name / "data", studies, None)
    batch = score_batch(members, images, images.images.shape[1:], studies)
    return Run(members, batch, read_labels(sets / studies.name / "labels.csv", [str(i) for i in range(len(images))]))


def growth(name: str, run: Run) -> None:
    """The prior's AUC, a row a number of members."""
    count = len(run.members)
    for n in [n for n in FIRST if n < count] + [count]:
        found = run.columns(n)
        seen, tails = SeenDefects.of(found.reference, found.pseudo), normalise("tail", found.reference, found.test)[2]
        values, votes = [], np.full(tails.shape[1], 1 / tails.shape[1])
        for rule in RULES.values():
            with ruled(rule):
                values.append(auc(run.label, tails @ prior.prior_weights(seen, votes)).value)
        print(line(name, n, len(votes), *(f"{value:.4f}" for value in values)), flush=True)


def thinned(name: str, run: Run) -> None:
    """The AUC of `auto`, of all members, before and now, and the worst change of a draw; a row."""
    reference, test, pseudo, _ = run.columns(len(run.members))
    cells = []
    for share in SHARES:
        rng, pairs = np.random.default_rng(0), []
        for _ in range(DRAWS):
            rows, pair = thin(run.label, share, rng), []
            for rule in (BEFORE, NOW):
                with ruled(rule):
                    pair.append(auc(run.label[rows], blend_scores(reference, test[rows], pseudo=pseudo).scores).value)
            pairs.append(pair)
        before, now = np.array(pairs).T
        cells.append(f"{before.mean():.4f} {now.mean():.4f} ({(now - before).min():+.4f})")
    print(line(name, *cells), flush=True)


def main() -> None:
    """Read the command line, print both tables."""
    given = parser(__doc__, "sets", "runs").parse_args()
    runs = {studies.name: opened(given.sets, studies) for studies in sorted(given.runs.iterdir())}
    print(head("run of", "members", "columns", *RULES))
    for name, run in runs.items():
        growth(name, run)
    print("\n" + head("set", *(f"p = {share}" for share in SHARES)))
    for name, run in runs.items():
        thinned(name, run)


if __name__ == "__main__":
    main()
