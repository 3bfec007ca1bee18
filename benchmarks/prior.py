"""How much members should count where only pseudo-anomalies are known: rules for `prior`, and `auto` with two of them.

    python benchmarks/_sets.py SOURCE SETS
    for set in digits digits_odd magnetic_tile tile_patches faces64; do
        ensad run --trials 20 --seed 1 --data SETS/$set/data --studies BANK/$set
    done
    python benchmarks/prior.py --sets SETS --bank BANK

Blends of random members of each set of BANK, by the columns that a run without test images gives them. `auto` looks at
test images whose anomalies are thinned. Prints Markdown.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from _record import head, line, parser
from _sets import SETS

from ensemble_ad.blend import auto, blend_scores
from ensemble_ad.blend.columns import Columns, stacked
from ensemble_ad.blend.normalise import normalise
from ensemble_ad.blend.of_members import columns_of
from ensemble_ad.blend.prior import by_odds, prior_weights
from ensemble_ad.blend.seen import SeenDefects, worth
from ensemble_ad.blend.selection import selected
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.column import Column
from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.statistics import auc
from ensemble_ad.statistics.arrays import Floats64, Labels

MEMBERS = (2, 3, 5, 8, 15)
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
DRAWS, THINNED_DRAWS = 40, 9


class Bank(NamedTuple):
    """A set's members: the places of their columns, what these say, and the test images' labels."""

    places: list[list[int]]
    columns: Columns
    label: Labels

    def drawn(self, n: int, draws: int) -> Iterator[list[int]]:
        """The columns of n members, so many times."""
        rng = np.random.default_rng(n)
        for _ in range(draws):
            yield [place for member in rng.choice(len(self.places), n, replace=False) for place in self.places[member]]


def opened(sets: Path, bank: Path, name: str) -> Bank:
    """Read a set's members and labels."""
    members = list_members(bank / name)[0]
    names = [[Column(member.key, kind).name for kind in kinds(member)] for member in members]
    ends = np.cumsum([0, *map(len, names)]).tolist()
    columns = stacked([column for some in names for column in some], members)
    label = read_labels(sets / name / "labels.csv", [str(i) for i in range(len(columns.test))])
    return Bank([[*range(a, b)] for a, b in pairwise(ends)], columns, label)


def kinds(member: Member) -> list[str]:
    """The kind that pseudo-anomalies choose, and those that the family alone has."""
    reference, _, pseudo = member.all_vectors()
    assert pseudo is not None
    seen = SeenDefects.of(reference, dict(zip(pseudo.kinds, pseudo.scores, strict=True)))
    assert seen is not None
    found = [pooled(aucs) for aucs in seen.aucs.tolist()]
    best = member.columns[int(np.argmax(found))]
    own = columns_of(member, "main")[1:]
    return [best, *(kind for kind in own if kind != best)]


def alone(seen: SeenDefects | None, votes: Floats64) -> Floats64:
    """`prior_weights` as it was: the five best by their odds."""
    if seen is None:
        return votes
    columns = np.flatnonzero(seen.known & (votes > 0))
    found = votes.copy()
    found[columns] = votes[columns].sum() * by_odds(worth(seen.aucs[columns]))
    return np.asarray(found / found.sum())


def together(seen: SeenDefects, votes: Floats64) -> Floats64:
    """Ensemble selection alone, of the thirty best."""
    best = np.argsort(-worth(seen.aucs), kind="stable")[:30]
    found = np.zeros(len(votes))
    found[best] = selected(seen, best)
    return found


def alike(seen: SeenDefects, votes: Floats64) -> Floats64:
    """The five best, alike."""
    found = by_odds(worth(seen.aucs))
    return (found > 0) / np.count_nonzero(found)


RULES = {
    "the five best, alike": alike,
    "the five best, by their odds (before)": alone,
    "ensemble selection": together,
    "**half by odds, half by selection; of many columns less by odds**": prior_weights,
}


def rules(banks: Sequence[Bank]) -> None:
    """A row a rule: the mean AUC on each set, and by the number of members; and the worst change of a draw."""
    found = np.empty((len(RULES), len(banks), len(MEMBERS), DRAWS))
    for b, bank in enumerate(banks):
        tails = normalise("tail", bank.columns.reference, bank.columns.test)[2]
        for k, n in enumerate(MEMBERS):
            for draw, some in enumerate(bank.drawn(n, DRAWS)):
                pseudo = {kind: scores[:, some] for kind, scores in bank.columns.pseudo.items()}
                seen = SeenDefects.of(bank.columns.reference[:, some], pseudo)
                assert seen is not None
                for r, rule in enumerate(RULES.values()):
                    weights = rule(seen, np.full(len(some), 1 / len(some)))
                    found[r, b, k, draw] = auc(bank.label, tails[:, some] @ weights).value
    print(head("weights", *SETS, *(f"{n} members" for n in MEMBERS), "mean", "worst change of a draw"))
    before = found[[*RULES.values()].index(alone)]
    for name, rows in zip(RULES, found, strict=True):
        cells = [*rows.mean(axis=(1, 2)), *rows.mean(axis=(0, 2)), rows.mean()]
        print(line(name, *(f"{cell:.4f}" for cell in cells), f"{(rows - before).min():+.4f}"))


def thinned(banks: Sequence[Bank]) -> None:
    """A row a set and a share: `auto` with its prior as it was, and as it is."""
    print("\n" + head("set", *(f"p = {share}" for share in SHARES)))
    for name, bank in zip(SETS, banks, strict=True):
        cells = []
        for share in SHARES:
            rng = np.random.default_rng(0)
            pairs = [
                both(bank, some, thin(bank.label, share, rng))
                for n in (3, 6, 12)
                for some in bank.drawn(n, THINNED_DRAWS // 3)
            ]
            before, after = np.array(pairs).T
            cells.append(f"{before.mean():.4f} {after.mean():.4f} ({(after - before).min():+.4f})")
        print(line(name, *cells), flush=True)


def thin(label: Labels, share: float, rng: np.random.Generator) -> np.ndarray:
    """The places of all normal images and of anomalies that are that share, two at least."""
    normal, others = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
    n = min(len(others), max(2, round(share / (1 - share) * len(normal))))
    return np.concatenate([normal, rng.choice(others, n, replace=False)])


def both(bank: Bank, some: list[int], rows: np.ndarray) -> tuple[float, float]:
    """The AUC of `auto` with its prior as it was, and as it is."""
    test, pseudo = bank.columns.test[rows][:, some], {k: v[:, some] for k, v in bank.columns.pseudo.items()}
    found = []
    for rule in (alone, prior_weights):
        with mock.patch.object(auto, "prior_weights", rule):
            found.append(
                auc(bank.label[rows], blend_scores(bank.columns.reference[:, some], test, pseudo=pseudo).scores).value
            )
    return found[0], found[1]


def main() -> None:
    """Read the command line, print both tables."""
    given = parser(__doc__, "sets", "bank").parse_args()
    banks = [opened(given.sets, given.bank, name) for name in SETS]
    rules(banks)
    thinned(banks)


if __name__ == "__main__":
    main()
