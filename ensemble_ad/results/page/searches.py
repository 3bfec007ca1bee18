"""What Optuna's studies say: history, importance of hyperparameters, slices; by the members where no study is left."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble_ad.errors import EnsadError
from ensemble_ad.layout import studies_database
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.trials import Search, Slice, Trial

if TYPE_CHECKING:
    import optuna

_LEAST_FOR_IMPORTANCE = 4
MOST_SLICES = 6
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def searches(
    studies: Path, url: str | None, members: Sequence[Member], seed: int
) -> tuple[tuple[Search, ...], list[str]]:
    """The studies that members came from, and a line about what is missing.

    Args:
        studies: the studies' folder; nothing is made there.
        url: URL of Optuna's storage; None is SQLite in the studies' folder.
        members: members of one data set.
        seed: seed of the trees that importance is computed with.
    """
    of_study: dict[str, list[Member]] = {}
    for member in members:
        if member.info.trial:
            of_study.setdefault(member.info.trial.study, []).append(member)
    if not of_study:
        return (), []
    with _stored(studies, url) as (stored, why):
        found, notes = [], [] if why is None else [why]
        for name, made in of_study.items():
            study = stored.get(name)
            search = _of_members(name, made) if study is None else _of_study(study, made, seed)
            if search is not None:
                found.append(search)
    return tuple(sorted(found, key=lambda search: (search.family, search.study))), notes


@contextmanager
def _stored(studies: Path, url: str | None) -> Iterator[tuple[Mapping[str, "optuna.Study"], str | None]]:
    """The storage's studies by name, or why there are none."""
    gone = "only finished trials are shown, without pruned ones and importance"
    if url is None and not studies_database(studies).exists():
        yield {}, f"the studies' database {studies_database(studies)} is not there: {gone}"
        return
    import optuna

    from ensemble_ad.search.storage import reading

    with ExitStack() as stack:
        found: Mapping[str, optuna.Study] = {}
        why = None
        try:
            backend = stack.enter_context(reading(studies, url))
            if backend is not None:
                names = optuna.get_all_study_names(storage=backend)
                found = {name: optuna.load_study(study_name=name, storage=backend) for name in names}
        except EnsadError as error:
            why = f"{error}: {gone}"
        except Exception as error:  # whatever a damaged database makes SQLAlchemy or Optuna say
            why = f"the studies' database cannot be read ({type(error).__name__}): {gone}"
        yield found, why


def _of_study(study: "optuna.Study", members: Sequence[Member], seed: int) -> Search | None:
    trials = []
    for frozen in study.get_trials(deepcopy=False):
        state = _STATES.get(frozen.state.name)
        if state is None:
            continue
        if state == "complete":
            values = tuple(map(float, frozen.values))
        else:
            last = max(frozen.intermediate_values, default=None)
            values = () if last is None else (float(frozen.intermediate_values[last]),)
        trials.append(Trial(number=frozen.number, state=state, values=values, parameters=dict(frozen.params)))
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        return None
    kinds = {name: kind for frozen in study.get_trials(deepcopy=False) for name, kind in frozen.distributions.items()}
    importance = _importance(study, seed) if len(complete) >= _LEAST_FOR_IMPORTANCE else {}
    objectives = _objectives(members, len(study.directions))
    return Search(
        family=members[0].family,
        study=study.study_name,
        objectives=objectives,
        maximize=tuple(direction.name == "MAXIMIZE" for direction in study.directions),
        trials=tuple(trials),
        importance=importance,
        slices=_slices(complete, list(importance), kinds),
        epochs=getattr(kinds.get("epochs"), "high", None),
        widest=max(getattr(kinds.get("width"), "choices", ()), default=None),
        sized="size" in kinds,
        note="" if importance else f"importance needs {_LEAST_FOR_IMPORTANCE} completed trials of more than one value",
    )


def _objectives(members: Sequence[Member], directions: int) -> tuple[str, ...]:
    # Studies by the objective `both` of older versions have two directions.
    return ("separation", "synthetic") if directions == 2 else (members[-1].info.objective.name,)


def _importance(study: "optuna.Study", seed: int) -> dict[str, float]:
    """fANOVA's shares, the largest first; empty where it cannot tell."""
    import optuna

    several = len(study.directions) > 1
    level = logging.getLogger("optuna").level
    logging.getLogger("optuna").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed),
                target=(lambda trial: float(trial.values[0])) if several else None,
            )
    except (RuntimeError, ValueError):
        return {}
    finally:
        logging.getLogger("optuna").setLevel(level)
    shares = {name: float(value) for name, value in found.items()}
    return shares if sum(shares.values()) > 0 else {}


def _of_members(name: str, members: Sequence[Member]) -> Search:
    """A study as far as its cached members tell."""
    made = [(member.info.trial, member) for member in members if member.info.trial]
    made.sort(key=lambda pair: pair[0].number)
    last = made[-1][1].info.objective
    trials = tuple(
        Trial(number=trial.number, state="complete", values=(member.value,), parameters=dict(trial.parameters))
        for trial, member in made
        if member.info.objective.name == last.name
    )
    return Search(
        family=made[0][1].family,
        study=name,
        objectives=(last.name,),
        maximize=(last.direction != "minimize",),
        trials=trials,
        importance={},
        slices=_slices(trials, [], {}),
        note="of the cached members alone, since the study's own record is not there",
    )


def _slices(complete: Sequence[Trial], order: Sequence[str], kinds: Mapping[str, Any]) -> tuple[Slice, ...]:
    """The parameters of more than one value, those of `order` first, then as they come."""
    names = list(dict.fromkeys([*order, *(name for trial in complete for name in trial.parameters)]))
    found = []
    for name in names:
        having = [trial for trial in complete if name in trial.parameters]
        values: tuple[Any, ...] = tuple(trial.parameters[name] for trial in having)
        if len(set(values)) > 1:
            objective = np.array([trial.values[0] for trial in having])
            log = bool(getattr(kinds.get(name), "log", False))
            choice = hasattr(kinds.get(name), "choices")
            found.append(Slice(parameter=name, values=values, objective=objective, log=log, choice=choice))
    return tuple(found[:MOST_SLICES])
