"""What `member.json` holds: a frozen record, its form on disk, and the check of a file that may be a stranger's."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ensemble_ad.files.json_file import fits, is_count, is_number
from ensemble_ad.files.text import is_text
from ensemble_ad.layout import family_of, is_fingerprint, is_key
from ensemble_ad.members.measured import MEASURED, Measured, Objectives, UnfitError
from ensemble_ad.members.recipe_info import RecipeInfo

FORMAT = 1
_COLUMN = re.compile(r"[A-Za-z0-9_.+-]{1,100}")
_LONGEST = 300
_CHECKSUM = re.compile(r"[0-9a-f]{32}")
_KINDS: dict[str, Any] = {
    "recipe": {
        "family": str,
        "data": str,
        "preprocess": {"crop": list, "size": list},
        "training": {"epochs": is_count},
        "labels": lambda value: value is None or isinstance(value, str),
    },
    "objective": {"name": str, "direction": str, "value": is_number, "column": str},
    "best_epoch": is_count,
    "parameters": is_count,
    "seconds": {"train": is_number, "score": is_number},
    "columns": list,
    "checksums": dict,
    "created": str,
}
"""What every member's file has to hold."""
_OPTIONAL: dict[str, Any] = {
    "separation": MEASURED,
    "trial": {"number": is_count, "study": str},
    "objectives": dict,
    "history": list,
    "environment": dict,
    "transductive": bool,
    "preset": str,
    "origin": str,
    "pseudo_kinds": list,
}
"""What a file may lack, or hold as null, and what else it has to be."""
_EPOCH = {"epoch": is_count, "loss": is_number, "value": is_number, "rate": is_number}


@dataclass(frozen=True, kw_only=True)
class ChosenBy:
    """The objective that chose a member's epoch and kind of error.

    Attributes:
        name: the objective's name.
        direction: `maximize` or `minimize`.
        value: the member's value, in that direction.
        standard_error: the value's; NaN where it is not known.
        column: the kind of error that the value holds for.
    """

    name: str
    direction: str
    value: float
    standard_error: float = float("nan")
    column: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values, which have no NaN."""
        return {name: value for name, value in asdict(self).items() if value == value}


@dataclass(frozen=True, kw_only=True)
class EpochInfo:
    """One epoch of a training.

    Attributes:
        number: the epoch's, from 1.
        loss: mean training loss.
        value: the objective's value.
        rate: images trained a second.
        parts: how many parts each batch was computed in; more than 1 where memory did not suffice for a whole batch.
        refused: why CUDA took each step kernel by kernel, where it refused a graph of it.
    """

    number: int
    loss: float
    value: float
    rate: float
    parts: int = 1
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `parts` only where there are several, `refused` only where a graph was."""
        values = {"epoch": self.number, "loss": self.loss, "value": self.value, "rate": self.rate}
        slowed = {"parts": self.parts} if self.parts > 1 else {}
        return values | slowed | ({"refused": self.refused} if self.refused else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            UnfitError: if it is none.
        """
        if not fits(value, _EPOCH):
            raise UnfitError("history")
        parts, refused = value.get("parts", 1), value.get("refused", "")
        if not is_count(parts) or not _is_short(refused):
            raise UnfitError("history")
        return cls(
            number=value["epoch"],
            loss=value["loss"],
            value=value["value"],
            rate=value["rate"],
            parts=parts,
            refused=refused,
        )


def slowed_by(parts: int, refused: str) -> tuple[str, ...]:
    """Lines for the user: what makes a training slower than it should be. See `EpochInfo`."""
    notes = []
    if parts > 1:
        notes.append(f"out of memory: every batch is computed in {parts} parts, whose gradients are added up")
    if refused:
        notes.append(f"CUDA refused a graph of the step, which is slower without: {refused}")
    return tuple(notes)


@dataclass(frozen=True, kw_only=True)
class TrialInfo:
    """The trial that made a member: its study, its number, and the parameters that it drew."""

    study: str
    number: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """How long a member took to train, and to score all its images."""

    train: float
    score: float


@dataclass(frozen=True, kw_only=True)
class MemberInfo:
    """What is known of a member besides its error vectors and weights: the contents of `member.json`.

    Attributes:
        key: the member's name.
        recipe: what the member was made of.
        objective: the objective that chose its epoch and its main kind of error.
        objectives: what all objectives say of it.
        separation: its main column's separation; None where there were no test images.
        best_epoch: the epoch whose weights were kept.
        history: its epochs.
        parameters: how many numbers the model has.
        seconds: how long it took.
        environment: versions and machine, by name.
        created: when it was made, in ISO 8601.
        transductive: whether it was trained on the unlabelled test images too.
        trial: the trial that made it.
        preset: name of the published system that it is.
        origin: `imported`, of scores that another program made.
        columns: names of its kinds of error, in the vectors' order.
        pseudo_kinds: names of the kinds of pseudo-anomaly that it has error vectors of, in their order; none where it
            has none.
        checksums: BLAKE2b-128 of its other files, by name.
    """

    key: str
    recipe: RecipeInfo
    objective: ChosenBy
    created: str
    objectives: Objectives = field(default_factory=Objectives)
    separation: Measured | None = None
    best_epoch: int = 0
    history: tuple[EpochInfo, ...] = ()
    parameters: int = 0
    seconds: Seconds = Seconds(train=0.0, score=0.0)
    environment: Mapping[str, str] = field(default_factory=dict)
    transductive: bool = False
    trial: TrialInfo | None = None
    preset: str | None = None
    origin: str | None = None
    columns: tuple[str, ...] = ()
    pseudo_kinds: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The member's source in a word or two: its trial's number, its preset, or `imported`."""
        origin = f"{self.origin}, inverted" if self.origin and self.recipe.inverted else self.origin
        return f"trial {self.trial.number}" if self.trial else self.preset or origin or ""

    @property
    def slowed(self) -> tuple[str, ...]:
        """What made its training slower than it should be; mostly nothing."""
        refused = next((epoch.refused for epoch in self.history if epoch.refused), "")
        return slowed_by(max((epoch.parts for epoch in self.history), default=1), refused)

    def to_json(self) -> dict[str, Any]:
        """The contents of `member.json`."""
        optional = {
            "origin": self.origin,
            "preset": self.preset,
            "trial": self.trial and asdict(self.trial),
            "pseudo_kinds": list(self.pseudo_kinds) or None,
        }
        return {
            "format": FORMAT,
            "key": self.key,
            "recipe": dict(self.recipe.json),
            "transductive": self.transductive,
            "objective": self.objective.to_json(),
            "objectives": self.objectives.to_json(),
            "separation": self.separation and asdict(self.separation),
            "best_epoch": self.best_epoch,
            "history": [epoch.to_json() for epoch in self.history],
            "parameters": self.parameters,
            "seconds": asdict(self.seconds),
            "environment": dict(self.environment),
            "created": self.created,
            **{name: value for name, value in optional.items() if value is not None},
            "columns": list(self.columns),
            "checksums": dict(self.checksums),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`, of a file of this format and any version that wrote it.

        Raises:
            UnfitError: if something is missing or otherwise than it has to be; its text says what.
        """
        lacking = _unfit(value)
        if lacking:
            raise UnfitError(", ".join(lacking))
        separation, trial = value.get("separation"), value.get("trial")
        return cls(
            key=value["key"],
            recipe=RecipeInfo.from_json(value["recipe"]),
            objective=ChosenBy(**{name: value["objective"][name] for name in _chosen(value["objective"])}),
            objectives=Objectives.from_json(value.get("objectives") or {}),
            separation=None if separation is None else Measured.from_json(separation),
            best_epoch=value["best_epoch"],
            history=tuple(EpochInfo.from_json(epoch) for epoch in value.get("history") or ()),
            parameters=value["parameters"],
            seconds=Seconds(train=value["seconds"]["train"], score=value["seconds"]["score"]),
            environment={str(name): str(each) for name, each in (value.get("environment") or {}).items()},
            created=value["created"],
            transductive=value.get("transductive") or False,
            trial=None if trial is None else _trial(trial),
            preset=value.get("preset"),
            origin=value.get("origin"),
            columns=tuple(value["columns"]),
            pseudo_kinds=tuple(value.get("pseudo_kinds") or ()),
            checksums=value["checksums"],
        )


def _chosen(objective: Mapping[str, Any]) -> Sequence[str]:
    return [name for name in ChosenBy.__dataclass_fields__ if name in objective]


def _trial(value: Mapping[str, Any]) -> TrialInfo:
    parameters = value.get("parameters") or {}
    if not isinstance(parameters, dict) or not all(is_text(n) and _is_drawn(x) for n, x in parameters.items()):
        raise UnfitError("trial")
    return TrialInfo(study=value["study"], number=value["number"], parameters=parameters)


def _is_drawn(value: Any) -> bool:
    """Whether a study can have drawn a value: a number, a short text, a bool or None."""
    return _is_short(value) or value is None or isinstance(value, bool) or is_number(value)


def _is_short(value: Any) -> bool:
    """Whether it is a text that a table shows."""
    return isinstance(value, str) and is_text(value) and len(value) < _LONGEST


def _unfit(value: Mapping[str, Any]) -> list[str]:
    """The parts of a member's file that are missing, or otherwise than they have to be."""
    if not fits(value, _KINDS):
        return [name for name, kind in _KINDS.items() if not fits(value, {name: kind})]
    found = [n for n, kind in _OPTIONAL.items() if value.get(n) is not None and not fits(value[n], kind)]
    if found:
        return found
    if not all(isinstance(checksum, str) and _CHECKSUM.fullmatch(checksum) for checksum in value["checksums"].values()):
        return ["checksums"]
    if not is_fingerprint(value["recipe"]["data"]):
        return ["the fingerprint of its data"]
    if not is_key(str(value["key"])) or not _belongs_together(value):
        return ["columns"]
    return [] if _is_plain(value) else ["texts and numbers to show"]


def _belongs_together(value: Mapping[str, Any]) -> bool:
    """Whether columns and kinds are distinct names, the objective's a column, and the family the key's."""
    columns, key = value["columns"], str(value["key"])
    return (
        _are_names(columns)
        and _are_names(value.get("pseudo_kinds") or [])
        and value["objective"]["column"] in columns
        and value["recipe"]["family"] == family_of(key)
    )


def _are_names(values: Sequence[Any]) -> bool:
    return all(isinstance(name, str) and _COLUMN.fullmatch(name) for name in values) and len(set(values)) == len(values)


def _is_plain(value: Mapping[str, Any]) -> bool:
    """Whether what a table shows of a member is short text without control characters, and numbers or nothing."""
    recipe, objective, trial = value["recipe"], value["objective"], value.get("trial") or {}
    texts = (
        value.get("preset"),
        value.get("origin"),
        recipe["labels"],
        recipe.get("rescaled"),
        objective["name"],
        value["created"],
        objective["direction"],
        trial.get("study"),
        *itertools.chain(*(value.get("environment") or {}).items()),
    )
    crop, size = recipe["preprocess"]["crop"][:1], recipe["preprocess"]["size"][:1]
    seed = recipe["training"].get("seed")
    counts = (recipe.get("version"), recipe.get("subset"), abs(seed) if isinstance(seed, int) else seed, *size)
    return (
        all(text is None or _is_short(text) for text in texts)
        and (len(crop), len(size)) == (1, 1)
        and (crop[0] is None or is_number(crop[0]))
        and is_number(objective.get("standard_error", 0.0))
        and all(count is None or is_count(count) for count in counts)
    )
