"""A study on its way: which trial comes next, whose worker died, and which objective is followed.

`auto` may begin with `separation` and go on with `both`, which has two directions and so is another study of Optuna's;
the finished trials are taken along, since every member has both values. All of that is done in a worker's turn
(`study_storage`), so that any number of workers see one order of events.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad import statistics
from ensemble_ad.errors import StorageError
from ensemble_ad.layout import checkpoint_file
from ensemble_ad.members.auto_objective import Circumstances, Finished, first_objective, guard
from ensemble_ad.members.choose import best_first
from ensemble_ad.members.measured import Objectives
from ensemble_ad.members.objectives import AUTO, objective
from ensemble_ad.members.store import Member, has_member, load_member, sound_members
from ensemble_ad.search import lease
from ensemble_ad.search.failures import MOST_KILLS, REASON
from ensemble_ad.search.storage import StudyStorage
from ensemble_ad.training import checkpoint
from ensemble_ad.version import __version__

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
FORMAT = 1
"""Of what a study says besides what Optuna keeps of it: the users' attributes of study and trials."""
_STARTUP_TRIALS = 5
_MOVED = "moved"


class Moved(Protocol):
    """Who is told that `auto` judges by an objective, and why."""

    def moved(self, objective: str, reason: str) -> None: ...


class Trials(NamedTuple):
    """How far a study is.

    Attributes:
        finished: complete or pruned.
        running: by live workers, as far as is known.
    """

    finished: int
    running: int


@dataclass(kw_only=True)
class Course:
    """A study on its way.

    Attributes:
        name: of the study.
        start: parameters of the first trials.
        objective: that it was asked for; what is followed, once it has begun.
        transductive: whether the family is.
        epochs: the most that a trial trains.
        seed: of the sampler.
        studies: the studies' folder.
        storage: where the study is kept.
        worker: this worker's lease; empty for one that only looks on.
        watcher: told of moves.
        known: what the guards of `auto` judge by.
    """

    name: str
    start: Sequence[Mapping[str, Any]]
    objective: str
    transductive: bool
    epochs: int
    seed: int
    studies: Path
    storage: StudyStorage
    worker: str
    watcher: Moved
    known: Circumstances
    study: optuna.Study = field(init=False)
    auto: bool = field(init=False)
    _before: optuna.Study | None = field(default=None, init=False)
    _ended: frozenset[int] = field(default=frozenset(), init=False)

    def begin(self) -> None:
        """Open the study where it stands."""
        self.auto, reason = self.objective == AUTO, ""
        with self.storage.turn():
            if self.auto:
                self.objective, reason = ("separation", "") if self.transductive else first_objective(self.known)
            self.study = self._open(self.objective)
            self._notice_move()
            self._ended = frozenset(trial.number for trial in self._ended_trials())
        if reason:
            self.watcher.moved(self.objective, reason)

    def next_trial(self, wanted: int) -> optuna.Trial | None:
        """Start a trial, in this worker's turn; None where enough are finished or running."""
        self._notice_move()
        # Read as rarely as can be: it takes most of a turn, which no two workers have at once.
        trials = self._take_over()
        if self._reconsider(trials):
            trials = self._trials()
        count = self._count(trials)
        if count.finished + count.running >= wanted:
            return None
        return self._ask(trials)

    def follow(self) -> None:
        """Notice what others did to the study; enough for who only looks on."""
        self._notice_move()

    def leave(self) -> None:
        """End what this worker has under way, so that it is queued again at once."""
        for study in (each for each in (self.study, self._before) if each is not None):
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.user_attrs.get("worker") == self.worker:
                    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def names(self) -> list[str]:
        """Of the study, and of what it was moved from."""
        return [study.study_name for study in (self.study, self._before) if study is not None]

    def say(self, name: str, value: str) -> None:
        """Leave a word at the study for all workers."""
        for study in (self.study, self._before):
            if study is not None:
                study.set_user_attr(name, value)

    def trials(self) -> Trials:
        """How far the study is."""
        return self._count(self._trials())

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _count(self, trials: Sequence[FrozenTrial]) -> Trials:
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        if self._before is not None:
            # A trial there may end at any moment, and is as good as running until it is taken along.
            taken = {trial.user_attrs.get("taken_from") for trial in trials}
            running += sum(
                trial.state == TrialState.RUNNING or (trial.state in FINISHED and trial.number not in taken)
                for trial in self._before.get_trials(deepcopy=False)
            )
        return Trials(sum(trial.state in FINISHED for trial in trials), running)

    def _ask(self, trials: Sequence[FrozenTrial]) -> optuna.Trial:
        """Start the first of `trials` that waits, or a new one.

        What a trial draws depends on the seed, its place in the order and the trials before, and on nothing that a kill
        or the number of workers would change.
        """
        waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
        place = None if waiting is None else waiting.user_attrs.get("place")
        if place is None:
            # What still runs in the study that was moved has a place too.
            before = [] if self._before is None else self._before.get_trials(deepcopy=False)
            place = 1 + max((trial.user_attrs.get("place", -1) for trial in (*trials, *before)), default=-1)
        if waiting is None and place < len(self.start):
            self.study.enqueue_trial(dict(self.start[place]), user_attrs={"place": place})
        others = any(trial.state == TrialState.RUNNING for trial in trials)
        with warnings.catch_warnings():
            # `group` is what multivariate TPE needs for parameters that only some architectures have. The heartbeat is
            # ours to keep, as `ask` reminds.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message="Heartbeat of storage")
            self.study.sampler = optuna.samplers.TPESampler(
                seed=_seed(self.seed, place),
                multivariate=True,
                group=True,
                n_startup_trials=_STARTUP_TRIALS,
                constant_liar=others,
            )
            trial = self.study.ask()
        self.storage.backend.record_heartbeat(trial._trial_id)
        trial.set_user_attr("place", place)
        trial.set_user_attr("worker", self.worker)
        return trial

    def _take_over(self) -> list[FrozenTrial]:
        """Queue the trials of workers that died or were interrupted, under their own parameters.

        Returns:
            The study's trials as they are then.
        """
        trials: list[FrozenTrial] = []
        for study in (self._before, self.study):
            if study is None:
                continue
            trials = study.get_trials(deepcopy=False)
            if self._end_dead(study, trials):
                trials = study.get_trials(deepcopy=False)
            if self._queue_again(study, trials):
                trials = study.get_trials(deepcopy=False)
        if self._before is not None and self._take_along(self._before):
            trials = self._trials()
        return trials

    def _end_dead(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> bool:
        """Fail the trials whose worker is dead, or whose heartbeat has stopped, as Optuna's `fail_stale_trials` does.

        But not those of workers that are known to live: where a clock was set forward, every heartbeat looks old.
        """
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        stale = set(self.storage.backend._get_stale_trial_ids(study._study_id)) if running else set()
        changed = False
        for trial in running:
            worker = trial.user_attrs.get("worker")
            # A trial gets its worker in the turn in which it is started: whose has none, died in that turn.
            if worker is None or lease.is_over(self.studies, worker):
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                if worker is not None:
                    lease.forget(self.studies, worker)
            elif trial._trial_id not in stale:
                continue
            elif lease.is_alive(self.studies, worker):
                self.storage.backend.record_heartbeat(trial._trial_id)
                continue
            else:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            changed = True
        return changed

    def _queue_again(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> bool:
        """Queue what failed without a reason of its own, unless it is queued already."""
        changed = False
        queued = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
        for trial in trials:
            if trial.state != TrialState.FAIL or REASON in trial.user_attrs or trial.number in queued:
                continue
            given_up = len(trial.system_attrs.get("retry_history", ())) >= MOST_KILLS
            key = trial.user_attrs.get("key")
            if key is not None and (given_up or study is self._before):
                checkpoint.remove(checkpoint_file(self.studies, key))
            if given_up or "place" not in trial.user_attrs:
                continue
            again = copy.deepcopy(trial)
            if key is None:
                # Killed while it drew: to draw the rest only would be to draw it otherwise.
                again.params, again.distributions = {}, {}
                again.system_attrs = {n: v for n, v in trial.system_attrs.items() if not n.startswith("tpe:")}
            again.user_attrs = {n: v for n, v in trial.user_attrs.items() if n in ("place", "taken_from")}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.RetryHeartbeatStaleTrialCallback()(study, again)
            changed = True
        return changed

    def _reconsider(self, trials: Sequence[FrozenTrial]) -> bool:
        """Move `auto` from `separation` to `both` where a guard fires; whether one did."""
        if not self.auto or self.objective != "separation" or self.transductive:
            return False
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        reason = guard([Finished.of(self._objectives(trial)) for trial in complete], self.known)
        if reason:
            both = self._open("both")
            self._take_along(self.study, both)
            self.study.set_user_attr(_MOVED, reason)
            self._notice_move()
        return bool(reason)

    def _notice_move(self) -> None:
        """Follow a study that this worker or another has moved."""
        if self.auto and self.objective == "separation" and _MOVED in (attrs := self.study.user_attrs):
            self._before, self.objective = self.study, "both"
            self.study, self._ended = self._open("both"), frozenset()
            self.watcher.moved("both", attrs[_MOVED])

    def _take_along(self, before: optuna.Study, after: optuna.Study | None = None) -> bool:
        """Copy the finished trials of `before`, and queue those that it has queued; whether there were any."""
        after, changed = after or self.study, False
        taken = {trial.user_attrs.get("taken_from") for trial in after.get_trials(deepcopy=False)}
        for trial in before.get_trials(deepcopy=False):
            if trial.number in taken or trial.state not in (*FINISHED, TrialState.WAITING):
                continue
            attrs = {**trial.user_attrs, "taken_from": trial.number}
            waits = trial.state == TrialState.WAITING
            values = both_values(self._objectives(trial)) if trial.state == TrialState.COMPLETE else None
            after.add_trial(
                optuna.trial.create_trial(
                    state=trial.state,
                    values=values,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs=attrs,
                    # What else Optuna notes of a trial that waits are numbers of trials in `before`.
                    system_attrs={n: v for n, v in trial.system_attrs.items() if waits and n == "fixed_params"},
                )
            )
            changed = True
        return changed

    def _objectives(self, trial: FrozenTrial) -> Objectives:
        """What the objectives say of a completed trial; studies of older versions have it in the members alone."""
        told = trial.user_attrs.get("objectives")
        if told:
            return Objectives.from_json(told)
        return load_member(self.studies, trial.user_attrs["member"]).info.objectives

    def _open(self, objective_name: str) -> optuna.Study:
        name = f"{self.name}-{objective_name}" if self.auto and objective_name != "separation" else self.name
        study = optuna.create_study(
            study_name=name,
            storage=self.storage.backend,
            directions=[objective(objective_name).direction] * (2 if objective_name == "both" else 1),
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=max(1, self.epochs // 5)
            ),
        )
        attrs = study.user_attrs
        if "format" not in attrs:
            study.set_user_attr("format", FORMAT)
            study.set_user_attr("version", __version__)
        elif attrs["format"] != FORMAT:
            raise StorageError(
                f"the study {name} in {self.storage.where} has format {str(attrs['format'])[:20]} (ensemble_ad "
                f"{str(attrs.get('version'))[:20]}), and this version, {__version__}, reads {FORMAT}; use the ensad "
                "that wrote it, or another --studies or --storage"
            )
        return study

    def consensus(self) -> npt.NDArray[np.float64] | None:
        """Mean rank of the test images over the finished trials, for the objective of that name."""
        if self.objective != "consensus" or not (members := sound_members(self.members())[0]):
            return None
        columns = [member.vectors()[1][:, member.columns.index(member.main_column)] for member in members]
        ranks: npt.NDArray[np.float64] = statistics.midranks(np.stack(columns).astype(np.float64)).mean(axis=0)
        return ranks

    def told(self, member: Member) -> list[float]:
        """A member's value in each of the study's directions."""
        return both_values(member.info.objectives) if self.objective == "both" else [member.value]

    def members(self) -> list[Member]:
        """The completed trials' members that are in this studies' folder."""
        keys = [trial.user_attrs["member"] for trial in self.complete()]
        return [load_member(self.studies, key) for key in keys if has_member(self.studies, key)]

    def complete(self) -> list[FrozenTrial]:
        """The completed trials."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def failed(self) -> list[FrozenTrial]:
        """The trials that failed, those that were interrupted or killed and are queued again among them."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))

    def failures_in_a_row(self) -> list[str]:
        """Why the latest trials failed, the last one's reason first, up to one that did not; of this run alone."""
        reasons = []
        for trial in reversed([trial for trial in self._ended_trials() if trial.number not in self._ended]):
            if REASON not in trial.user_attrs:
                break
            reasons.append(str(trial.user_attrs[REASON]))
        return reasons

    def _ended_trials(self) -> list[FrozenTrial]:
        """Finished ones and failed ones, without those that were killed or stopped and are done again."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state in FINISHED or REASON in trial.user_attrs]

    def best(self) -> Member | None:
        """The best of `members`."""
        members = self.members()
        return best_first(members, self.objective)[0] if members else None


def both_values(known: Objectives) -> list[float]:
    """A member's values in the two directions of `both`."""
    assert known.separation
    assert known.synthetic
    return [float(known.separation.value), float(known.synthetic.value)]


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
