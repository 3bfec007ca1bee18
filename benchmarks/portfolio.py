"""In which order the families' first trials make the best blend soonest, judged on sets that the order has not seen.

    python benchmarks/_sets.py SOURCE SETS
    python benchmarks/portfolio.py make --sets SETS --bank BANK
    python benchmarks/portfolio.py judge --sets SETS --bank BANK

`make` trains the first trials of families (`Family.start`) on each set, with one thread, and notes the seconds of the
processor; it goes on where it was stopped. `judge` blends the members that every set has, as a run does. It finds an
order on all sets but one, by the gain of the blend's AUC a second, and holds it on that one against the package's order
("today"), the one of the cheapest first on the other sets, and random ones: by the mean AUC of the blend so far over
the time from a thirtieth of what all members take to all of it, on a log scale, as a run's first to thirtieth minute of
half an hour. Blends are cached in BANK. Writes JSON, prints Markdown.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _record import head, line, over_seeds, record
from _sets import SETS

from ensemble_ad.anytime.portfolio import PORTFOLIO
from ensemble_ad.blend.of_members import blend_members
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.choose import Term
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import tune
from ensemble_ad.statistics import auc
from ensemble_ad.statistics.arrays import Labels
from ensemble_ad.training.believed import Yardstick

TRAINED = (
    "pca:1 inpaint:1 fcn:1 pca:2 inpaint:2 memory:1 multi_encoder:1 patchsvdd:1 fcn:2 cutpaste:1 cnn:1 vae:1 "
    "contrast:1 patchsvdd:2 multi_encoder:2 memory:2 inpaint:3 mesdnet:1 resnet_aux:1 resnet:1 vqvae:1"
)
"""All first trials, in the order in which `make` trains them: what is cheap or promises much comes first."""
SUBSETS = {"faces64": 3000}
"""How many images are trained on, where that is not all."""
EPOCHS = 8
"""The most that a trial trains, of a run's 20: networks are trained alike shorter, so that a bank takes an hour."""
CHANCE, SHORTEST = 0.5, 1 / 30
RANDOM_ORDERS = 3
TRANSDUCTIVE = "contrast"


class First(NamedTuple):
    """One of a family's first trials: its family and its place in `Family.start`."""

    family: str
    place: int

    def __str__(self) -> str:
        return f"{self.family}:{self.place + 1}"

    @classmethod
    def of(cls, text: str) -> "First":
        """The inverse of `str`."""
        name, place = text.split(":")
        return cls(name, int(place) - 1)


class Made(NamedTuple):
    """What a first trial has made: the member's key, and seconds of one core."""

    key: str
    seconds: float


Order = tuple[First, ...]


class Quiet:
    """A `Watcher` that shows nothing."""

    def study(self, *what: object) -> None:
        """Nothing."""

    epoch = trial = study


def make(sets: Path, bank: Path) -> None:
    """Train whatever the bank lacks."""
    torch.set_num_threads(1)
    yardsticks: dict[str, Yardstick] = {}
    for first, name in product(map(First.of, TRAINED.split()), SETS):
        path = _file(bank, name, first)
        if not path.exists():
            if name not in yardsticks:
                yardsticks[name] = _yardstick(sets / name / "data", bank / name)
            made = _trained(first, yardsticks[name], SUBSETS.get(name))
            path.write_text(json.dumps(made._asdict()), encoding="utf-8")
            print(f"{time.strftime('%H:%M:%S')} {name} {first} {made.seconds:.1f} s", flush=True)


def _file(bank: Path, name: str, first: First) -> Path:
    """Where it is kept what a first trial has made."""
    return bank / name / f"{first.family}-{first.place}.json"


def _yardstick(data: Path, studies: Path) -> Yardstick:
    """What all trials on a set have in common, made, so that it counts for none of them."""
    found = Yardstick(load_dataset(data, image_cache=studies / "preprocessed"), studies)
    for part in (found.pseudo, found.belief):
        assert part
    return found


def _trained(first: First, yardstick: Yardstick, subset: int | None) -> Made:
    before = {member.key for member in list_members(yardstick.studies)[0]}
    started = time.process_time()
    settings = TuneSettings(
        family=first.family, trials=first.place + 1, subset=subset, epochs=EPOCHS, device="cpu", transductive=True
    )  # fmt: skip
    tune(yardstick.dataset, settings, studies=yardstick.studies, watcher=Quiet(), yardstick=yardstick)
    seconds = time.process_time() - started
    (key,) = {member.key for member in list_members(yardstick.studies)[0]} - before
    return Made(key, round(seconds, 2))


@dataclass
class Bank:
    """The members of one set.

    Attributes:
        name: the set's name.
        studies: where they are.
        label: the test images' labels.
        made: what each first trial has made.
    """

    name: str
    studies: Path
    label: Labels
    made: Mapping[First, Made]
    _known: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self._cache.exists():
            self._known = json.loads(self._cache.read_text(encoding="utf-8"))
        self.total = sum(made.seconds for made in self.made.values())

    @property
    def _cache(self) -> Path:
        return self.studies / "aucs.json"

    def auc(self, some: Sequence[First]) -> float:
        """The AUC of the blend of these members, whatever their order; of none, chance."""
        keys = sorted(self.made[first].key for first in some)
        if not keys:
            return CHANCE
        name = " ".join(keys)
        if name not in self._known:
            terms = [Term(text=key, members=(load_member(self.studies, key),)) for key in keys]
            blend = blend_members(self.studies, terms, method="auto", name="portfolio")
            self._known[name] = auc(self.label, blend.arrays["test"]).value
            self._cache.write_text(json.dumps(self._known, indent=0), encoding="utf-8")
        return self._known[name]

    def seconds(self, first: First) -> float:
        """What a first trial takes, as a share of what all of them take."""
        return self.made[first].seconds / self.total

    def area(self, order: Sequence[First]) -> float:
        """The mean AUC of the blend so far; see the module."""
        times = np.cumsum([self.seconds(first) for first in order])
        aucs = np.array([self.auc(order[:n]) for n in range(len(order) + 1)])
        edges = np.concatenate([[SHORTEST], np.clip(times, SHORTEST, 1.0), [1.0]])
        return float(np.diff(np.log(edges)) @ aucs / -np.log(SHORTEST))


def greedy(banks: Sequence[Bank], candidates: Sequence[First], *, as_started: bool) -> Order:
    """The order of the largest gain of AUC a second, each the mean over the sets; it ends where nothing gains.

    Args:
        banks: the sets to find it on.
        candidates: what may be in it.
        as_started: whether a family's first trials keep their order.
    """
    order: Order = ()
    while True:
        gains = {}
        for first in candidates:
            before = [each for each in candidates if each.family == first.family and each.place < first.place]
            if first not in order and not (as_started and set(before) - set(order)):
                gain = np.mean([bank.auc((*order, first)) - bank.auc(order) for bank in banks])
                gains[first] = float(gain / np.mean([bank.seconds(first) for bank in banks]))
        best = max(gains, key=lambda first: gains[first], default=None)
        if best is None or gains[best] <= 0:
            return order
        order = (*order, best)


def cheapest(banks: Sequence[Bank], candidates: Sequence[First]) -> Order:
    """By the mean of what each takes on these sets; a family's first trials keep their order."""
    order = sorted(candidates, key=lambda first: np.mean([bank.seconds(first) for bank in banks]))
    left = {name: iter(sorted(f for f in order if f.family == name)) for name in {first.family for first in order}}
    return tuple(next(left[first.family]) for first in order)


def todays(candidates: Sequence[First]) -> Order:
    """The package's order, as far as the bank has it."""
    seen: dict[str, int] = {}
    order = []
    for entry in PORTFOLIO:
        first = First(entry.family, seen.get(entry.family, 0))
        seen[entry.family] = first.place + 1
        order.append(first)
    return tuple(first for first in order if first in candidates)


def judge(banks: Sequence[Bank], *, free: bool) -> dict[str, Any]:
    """Hold orders found on the other sets against today's and random ones, on each set; the orders and their areas."""
    candidates = [first for first in banks[0].made if first.family != TRANSDUCTIVE]
    rng = np.random.default_rng(0)
    chances = [tuple(candidates[i] for i in rng.permutation(len(candidates))) for _ in range(RANDOM_ORDERS)]
    ways = {"found": True, **({"found, start values in any order": False} if free else {})}
    sets: dict[str, Any] = {}
    for bank in banks:
        others = [other for other in banks if other is not bank]
        orders = {name: greedy(others, candidates, as_started=as_started) for name, as_started in ways.items()}
        orders |= {
            "today": todays(candidates),
            "cheapest first": cheapest(others, candidates),
        }
        sets[bank.name] = {
            "orders": {name: _words(order) for name, order in orders.items()},
            "areas": {name: bank.area(order) for name, order in orders.items()},
            "random": [bank.area(order) for order in chances],
            "alone": {str(first): bank.auc([first]) for first in bank.made},
            "seconds": {str(first): made.seconds for first, made in bank.made.items()},
        }
    of_all = {name: _words(greedy(banks, candidates, as_started=as_started)) for name, as_started in ways.items()}
    of_all |= {"cheapest first": _words(cheapest(banks, candidates)), "today": _words(todays(candidates))}
    return {"sets": sets, "orders": of_all}


def place_of_transductive(banks: Sequence[Bank], order: Order) -> dict[str, list[float]]:
    """The area of each set by the place at which the transductive family comes into the order."""
    one = First(TRANSDUCTIVE, 0)
    return {bank.name: [bank.area((*order[:n], one, *order[n:])) for n in range(len(order) + 1)] for bank in banks}


def _words(order: Order) -> str:
    return " ".join(map(str, order))


def open_banks(sets: Path, bank: Path) -> list[Bank]:
    """The sets with the members that all of them have."""
    everywhere = [
        first for first in map(First.of, TRAINED.split()) if all(_file(bank, name, first).exists() for name in SETS)
    ]
    banks = []
    for name in SETS:
        made = {first: Made(**json.loads(_file(bank, name, first).read_text())) for first in everywhere}
        ids = load_dataset(sets / name / "data", image_cache=bank / name / "preprocessed").test.ids
        banks.append(Bank(name, bank / name, read_labels(sets / name / "labels.csv", ids), made))
    return banks


def show(found: Mapping[str, Any], banks: Sequence[Bank]) -> None:
    """Print the tables."""
    firsts = list(banks[0].made)
    print(head("first trial", *(f"{bank.name}: AUC alone (s)" for bank in banks)))
    for first in firsts:
        print(line(first, *(f"{bank.auc([first]):.3f} ({bank.made[first].seconds:.1f})" for bank in banks)))
    rows = found["sets"]
    names = list(next(iter(rows.values()))["areas"])
    print(f"\n{head('set left out', *names, f'random ({RANDOM_ORDERS})')}")
    for name, row in rows.items():
        print(line(name, *(f"{row['areas'][each]:.4f}" for each in names), over_seeds(row["random"], ".4f")))
    means = [f"{np.mean([row['areas'][each] for row in rows.values()]):.4f}" for each in names]
    print(line("mean", *means, f"{np.mean([row['random'] for row in rows.values()]):.4f}"))
    print(f"\n{head('found on', 'way', 'order')}")
    for name, row in rows.items():
        for each, order in row["orders"].items():
            if each.startswith("found"):
                print(line(f"all but {name}", each, order))
    for each, order in found["orders"].items():
        print(line("all", each, order))


def main() -> None:
    """Read the command line, do it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=["make", "judge"])
    arguments.add_argument("--sets", type=Path, required=True)
    arguments.add_argument("--bank", type=Path, required=True)
    arguments.add_argument("--free", action="store_true", help="try start values of a family in any order too")
    arguments.add_argument("--out", type=Path, help="else a file in benchmarks/results, named after the machine")
    given: Any = arguments.parse_args()
    if given.what == "make":
        make(given.sets, given.bank)
        return
    banks = open_banks(given.sets, given.bank)
    found = judge(banks, free=given.free)
    if First(TRANSDUCTIVE, 0) in banks[0].made:
        order = tuple(map(First.of, found["orders"]["today"].split()))
        found["place of the transductive family"] = place_of_transductive(banks, order)
    show(found, banks)
    record("portfolio", given.out, [found])


if __name__ == "__main__":
    main()
