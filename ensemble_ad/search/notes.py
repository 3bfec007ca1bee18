"""What a trial and a study say besides what Optuna keeps of them: their user attributes, which have a name here alone.

A storage may be one that others write to, so everything is checked before it is used.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial

from ensemble_ad.errors import StorageError, printable
from ensemble_ad.layout import is_key, is_worker
from ensemble_ad.members.measured import Objectives, UnfitError
from ensemble_ad.version import __version__

FORMAT = 1
"""The format of these notes; a study says in which one it was begun."""
NOT_OURS = "delete its study from the storage, or name another --studies or --storage"
"""What to do about a trial whose notes are not what any version has written."""
_MOST_COUNT = 1 << 53
_TEXTS = ("reason", "stopped")


@dataclass(frozen=True, kw_only=True)
class TrialNotes:
    """What a trial says besides what Optuna keeps of it; None where it says nothing.

    Attributes:
        place: the trial's number in the order of the draws; a trial that is done again keeps the first one's.
        worker: the worker that has started it.
        key: the member that it trains.
        member: the member that it made.
        objectives: what all objectives say of that member; studies of older versions have it in the member alone.
        value: the member's value.
        reason: why the trial failed by itself.
        stopped: what stopped it from outside, a full disk say.
        share: the share of its work that it was shortened to, so that it ends in time; see `allowance.shortened`.
    """

    place: int | None = None
    worker: str | None = None
    key: str | None = None
    member: str | None = None
    objectives: Objectives | None = None
    value: float | None = None
    reason: str | None = None
    stopped: str | None = None
    share: float | None = None

    def to_attrs(self) -> dict[str, Any]:
        """What is said, as user attributes of an Optuna trial."""
        objectives = {} if self.objectives is None else {"objectives": self.objectives.to_json()}
        return {name: value for name, value in asdict(self).items() if value is not None} | objectives

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> Self:
        """The inverse of `to_attrs`; what others noted under other names is passed over.

        Raises:
            UnfitError: if something is otherwise than it has to be; its text is the name.
        """
        known = {name: attrs[name] for name in cls.__dataclass_fields__ if attrs.get(name) is not None}
        for name, value in known.items():
            if not _fits(name, value):
                raise UnfitError(name)
        if told := known.pop("objectives", None):
            known["objectives"] = Objectives.from_json(told)
        known |= {name: printable(known[name]) for name in _TEXTS if name in known}
        return cls(**known)

    @classmethod
    def of(cls, trial: FrozenTrial) -> Self:
        """What a trial says.

        Raises:
            StorageError: if it is otherwise than any version has written.
        """
        try:
            return cls.from_attrs(trial.user_attrs)
        except UnfitError as error:
            raise StorageError(
                f"trial {trial.number} has a note `{error}` that no ensad has written, "
                f"{ascii(trial.user_attrs[str(error)])[:80]}; {NOT_OURS}"
            ) from error

    def made_by(self, trial: FrozenTrial) -> str:
        """The key of the member that a completed trial has made.

        Raises:
            StorageError: if the trial does not say so.
        """
        if self.member is None:
            raise StorageError(f"trial {trial.number} is complete and names no member; {NOT_OURS}")
        return self.member

    def write(self, trial: optuna.Trial) -> None:
        """Let a running trial say this too."""
        for name, value in self.to_attrs().items():
            trial.set_user_attr(name, value)


def _fits(name: str, value: Any) -> bool:
    """Whether a trial's note is what it has to be."""
    if name == "place":
        return isinstance(value, int) and 0 <= value < _MOST_COUNT
    if name == "objectives":
        return isinstance(value, dict) and _is_finite(value)
    if name == "share":
        return isinstance(value, int | float) and 0 < value <= 1
    if name == "value":
        return isinstance(value, int | float) and _is_finite(value)
    if name == "worker":
        return isinstance(value, str) and is_worker(value)
    if name in ("key", "member"):
        return isinstance(value, str) and is_key(value)
    return isinstance(value, str)


def _is_finite(value: Any) -> bool:
    """Whether a JSON value's numbers are all finite."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class StudyNotes:
    """What a study says besides what Optuna keeps of it; None where it says nothing.

    Attributes:
        format: of the notes.
        version: of ensemble_ad that began the study.
        stop: the name of a crew that shall stop.
    """

    format: int | None = None
    version: str | None = None
    stop: str | None = None

    @classmethod
    def of(cls, study: optuna.Study) -> Self:
        """What a study says.

        Raises:
            StorageError: if it is of another format.
        """
        attrs = study.user_attrs
        said = {name: printable(str(attrs[name])) for name in cls.__dataclass_fields__ if attrs.get(name) is not None}
        written = said.pop("format", None)
        if written not in (None, str(FORMAT)):
            raise StorageError(
                f"the study {study.study_name} has format {written[:20]} (ensemble_ad {said.get('version', '')[:20]}), "
                f"and this version, {__version__}, reads {FORMAT}; use the ensad that wrote it, or name another "
                "--studies or --storage"
            )
        return cls(format=None if written is None else FORMAT, **said)

    def write(self, study: optuna.Study) -> None:
        """Let a study say this too."""
        for name, value in asdict(self).items():
            if value is not None:
                study.set_user_attr(name, value)
