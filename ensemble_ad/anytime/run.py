"""A run: trials of many families by turns within one budget, and after each the blend of the best members.

Every family keeps the Optuna study that `ensad tune` works on, so that both share their trials. A run that is stopped,
or killed, has its latest blend on disk; the same command goes on with the time that is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Protocol

from ensemble_ad.anytime.budget import Budget
from ensemble_ad.anytime.portfolio import Entry, portfolio
from ensemble_ad.anytime.record import RunRecord
from ensemble_ad.anytime.schedule import Done, choose
from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.foreseen import foreseen_auc
from ensemble_ad.blend.of_members import blend_members
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import DataError, EnsadError, Interrupted, StorageError, UsageError
from ensemble_ad.files.whole import make_folder
from ensemble_ad.layout import blend_folder, run_file
from ensemble_ad.members.choose import select
from ensemble_ad.members.store import DamagedError, Member, list_members
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.tune import TuneResult, finished_trials
from ensemble_ad.search.watcher import Watcher

_END_SECONDS = 1.5  # what stopping a trial, the last blend's files and the CSV take besides the blending
_BLENDING = 0.1  # the share of the time that blends may take before the last one


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is told.

    Attributes:
        name: the run's and its blend's name.
        families: the families that the user named; None is the portfolio.
        trials: how many trials the run makes in all; None where its budget ends it.
        tuning: what every study is told; its family and its number of trials are the run's.
    """

    name: str = "run"
    families: tuple[str, ...] | None = None
    trials: int | None = None
    tuning: TuneSettings


class RunWatcher(Watcher, Protocol):
    """Is told how a run goes on."""

    def turn(self, family: str, seconds: float, left: float) -> None:
        """A trial of that family begins, which should take so many seconds of those that are left."""

    def blended(self, made: SavedBlend, done: Sequence[Done], used: float) -> None:
        """There is a new blend, after these trials and so many seconds."""

    def warn(self, text: str) -> None:
        """A family or a member is left out, and why."""


class SilentWatcher:
    """A `RunWatcher` that shows nothing."""

    def turn(self, *what: object) -> None:
        """Whatever it is told, it keeps quiet."""

    study = epoch = trial = blended = warn = turn


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        blend: its last blend; None where no member was made.
        done: its trials.
        used: seconds of wall time that it has taken over all its commands.
        interrupted: whether the user stopped it.
    """

    blend: SavedBlend | None
    done: tuple[Done, ...]
    used: float
    interrupted: bool


Tune = Callable[[TuneSettings, Watcher], TuneResult]
"""Runs a study until it has the trials that it is told of, as `tune` and `tune_together` do."""


def begin(dataset: Dataset, settings: RunSettings, studies: Path) -> RunRecord:
    """What the run has kept; it is checked before anything is trained that its name is free.

    Raises:
        UsageError: if the name is that of a blend which no run has made, or of a run on other images.
        StorageError: if the record is damaged, or the folder cannot be written to.
    """
    make_folder(studies)
    name, path = settings.name, run_file(studies, settings.name)
    record = RunRecord.load(studies, name, dataset.fingerprint)
    if blend_folder(studies, name).exists() and not path.exists():
        raise UsageError(f"the name {name!r} is taken by a blend that no run has made; choose another with --name")
    record.save(studies, name)
    return record


@dataclass(kw_only=True)
class Run:
    """A run that is under way.

    Attributes:
        dataset: the images.
        settings: what the run is told.
        studies: the studies' folder.
        budget: the time of this command.
        record: what was kept of the commands before.
        tune: runs a study.
        watcher: told of what happens.
    """

    dataset: Dataset
    settings: RunSettings
    studies: Path
    budget: Budget
    record: RunRecord
    tune: Tune
    watcher: RunWatcher
    done: list[Done] = field(default_factory=list, init=False)
    blend: SavedBlend | None = field(default=None, init=False)
    _kept: dict[str, int] = field(default_factory=dict, init=False)
    _entries: list[Entry] = field(default_factory=list, init=False)
    _blended: frozenset[str] = field(default=frozenset(), init=False)
    _unblended: int = field(default=0, init=False)
    _curve: list[tuple[float, float]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        tuning = self.settings.tuning
        self._entries = list(
            portfolio(
                self.dataset, self.settings.families, size=tuning.tile or tuning.size, transductive=tuning.transductive
            )
        )
        names = dict.fromkeys(entry.family for entry in self._entries)
        self._kept = {name: finished_trials(self.dataset, replace(tuning, family=name), self.studies) for name in names}
        self.record = replace(self.record, before={**self._kept, **self.record.before})
        self.done += self.record.done
        self._curve += self.record.curve

    def go_on(self) -> RunResult:
        """Train and blend until the time or the trials are used up, or the user stops it.

        Raises:
            EnsadError: for what the next trial of any family would meet too.
        """
        self._keep()
        interrupted = False
        try:
            while self._train_one():
                if self._blending_is_due():
                    self._make_blend()
        except (Interrupted, KeyboardInterrupt):
            interrupted = not self.budget.over
        self._make_blend()
        self._keep()
        return RunResult(blend=self.blend, done=tuple(self.done), used=self._used, interrupted=interrupted)

    def _train_one(self) -> bool:
        """Train one trial of the family that promises most; False where none fits or all are made."""
        made = sum(self._kept[name] - self.record.before[name] for name in self._kept)
        if self.settings.trials is not None and made >= self.settings.trials:
            return False
        reserve = self._reserve()
        following = choose(self._entries, self.done, self._kept, self.budget.left - reserve)
        if following is None:
            return False
        self.watcher.turn(following.family, following.seconds, self.budget.left)
        name, started = following.family, monotonic()
        wanted = self._kept[name] + 1
        try:
            with self.budget.within(reserve):
                result = self.tune(replace(self.settings.tuning, family=name, trials=wanted), self.watcher)
        except (Interrupted, DataError, StorageError):
            raise
        except EnsadError as error:
            self._drop(name, str(error))
            return bool(self._entries)
        self._kept[name] = result.finished
        self._unblended += 1
        self.done.append(Done(family=name, gain=0.0, seconds=monotonic() - started))
        self._keep()
        return True

    def _drop(self, name: str, why: str) -> None:
        self._entries = [entry for entry in self._entries if entry.family != name]
        self.watcher.warn(f"{name} is left out: {why}")

    def _reserve(self) -> float:
        """Seconds that the end takes: the last blend, its files and the CSV."""
        return _END_SECONDS + (1.5 * self.blend.info.seconds if self.blend else 0.0)

    def _blending_is_due(self) -> bool:
        """Whether blends have taken so little of the time that another may be made between two trials."""
        return self.blend is None or self.blend.info.seconds < _BLENDING * self._seconds_since_the_blend()

    def _seconds_since_the_blend(self) -> float:
        return sum(trial.seconds for trial in self.done[len(self.done) - self._unblended :])

    def _make_blend(self) -> None:
        """Blend the best members anew, unless they are the same as before."""
        while members := self._members():
            terms = select(members, ",".join(sorted({member.family for member in members})))
            keys = frozenset(member.key for term in terms for member in term.members)
            if keys == self._blended:
                self._credit(0.0)
                return
            tuning = self.settings.tuning
            try:
                made = blend_members(
                    self.studies,
                    terms,
                    method="auto",
                    anomaly_share=tuning.anomaly_share,
                    name=self.settings.name,
                    seed=tuning.seed,
                    overwrite=True,
                )
            except DamagedError as error:
                self.watcher.warn(error.set_aside())
                continue
            value = _value(made, members)
            self._credit(value - (self._curve[-1][1] if self.blend else 0.5))
            self.blend, self._blended = made, keys
            self._curve.append((round(self._used, 2), value))
            self._keep()
            self.watcher.blended(made, self.done, self._used)
            return

    def _credit(self, gain: float) -> None:
        """Share the gain of a blend among the trials since the one before."""
        for place in range(len(self.done) - self._unblended, len(self.done)):
            self.done[place] = replace(self.done[place], gain=gain / self._unblended)
        self._unblended = 0

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


def _value(blend: SavedBlend, members: Sequence[Member]) -> float:
    """By what families earn their time: the blend's separation, or, without test images, what it foresees."""
    if blend.info.separation is not None:
        return blend.info.separation.value
    return foreseen_auc(stacked(list(blend.weights), members))
