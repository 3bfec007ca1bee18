"""One worker of a study: it trains trial after trial until enough are finished."""

import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.trial import TrialState

from ensemble_ad.errors import DataError, DivergedError, EnsadError, StorageError, in_one_line
from ensemble_ad.layout import checkpoint_file
from ensemble_ad.members.info import TrialInfo
from ensemble_ad.members.objectives import AUTO, Judgement
from ensemble_ad.members.store import Member, discard_damaged, has_member
from ensemble_ad.search.allowance import Pace, TooLongError, shortened
from ensemble_ad.search.artifacts import Artifacts
from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.plan import Plan
from ensemble_ad.search.signals import heed
from ensemble_ad.search.storage import FAILURES
from ensemble_ad.search.study import SharedStudy
from ensemble_ad.search.travel import pull, push
from ensemble_ad.search.watcher import Watcher
from ensemble_ad.statistics.arrays import Labels
from ensemble_ad.statistics.belief import Belief
from ensemble_ad.training.believed import Yardstick
from ensemble_ad.training.judge import JudgedBy, OnJudged, Resumed
from ensemble_ad.training.loop import Epoch
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.threads import Threads, fitting_threads

_FAILURES_IN_A_ROW = 10
# Seconds between two looks at the other workers' trials, where there is none to start.
_LEAST_WAIT, _MOST_WAIT = 0.2, 5.0
_DIGITS = re.compile(r"\d+")


class _Outcome(NamedTuple):
    """How a trial has ended: see `Watcher.trial`."""

    state: str
    value: float | None = None
    note: str = ""


@dataclass(kw_only=True)
class Worker:
    """One worker of a study.

    Attributes:
        plan: what a trial trains.
        shared: the study, open.
        studies: the studies' folder.
        watcher: told of every epoch and trial.
        label: (k,) of 0 and 1 for the test images; None where the objective needs none.
        artifacts: where members travel; None where all machines share the folder.
        yardstick: what trials are measured by.
    """

    plan: Plan
    shared: SharedStudy
    studies: Path
    watcher: Watcher
    label: Labels | None
    artifacts: Artifacts | None
    yardstick: Yardstick
    _threads: Threads = field(init=False, repr=False)

    def run(self) -> None:
        """Train trials until enough are finished or the time is up; meanwhile wait for those of other workers.

        Raises:
            Interrupted: on Ctrl-C.
            EnsadError: if the storage fails, a trial meets what the next one would meet too, or ten in a row fail.
        """
        settings = self.plan.settings
        with fitting_threads(repeats=settings.timeout is None and settings.allowance is None) as self._threads:
            self._train_all()

    def _train_all(self) -> None:
        settings, shared = self.plan.settings, self.shared
        deadline = math.inf if settings.timeout is None else time.monotonic() + settings.timeout
        wait = _LEAST_WAIT
        while True:
            with shared.storage.turn():
                late = time.monotonic() >= deadline
                trial = shared.next_trial(0 if late else settings.trials)
            if trial is not None:
                with shared.storage.heartbeat(trial):
                    self._work_on(trial)
                wait = _LEAST_WAIT
            elif late or shared.count().finished >= settings.trials:
                return
            else:
                time.sleep(min(wait, max(0.0, deadline - time.monotonic())))
                wait = min(2 * wait, _MOST_WAIT)

    def _work_on(self, trial: optuna.Trial) -> None:
        """Train a trial and tell Optuna and the watcher how it has ended."""
        self._threads.fit()
        try:
            outcome = self._train(trial)
        except Exception as error:
            outcome = self._ended_by(error, trial)
        best, note = self.shared.best(), outcome.note or self._threads.note()
        self.watcher.trial(trial.number, outcome.state, outcome.value, None if best is None else best.value, note)
        if outcome.state == "failed":
            self._stop_where_all_fail()

    def _train(self, trial: optuna.Trial) -> _Outcome:
        """Make a trial's member, or find it in the cache."""
        shared = self.shared
        drawn = self.plan.recipe(trial)
        recipe = self._affordable(trial, drawn)
        TrialNotes(key=recipe.key).write(trial)
        self._fetch(recipe)
        damaged = discard_damaged(self.studies, recipe.key)
        was_cached = has_member(self.studies, recipe.key)
        member = self._fit(trial, drawn, recipe)
        if was_cached:  # the pruner compares later trials with its epochs too
            self._catch_up(trial)({epoch.number: epoch.value for epoch in member.info.history})
        if self.artifacts is not None:
            push(self.artifacts, trial, member, self.studies)
        TrialNotes(member=member.key, objectives=member.info.objectives, value=member.value).write(trial)
        shared.study.tell(trial, member.value)
        return _Outcome("cached" if was_cached else "complete", member.value, damaged or "")

    def _affordable(self, trial: optuna.Trial, drawn: Recipe) -> Recipe:
        """What a trial trains: what it has drawn, shortened where it would take too long.

        A training that has a checkpoint, shortened or not, is gone on with as it is.
        """
        before, allowance = trial.user_attrs.get("share"), self.plan.settings.allowance
        if before is not None and self._is_begun(shortened(drawn, before, self.plan.trained_rows)):
            return self._shortened(trial, drawn, before)
        share = 1.0 if allowance is None or self._is_begun(drawn) else allowance.share(drawn)
        return drawn if share == 1 else self._shortened(trial, drawn, share)

    def _is_begun(self, recipe: Recipe) -> bool:
        return checkpoint_file(self.studies, recipe.key).exists()

    def _shortened(self, trial: optuna.Trial, drawn: Recipe, share: float) -> Recipe:
        recipe = shortened(drawn, share, self.plan.trained_rows)
        TrialNotes(share=share, key=recipe.key).write(trial)
        return recipe

    def _fit(self, trial: optuna.Trial, drawn: Recipe, recipe: Recipe) -> Member:
        """Make a trial's member; where its first epochs tell that it would take too long, a shorter one's."""
        allowance, shared = self.plan.settings.allowance, self.shared
        share = 1.0 if recipe == drawn else trial.user_attrs["share"]
        pace = None if allowance is None else Pace(allowance, share, allowance.scoring(drawn))
        judged_by = JudgedBy(
            pseudo=None if self.plan.kind.transductive else self.yardstick.pseudo,
            belief=self.yardstick.belief if shared.objective == AUTO else Belief(),
            consensus=shared.consensus(),
            label=self.label,
        )
        while True:
            heed()
            try:
                return fit_member(
                    self.plan.dataset,
                    recipe,
                    studies=self.studies,
                    device=self.plan.device,
                    judged_by=judged_by,
                    after_epoch=self._reporter(trial, recipe, pace),
                    resumed=self._catch_up(trial),
                    trial=TrialInfo(study=shared.study.study_name, number=trial.number, parameters=trial.params),
                    prepared=self.yardstick.prepared,
                )
            except TooLongError as error:
                assert pace is not None
                pace.again(error.share)
                recipe = self._shortened(trial, drawn, error.share)

    def _ended_by(self, error: Exception, trial: optuna.Trial) -> _Outcome:
        """Tell Optuna of what has ended a trial, and raise what the next trial would meet too."""
        if isinstance(error, optuna.TrialPruned):
            self.shared.study.tell(trial, state=TrialState.PRUNED)
            return _Outcome("pruned")
        if isinstance(error, optuna.exceptions.UpdateFinishedTrialError):
            # This machine was silent for so long, asleep perhaps, that another worker has taken the trial over.
            return _Outcome("lost")
        if isinstance(error, StorageError | DataError | OSError):
            # A full disk, images that have changed, ...: the trial is queued again, once what is wrong is mended.
            self._fail(trial, TrialNotes(stopped=str(error)))
            raise error
        if isinstance(error, FAILURES):
            raise error
        # Another error of ours is not about this draw of parameters, and any other kind may be.
        ours = isinstance(error, EnsadError) and not isinstance(error, DivergedError)
        reason = str(error) if ours else in_one_line(error, with_kind=True)
        self._fail(trial, TrialNotes(reason=reason))
        if ours:
            raise error
        return _Outcome("failed", note=reason)

    def _fail(self, trial: optuna.Trial, why: TrialNotes) -> None:
        try:
            why.write(trial)
            self.shared.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        except optuna.exceptions.UpdateFinishedTrialError:
            return  # another worker has taken it over

    def _stop_where_all_fail(self) -> None:
        reasons = self.shared.failures_in_a_row()
        if len(reasons) < _FAILURES_IN_A_ROW:
            return
        # Reasons may differ by numbers alone, such as the epoch in which a loss became NaN.
        alike = [_DIGITS.sub("#", reason) for reason in reasons]
        common, times = Counter(alike).most_common(1)[0]
        raise EnsadError(
            f"stopped: {len(reasons)} trials in a row failed, {times} of them with {reasons[alike.index(common)]}; "
            "mend that and run the same command again; `ensad compare --failed` lists them"
        )

    def _fetch(self, recipe: Recipe) -> None:
        """Fetch what another machine has made already: this member, or all where the objective needs them."""
        if self.artifacts is not None:
            pull(
                self.artifacts,
                self.shared.storage.backend,
                self.studies,
                study_names=[self.shared.study.study_name],
                key=None if self.shared.objective == "consensus" else recipe.key,
            )

    def _reporter(self, trial: optuna.Trial, recipe: Recipe, pace: Pace | None) -> OnJudged:
        """Tells the watcher and Optuna of each epoch, and prunes."""
        begun_again = pace is not None and pace.restarts > 0

        def after_epoch(epoch: Epoch, judgement: Judgement) -> None:
            self.watcher.epoch(trial.number, epoch, recipe.training.epochs, judgement)
            heed()
            self._threads.fit()
            if not begun_again:  # Optuna keeps the first value of each epoch
                trial.report(judgement.value, epoch.number)
            if pace is not None:
                pace.epoch(epoch.number, recipe.training.epochs)
            finished = epoch.number == recipe.training.epochs
            if self.plan.settings.prune and not (finished or begun_again) and trial.should_prune():
                raise optuna.TrialPruned

        return after_epoch

    def _catch_up(self, trial: optuna.Trial) -> Resumed:
        """Tells Optuna of epochs that it has not seen: before a checkpoint, or of a member that was cached."""

        def resumed(values: Mapping[int, float]) -> None:
            for number, value in values.items():
                trial.report(value, number)

        return resumed
