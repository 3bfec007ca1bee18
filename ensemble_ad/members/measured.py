"""What the objectives say of a member, as `member.json` and a trial's notes hold it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ensemble_ad.files.json_file import fits, is_number
from ensemble_ad.files.text import is_text

MEASURED = {"value": is_number, "standard_error": is_number}
"""The form of a `Measured` as JSON, for `fits`."""
_FORMS: dict[str, Any] = {
    "separation": MEASURED,
    "synthetic": {**MEASURED, "kinds": dict},
    "loss": MEASURED,
    "share": {"value": is_number, "low": is_number},
    "implausible": list,
    "believed": {"share": is_number, "weight": is_number},
}


class UnfitError(ValueError):
    """The file of a member, a blend or a data set lacks something, or holds it in another form; the text names what."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    """Fields that are JSON values."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, of a value that has been checked; it may have more fields."""
        return cls(**{name: value[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Measured(_Record):
    """A value with its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class Synthetic(Measured):
    """The objective `synthetic`: `kinds` has the AUC of each kind of pseudo-anomaly."""

    kinds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class EstimatedShare(_Record):
    """The share of anomalies among the test images that a member's scores speak of, and its lower bound."""

    value: float
    low: float


@dataclass(frozen=True, kw_only=True)
class Believed(_Record):
    """How `auto` judged: by what share of anomalies, and how much the test images decided (`statistics.belief`)."""

    share: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What the objectives say of a member, by the kind of error that its own objective chose; None if not known.

    Attributes:
        separation: the separation A.
        synthetic: the mean AUC over the kinds of pseudo-anomaly.
        loss: the mean squared reconstruction error a pixel.
        share: the share of anomalies in the test set that its scores speak of.
        implausible: the kinds of error that `separation` passed over.
        believed: what `auto` believed of the test images; None where another objective judged.
    """

    separation: Measured | None = None
    synthetic: Synthetic | None = None
    loss: Measured | None = None
    share: EstimatedShare | None = None
    implausible: tuple[str, ...] | None = None
    believed: Believed | None = None

    def to_json(self) -> dict[str, Any]:
        """What is known, as JSON values."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return known | ({"implausible": list(self.implausible)} if self.implausible is not None else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            UnfitError: if it is none.
        """
        known = {name: value[name] for name in _FORMS if value.get(name) is not None}
        if not all(fits(known[name], _FORMS[name]) for name in known):
            raise UnfitError("objectives")
        numbers = known["synthetic"]["kinds"].values() if "synthetic" in known else ()
        names = [*known.get("implausible", ()), *known.get("synthetic", {}).get("kinds", ())]
        if not all(is_number(number) and 0 <= number <= 1 for number in numbers) or not all(
            isinstance(name, str) and is_text(name) for name in names
        ):
            raise UnfitError("objectives")
        return cls(**{name: _RECORDS[name](each) for name, each in known.items()})


_RECORDS: dict[str, Callable[[Any], Any]] = {
    "separation": Measured.from_json,
    "synthetic": Synthetic.from_json,
    "loss": Measured.from_json,
    "share": EstimatedShare.from_json,
    "implausible": tuple,
    "believed": Believed.from_json,
}
"""What makes each field of `Objectives` of its JSON value."""
