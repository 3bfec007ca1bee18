"""A run: trials of many families by turns within one budget, and after each the blend of the best members.

Within a time, a trial that would not end in what is left is shortened (`search.allowance`), or not started. A run of a
number of trials looks at no clock, so that it repeats.

Every family keeps the Optuna study that `ensad tune` works on, so that both share their trials. A run that is stopped,
or killed, has its blend on disk; the same command goes on with the time that is left.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic

from ensemble_ad.anytime.blender import Blender, Made
from ensemble_ad.anytime.budget import Budget
from ensemble_ad.anytime.cost import allowance, rates
from ensemble_ad.anytime.portfolio import Entry, portfolio
from ensemble_ad.anytime.record import Done, RunRecord
from ensemble_ad.anytime.schedule import Next, choose
from ensemble_ad.anytime.standing import RunWatcher, Standing, standings
from ensemble_ad.blend.saved import SavedBlend, load_blend
from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import DataError, EnsadError, Interrupted, StorageError, UsageError
from ensemble_ad.files.lock import held
from ensemble_ad.layout import blend_folder, run_file, run_lock
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.search.allowance import Rate
from ensemble_ad.search.plan import Plan, TuneSettings
from ensemble_ad.search.storage import StudyStorage, storage_failures
from ensemble_ad.search.study import Count
from ensemble_ad.search.tune import TuneResult, count_trials
from ensemble_ad.search.watcher import Watcher

_END_SECONDS = 1.5  # what stopping a trial, the last blend's files and the CSV take besides the blending
_BLENDING = 0.1  # the share of the time that blends may take between trials
_LONG_BLEND = 3.0  # seconds; what takes longer is made in the background of the next trial
_USUAL_IMAGES = 8966  # those that the portfolio's costs are told of


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is told.

    Attributes:
        name: the run's and its blend's name.
        families: the families that the user named; None is the portfolio.
        trials: how many trials the run makes in all; None where its budget ends it.
        abreast: how many trials are trained at once, by as many workers.
        tuning: what every study is told; its family, its number of trials and its allowance are the run's.
    """

    name: str = "run"
    families: tuple[str, ...] | None = None
    trials: int | None = None
    abreast: int = 1
    tuning: TuneSettings


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        blend: its last blend; None where no member was made.
        done: its trials.
        standing: how its families stand.
        curve: pairs of seconds and the blend's value then.
        doubts: why what its trials were judged by should be trusted less.
        used: seconds of wall time that it has taken over all its commands.
        interrupted: whether the user stopped it.
    """

    blend: SavedBlend | None
    done: tuple[Done, ...]
    standing: tuple[Standing, ...]
    curve: tuple[tuple[float, float], ...]
    doubts: tuple[str, ...]
    used: float
    interrupted: bool


Tune = Callable[[TuneSettings, Watcher], TuneResult]
"""Runs a study until it has the trials that it is told of, as `tune` and `tune_together` do."""
Fetch = Callable[[Sequence[str]], None]
"""Fetches the members that other machines have made in the studies of these names."""


@contextmanager
def begun(dataset: Dataset, settings: RunSettings, studies: Path) -> Iterator[RunRecord]:
    """What the run has kept; while entered no other process goes on with it.

    Raises:
        UsageError: if the name is that of a blend which no run has made, of a run on other images, or of a run that
            another process goes on with.
        StorageError: if the record is damaged, or the folder cannot be written to.
    """
    name, path = settings.name, run_file(studies, settings.name)
    with held(run_lock(studies, name), _under_way(name)):
        record = RunRecord.load(studies, name, dataset.fingerprint)
        if blend_folder(studies, name).exists() and not path.exists():
            raise UsageError(f"the name {name!r} is taken by a blend that no run has made; choose another with --name")
        record.save(studies, name)
        yield record


def _under_way(name: str) -> UsageError:
    return UsageError(
        f"the run {name!r} is under way in another process; wait for its end, or begin another beside it with --name, "
        "which shares its trials"
    )


def _nothing(names: Sequence[str]) -> None:
    """All members are in this folder."""


@dataclass(kw_only=True)
class Run:
    """A run that is under way.

    Attributes:
        dataset: the images.
        settings: what the run is told.
        studies: the studies' folder.
        storage: where the studies are kept.
        budget: the time of this command.
        record: what was kept of the commands before.
        tune: runs a study.
        watcher: told of what happens.
        fetch: called before each blend; may fetch what other machines have made.
    """

    dataset: Dataset
    settings: RunSettings
    studies: Path
    storage: StudyStorage
    budget: Budget
    record: RunRecord
    tune: Tune
    watcher: RunWatcher
    fetch: Fetch = _nothing
    done: list[Done] = field(default_factory=list, init=False)
    _names: dict[str, str] = field(default_factory=dict, init=False)  # of each family's study
    _kept: dict[str, int] = field(default_factory=dict, init=False)  # finished trials of each family's study
    _entries: list[Entry] = field(default_factory=list, init=False)
    _blender: Blender = field(init=False)
    _credited: int = field(default=0, init=False)  # how many trials know what they have gained
    _blending: int = field(default=0, init=False)  # how many trials the blend in the background is made after
    _curve: list[tuple[float, float]] = field(default_factory=list, init=False)
    _value: float = field(default=0.5, init=False)
    _doubts: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        tuning = self.settings.tuning
        self._entries = list(
            portfolio(
                self.dataset, self.settings.families, size=tuning.tile or tuning.size, transductive=tuning.transductive
            )
        )
        for name in dict.fromkeys(entry.family for entry in self._entries):
            self._names[name] = Plan(self.dataset, replace(tuning, family=name)).study_name
            self._kept[name] = self._count_of(name).finished
        self.record = replace(self.record, before={**self._kept, **self.record.before})
        self.done += self.record.done
        self._credited = len(self.done)
        self._curve += self.record.curve
        self._value = self._curve[-1][1] if self._curve else self._value
        self._blender = Blender(
            studies=self.studies,
            name=self.settings.name,
            seed=tuning.seed,
            anomaly_share=tuning.anomaly_share,
            arrive=partial(self.fetch, list(self._names.values())),
            members=self._members,
            warn=self.watcher.warn,
        )

    def go_on(self) -> RunResult:
        """Train and blend until the time or the trials are used up, or the user stops it.

        Raises:
            EnsadError: for what the next trial of any family would meet too.
        """
        self._keep()
        interrupted = False
        try:
            self._take(self._blender.make(), len(self.done))  # of members that are there already
            while self._train_one():
                self._blend_between()
        except (Interrupted, KeyboardInterrupt):
            interrupted = not self.budget.over
        interrupted = self._blend_last() or interrupted
        return RunResult(
            blend=self._blender.blend or self._kept_blend(),
            done=tuple(self.done),
            standing=tuple(self._standing()),
            curve=tuple(self._curve),
            doubts=tuple(dict.fromkeys(doubt for doubts in self._doubts.values() for doubt in doubts)),
            used=self._used,
            interrupted=interrupted,
        )

    def _train_one(self) -> bool:
        """Train one trial of the family that promises most, or one a worker; False where none fits or all are made."""
        count = self._count()
        reserve = self._reserve()
        following = self._choose(self.budget.left - reserve) if count else None
        if following is None:
            return False
        self.watcher.turn(following.family, following.seconds, self.budget.left)
        name, started = following.family, monotonic()
        settings = replace(
            self.settings.tuning,
            family=name,
            trials=self._kept[name] + count,
            allowance=allowance(self.budget, self.budget.left - reserve, following.seconds, self._rates(name)),
        )
        try:
            with self.budget.within(reserve):
                result = self.tune(settings, self.watcher)
        except (Interrupted, DataError, StorageError):
            raise
        except EnsadError as error:
            self._drop(name, str(error))
            return bool(self._entries)
        made = max(1, min(count, result.finished - self._kept[name]))
        self._kept[name], self._doubts[name] = result.finished, result.doubts
        self.done += [Done(family=name, gain=0.0, seconds=(monotonic() - started) / made)] * made
        self._keep()
        self.watcher.trained(self._standing())
        return True

    def _count(self) -> int:
        """How many trials come next: one a worker, and no more than are left to make."""
        made = sum(max(0, self._kept[name] - self.record.before[name]) for name in self._kept)
        wanted = self.settings.trials
        return self.settings.abreast if wanted is None else min(self.settings.abreast, max(0, wanted - made))

    def _choose(self, left: float) -> Next | None:
        """The next trial: of a family that no other process trains now, unless they train all that fit."""
        scale, entries = len(self.dataset.train) / _USUAL_IMAGES, self._entries
        busy: Next | None = None
        while entries and (found := choose(entries, self._timed(), self._kept, left, scale=scale)) is not None:
            count, name = self._count_of(found.family), found.family
            if count.finished > self._kept[name]:  # another process has made some meanwhile
                self._kept[name] = count.finished
            elif count.running:
                busy = busy or found
                entries = [entry for entry in entries if entry.family != name]
            else:
                return found
        return busy

    def _count_of(self, name: str) -> Count:
        """How far a family's study is, whoever has made its trials."""
        with storage_failures(self.studies, self.settings.tuning.storage):
            return count_trials(self._names[name], self.storage, self.studies)

    def _timed(self) -> list[Done]:
        """The trials, without their seconds where no time is given, so that such a run repeats."""
        return self.done if self.budget.seconds is not None else [replace(trial, seconds=0.0) for trial in self.done]

    def _rates(self, name: str) -> tuple[Rate | None, Rate | None]:
        rows = len(self.dataset.split().train)
        return rates([member for member in self._members() if member.family == name], rows)

    def _drop(self, name: str, why: str) -> None:
        self._entries = [entry for entry in self._entries if entry.family != name]
        self.watcher.warn(f"{name} is left out: {why}")

    def _reserve(self) -> float:
        """Seconds that the end takes: the last blend, one that is under way, the files and the CSV."""
        return _END_SECONDS * self.budget.slowness + (2.5 if self._blender.is_busy else 1.5) * self._blender.seconds

    def _blend_between(self) -> None:
        """Blend between two trials; where that takes long and the run has a time, in the background of the next one."""
        self._fetch(wait=False)
        if self._blender.is_busy:
            return
        if self.budget.seconds is None or self._blender.blend is None:
            self._take(self._blender.make(), len(self.done))
        elif self._blender.seconds > _LONG_BLEND:
            self._blending = len(self.done)
            self._blender.begin()
        elif self._blender.seconds < _BLENDING * sum(trial.seconds for trial in self.done[self._credited :]):
            self._take(self._blender.make(), len(self.done))

    def _blend_last(self) -> bool:
        """Blend all that there is; whether the user stopped that, so that the blend before it stays."""
        interrupted = False
        try:
            self._fetch(wait=True)
            self._take(self._blender.make(), len(self.done))
        except KeyboardInterrupt:
            interrupted = True
        self._blender.close()
        self._fetch(wait=False)
        self._keep()
        return interrupted

    def _kept_blend(self) -> SavedBlend | None:
        """The blend of the command before, where this one was stopped before it had made one."""
        name = self.settings.name
        return load_blend(self.studies, name) if blend_folder(self.studies, name).exists() else None

    def _fetch(self, *, wait: bool) -> None:
        ended, made = self._blender.fetch(wait=wait)
        if ended:
            self._take(made, self._blending)

    def _take(self, made: Made | None, trials: int) -> None:
        """Share the gain of a blend, made after so many trials, among those since the one before.

        Where it is not taken, the trials have lost, and the value stays.
        """
        gain = 0.0 if made is None else made.value - self._value
        for place in range(self._credited, trials):
            self.done[place] = replace(self.done[place], gain=gain / (trials - self._credited))
        self._credited = trials
        if made is None:
            return
        point = (round(self._used, 2), made.value)
        if not made.taken:
            self.watcher.passed_over(point, self._value)
            return
        self._value = made.value
        self._curve.append(point)
        self._keep()
        self.watcher.blended(made.blend, self._standing(), self._curve)

    @property
    def _used(self) -> float:
        return self.record.used + self.budget.used

    def _keep(self) -> None:
        """Keep how much time is used and for what, for the next command of this run."""
        kept = replace(self.record, used=self._used, curve=tuple(self._curve), done=tuple(self.done))
        kept.save(self.studies, self.settings.name)

    def _members(self) -> list[Member]:
        """The members that a blend of this run may have."""
        tuning, named = self.settings.tuning, self.settings.families
        return [
            member
            for member in list_members(self.studies)[0]
            if member.data == self.dataset.fingerprint
            and (named is None or member.family in named)
            and (tuning.transductive or not member.info.transductive)
            and (member.info.recipe.labels is None or tuning.labels_hash is not None)
        ]

    def _standing(self) -> list[Standing]:
        return standings(self.done, self._members())
