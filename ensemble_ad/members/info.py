"""What `member.json` holds: a frozen record, its form on disk, and the check of a file that may be a stranger's."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ensemble_ad.files.id_table import is_text
from ensemble_ad.files.json_file import fits
from ensemble_ad.layout import is_fingerprint, is_key

FORMAT = 1
_COLUMN = re.compile(r"[A-Za-z0-9_.+-]{1,100}")
_NUMBER = (int, float)
_MOST = 1 << 53
_MEASURED = {"value": _NUMBER, "standard_error": _NUMBER}
_KINDS: dict[str, Any] = {
    "recipe": {
        "family": str,
        "data": str,
        "preprocess": {"crop": list, "size": list},
        "training": {"epochs": int},
        "labels": (str, type(None)),
    },
    "objective": {"name": str, "direction": str, "value": _NUMBER, "column": str},
    "best_epoch": int,
    "parameters": int,
    "seconds": {"train": _NUMBER, "score": _NUMBER},
    "columns": list,
    "checksums": dict,
    "created": str,
}
"""What every member's file has to hold."""
_OPTIONAL: dict[str, Any] = {
    "separation": _MEASURED,
    "trial": {"number": int, "study": str},
    "objectives": dict,
    "history": list,
    "environment": dict,
    "transductive": bool,
    "preset": str,
    "origin": str,
}
"""What a file may lack, or hold as null, and what else it has to be."""
_OBJECTIVES: dict[str, Any] = {
    "separation": _MEASURED,
    "synthetic": {**_MEASURED, "kinds": dict},
    "loss": _MEASURED,
    "share": {"value": _NUMBER, "low": _NUMBER},
    "implausible": list,
}
_EPOCH = {"epoch": int, "loss": _NUMBER, "value": _NUMBER, "rate": _NUMBER}


class UnfitError(ValueError):
    """A member's file that lacks something, or holds it otherwise than it has to be."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value with its standard error."""

    value: float
    standard_error: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        return cls(value=value["value"], standard_error=value["standard_error"])


@dataclass(frozen=True, kw_only=True)
class Synthetic(Measured):
    """The objective `synthetic`: `kinds` has the AUC of each kind of pseudo-anomaly."""

    kinds: Mapping[str, float]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        return cls(value=value["value"], standard_error=value["standard_error"], kinds=value["kinds"])


@dataclass(frozen=True, kw_only=True)
class Share:
    """The estimated share of anomalies among the test images, and its lower bound."""

    value: float
    low: float


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What the objectives say of a member, by the kind of error that its own objective chose; None where not known.

    Attributes:
        separation: A.
        synthetic: mean AUC over the kinds of pseudo-anomaly.
        loss: mean squared reconstruction error a pixel.
        share: estimated share of anomalies in the test set.
        implausible: the kinds of error that `separation` passed over.
    """

    separation: Measured | None = None
    synthetic: Synthetic | None = None
    loss: Measured | None = None
    share: Share | None = None
    implausible: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """What is known, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            UnfitError: if it is none.
        """
        known = {name: value[name] for name in _OBJECTIVES if value.get(name) is not None}
        if not all(fits(known[name], _OBJECTIVES[name]) for name in known):
            raise UnfitError("objectives")
        numbers = known["synthetic"]["kinds"].values() if "synthetic" in known else ()
        if not all(fits(number, _NUMBER) for number in numbers):
            raise UnfitError("objectives")
        return cls(
            separation=Measured.from_json(known["separation"]) if "separation" in known else None,
            synthetic=Synthetic.from_json(known["synthetic"]) if "synthetic" in known else None,
            loss=Measured.from_json(known["loss"]) if "loss" in known else None,
            share=Share(value=known["share"]["value"], low=known["share"]["low"]) if "share" in known else None,
            implausible=tuple(map(str, known["implausible"])) if "implausible" in known else None,
        )


@dataclass(frozen=True, kw_only=True)
class ChosenBy:
    """The objective that chose a member's epoch and kind of error.

    Attributes:
        name: the objective's.
        direction: `maximize` or `minimize`.
        value: the member's, in that direction.
        standard_error: of the value; NaN where it is not known.
        column: the kind of error that the value holds for.
    """

    name: str
    direction: str
    value: float
    standard_error: float = float("nan")
    column: str


@dataclass(frozen=True, kw_only=True)
class EpochInfo:
    """One epoch of a training.

    Attributes:
        number: from 1.
        loss: mean training loss.
        value: the objective's.
        rate: images trained a second.
        parts: that each batch was computed in; more than 1 where memory did not suffice for a whole one.
    """

    number: int
    loss: float
    value: float
    rate: float
    parts: int = 1

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `parts` only where there are several."""
        values = {"epoch": self.number, "loss": self.loss, "value": self.value, "rate": self.rate}
        return values | ({"parts": self.parts} if self.parts > 1 else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            UnfitError: if it is none.
        """
        if not fits(value, _EPOCH):
            raise UnfitError("history")
        parts = value.get("parts", 1)
        return cls(number=value["epoch"], loss=value["loss"], value=value["value"], rate=value["rate"], parts=parts)


@dataclass(frozen=True, kw_only=True)
class TrialInfo:
    """The trial of a study that made a member: its number, and the parameters that it drew."""

    study: str
    number: int
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """How long a member took to train, and to score all its images."""

    train: float
    score: float


@dataclass(frozen=True, kw_only=True)
class RecipeInfo:
    """What of a member's recipe is read without torch.

    Attributes:
        family: its name.
        data: fingerprint of the data set.
        version: of the recipes' rules; None of imported scores.
        labels: hash of the labels that the objective read; None where it read none.
        crop: the first of the crop's two fractions; None of imported scores.
        size: height in pixels that the crop is resized to; None of imported scores.
        epochs: the most that the training was to take.
        seed: of the training.
        subset: training images used; None is all.
        flips: whether the score is the mean of an image's and its mirror image's.
        json: the whole recipe, for `training.recipe.Recipe.from_json`.
    """

    family: str
    data: str
    version: int | None
    labels: str | None
    crop: float | None
    size: int | None
    epochs: int
    seed: int | None
    subset: int | None
    flips: bool
    json: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From a whole recipe that was checked."""
        return cls(
            family=value["family"],
            data=value["data"],
            version=value.get("version"),
            labels=value["labels"],
            crop=value["preprocess"]["crop"][0],
            size=value["preprocess"]["size"][0],
            epochs=value["training"]["epochs"],
            seed=value["training"].get("seed"),
            subset=value.get("subset"),
            flips=bool(value.get("flips", False)),
            json=value,
        )


@dataclass(frozen=True, kw_only=True)
class MemberInfo:
    """What is known of a member besides its error vectors and weights: the contents of `member.json`.

    Attributes:
        key: the member's name.
        recipe: what it was made of.
        objective: what chose its epoch and its main kind of error.
        objectives: what all objectives say of it.
        separation: of its main column; None where there were no test images.
        best_epoch: the epoch whose weights were kept.
        history: its epochs.
        parameters: how many numbers the model has.
        seconds: how long it took.
        environment: versions and machine, by name.
        created: the time in ISO 8601.
        transductive: whether it was trained on the unlabelled test images too.
        trial: the trial that made it.
        preset: name of the published system that it is.
        origin: `imported` of scores that another program made.
        columns: names of its kinds of error, in the vectors' order.
        checksums: BLAKE2b-128 of its other files, by name.
    """

    key: str
    recipe: RecipeInfo
    objective: ChosenBy
    created: str
    objectives: Objectives = Objectives()
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
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Where it came from, in a word or two: its trial's number, its preset, or `imported`."""
        return f"trial {self.trial.number}" if self.trial else self.preset or self.origin or ""

    def to_json(self) -> dict[str, Any]:
        """The contents of `member.json`."""
        optional = {"origin": self.origin, "preset": self.preset, "trial": self.trial and asdict(self.trial)}
        return {
            "format": FORMAT,
            "key": self.key,
            "recipe": dict(self.recipe.json),
            "transductive": self.transductive,
            "objective": asdict(self.objective),
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
            checksums=value["checksums"],
        )


def _chosen(objective: Mapping[str, Any]) -> Sequence[str]:
    return [name for name in ChosenBy.__dataclass_fields__ if name in objective]


def _trial(value: Mapping[str, Any]) -> TrialInfo:
    parameters = value.get("parameters")
    return TrialInfo(
        study=value["study"], number=value["number"], parameters=parameters if isinstance(parameters, dict) else {}
    )


def _unfit(info: Mapping[str, Any]) -> list[str]:
    """What of a member's file is missing or otherwise than it has to be."""
    found = [name for name, kind in _KINDS.items() if not fits(info, {name: kind})]
    if found:
        return found
    found = [n for n, kind in _OPTIONAL.items() if info.get(n) is not None and not fits(info[n], kind)]
    if found:
        return found
    if not is_fingerprint(info["recipe"]["data"]):
        return ["the fingerprint of its data"]
    if not is_key(str(info["key"])) or not _belongs_together(info):
        return ["columns"]
    return [] if _is_plain(info) else ["texts and numbers to show"]


def _belongs_together(info: Mapping[str, Any]) -> bool:
    """Whether columns are distinct names, the objective's among them, and the family the key's."""
    columns, key = info["columns"], str(info["key"])
    return (
        all(isinstance(name, str) and _COLUMN.fullmatch(name) for name in columns)
        and len(set(columns)) == len(columns)
        and info["objective"]["column"] in columns
        and info["recipe"]["family"] == key.rpartition("-")[0]
    )


def _is_plain(info: Mapping[str, Any]) -> bool:
    """Whether what a table shows of a member is short text without control characters, and numbers or nothing."""
    recipe, objective, trial = info["recipe"], info["objective"], info.get("trial") or {}
    texts = (info.get("preset"), info.get("origin"), recipe["labels"], objective["name"], info["created"],
             objective["direction"], trial.get("study"), *(info.get("environment") or {}).values())  # fmt: skip
    crop, size = recipe["preprocess"]["crop"][:1], recipe["preprocess"]["size"][:1]
    whole = (recipe.get("version"), recipe.get("subset"), recipe["training"].get("seed"), *size)
    counts = [recipe["training"]["epochs"], info["best_epoch"], info["parameters"], trial.get("number", 0)]
    counts += [count for count in whole if count is not None]
    return (
        all(text is None or (isinstance(text, str) and is_text(text) and len(text) < 300) for text in texts)
        and (len(crop), len(size)) == (1, 1)
        and fits(crop[0], (*_NUMBER, type(None)))
        and fits(objective.get("standard_error", 0.0), _NUMBER)
        and all(isinstance(count, int) and abs(count) <= _MOST for count in counts)
    )
