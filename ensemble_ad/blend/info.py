"""What `blend.json` holds: a frozen record, its form on disk, and the check of a file that may be a stranger's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from ensemble_ad.errors import UsageError
from ensemble_ad.files.json_file import fits, is_number, json_hash
from ensemble_ad.files.text import is_text
from ensemble_ad.layout import family_of, is_fingerprint, is_key
from ensemble_ad.members.column import Column
from ensemble_ad.members.measured import MEASURED, Measured, UnfitError
from ensemble_ad.statistics.implied import Share

FORMAT = 1
_LONGEST = 10_000
_KINDS: dict[str, Any] = {
    "name": str,
    "data": str,
    "families": list,
    "members": list,
    "method": str,
    "weights": dict,
    "labels_used": str,
    "seconds": is_number,
    "created": str,
    "blended": str,
    "identity": str,
    "checksum": str,
}
"""What every blend's file has to hold."""
_OPTIONAL: dict[str, Any] = {
    "separation": MEASURED,
    "foreseen": is_number,
    "batch": lambda value: isinstance(value, str) and is_fingerprint(value),
    "terms": list,
    "asked_method": str,
    "normaliser": str,
    "explanation": str,
    "anomaly_share": is_number,
    "share": MEASURED,
    "shift": MEASURED,
    "withheld": str,
    "correlation": dict,
    "transductive": bool,
}
"""What a file of an earlier version lacks, or any may hold as null, and what else it has to be."""


@dataclass(frozen=True, kw_only=True)
class BlendInfo:
    """What is known of a blend besides its scores and its rule: the contents of `blend.json`.

    Attributes:
        name: the blend's.
        data: fingerprint of its data set.
        members: the members' keys.
        families: its members' families, sorted.
        terms: what `--members` said; None where an earlier version did not note it.
        method: the method that was used in the end.
        asked_method: the method that the user asked for.
        normaliser: how scores were made comparable; None where an earlier version did not note it.
        explanation: why these weights, in a sentence or two.
        weights: the weight of each column, by `Column.name`.
        separation: the blend's separation, out of fold; None where it was made without test images.
        batch: fingerprint of the test images that came after its members; None where there are none such.
        foreseen: of a blend by pseudo-anomalies alone, its AUC on kinds that it was not weighted by; else None.
        anomaly_share: the share of anomalies in the test set, where the user gave it.
        share: the estimated share of anomalies; None where the user gave it.
        shift: how far the test's normal images are shifted; None where that is not known.
        withheld: what is wrong with the test images, so that no AUC can be told; mostly "".
        correlation: Spearman's rank correlation of its scores with each member's main column, by the member's key;
            constant columns have none.
        transductive: whether one of its members was trained on the unlabelled test images too.
        labels_used: which labels were read when its members were made, or `none`.
        seconds: how long blending took.
        created, blended: when the blend was made first and last, in ISO 8601.
        identity: hash of what makes two blends the same one.
        checksum: BLAKE2b-128 of its arrays' file.
    """

    name: str
    data: str
    members: tuple[str, ...]
    families: tuple[str, ...]
    method: str
    weights: Mapping[str, float]
    separation: Measured | None = None
    batch: str | None = None
    foreseen: float | None = None
    terms: tuple[str, ...] | None = None
    asked_method: str = "auto"
    normaliser: str | None = None
    explanation: str = ""
    anomaly_share: float | None = None
    share: Measured | None = None
    shift: Measured | None = None
    withheld: str = ""
    correlation: Mapping[str, float] = field(default_factory=dict)
    transductive: bool = False
    labels_used: str = "none"
    seconds: float = 0.0
    created: str = ""
    blended: str = ""
    identity: str = ""
    checksum: str = ""

    def made(self) -> Self:
        """This blend with its `identity`: another one of the same identity is the same blend made again."""
        what = {"data": self.data, "method": self.method, "normaliser": self.normaliser, "weights": dict(self.weights)}
        what |= {} if self.batch is None else {"batch": self.batch}
        return replace(self, identity=json_hash(what))

    def made_again(self, later: Self, now: str) -> Self:
        """This blend, made again as `later`: with what the user knew then, and what an earlier version did not note."""
        return replace(
            self,
            explanation=later.explanation,
            foreseen=later.foreseen,
            anomaly_share=later.anomaly_share,
            share=later.share,
            shift=later.shift,
            withheld=later.withheld,
            correlation=later.correlation,
            transductive=later.transductive,
            blended=now,
        )

    @property
    def inverted(self) -> frozenset[str]:
        """The keys of the members that enter inverted."""
        columns = map(Column.of, self.weights)
        return frozenset(column.key for column in columns if column.inverted)

    @property
    def is_auto(self) -> bool:
        """Whether it is `auto`'s, by whose scores the shift of normal images is estimated."""
        return self.asked_method == "auto"

    @property
    def known_share(self) -> Share | None:
        """The share of anomalies in its test set: the user's where it was given, else the estimate, else None."""
        if self.anomaly_share is not None:
            return self.given_share(float(self.anomaly_share))
        if self.share is None:
            return None
        value, error = float(self.share.value), float(self.share.standard_error)
        return replace(self.given_share(1.0), value=value, standard_error=error, given=False)

    def given_share(self, value: float) -> Share:
        """A share that the user gives, with what is known of the test images besides."""
        if self.shift is None:
            return Share(value=value, withheld=self.withheld)
        shift, error = float(self.shift.value), float(self.shift.standard_error)
        return Share(value=value, shift=shift, shift_error=error, withheld=self.withheld)

    def to_json(self) -> dict[str, Any]:
        """The contents of `blend.json`."""
        value = {"format": FORMAT, **asdict(self)}
        return {name: each for name, each in value.items() if each is not None or name in ("anomaly_share", "share")}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `to_json`, of a file of any version that wrote this format.

        Raises:
            UnfitError: if something is missing or otherwise than it has to be.
        """
        if not fits(value, _KINDS) or value.get("format") != FORMAT:
            raise UnfitError("format")
        known = {name: value[name] for name in (*_KINDS, *_OPTIONAL) if value.get(name) is not None}
        if not all(fits(known[name], kind) for name, kind in _OPTIONAL.items() if name in known):
            raise UnfitError("optional parts")
        if not _is_plain(known):
            raise UnfitError("texts and numbers to show")
        if {Column.of(name).key for name in known["weights"]} != set(known["members"]):
            raise UnfitError("weights of its members")
        for name in ("members", "families", "terms"):
            known |= {name: tuple(known[name])} if name in known else {}
        for name in ("separation", "share", "shift"):
            known |= {name: Measured.from_json(known[name])} if name in known else {}
        info = cls(**known)
        try:
            _ = info.known_share
        except UsageError as error:
            raise UnfitError(str(error)) from None
        return info


def _is_plain(value: Mapping[str, Any]) -> bool:
    """Whether numbers are numbers, names names, and what a table shows text without control characters."""
    numbers = (*value["weights"].values(), *value.get("correlation", {}).values())
    names = (*value["families"], *value.get("terms", ()), *value["weights"], *value.get("correlation", {}))
    texts = [value[name] for name in ("method", "labels_used", "created", "blended", "checksum")]
    texts += [value.get(name, "") for name in ("asked_method", "normaliser", "explanation", "withheld")]
    return (
        is_fingerprint(value["data"])
        and all(map(is_number, numbers))
        and all(isinstance(text, str) and is_text(text) and len(text) < _LONGEST for text in (*texts, *names))
        and all(isinstance(key, str) and is_key(key) for key in value["members"])
        and len(value["members"]) > 0
    )


def weight_by_member(weights: Mapping[str, float]) -> dict[str, float]:
    """The sum of each member's weights, by its key."""
    total: dict[str, float] = {}
    for name, value in weights.items():
        key = Column.of(name).key
        total[key] = total.get(key, 0.0) + value
    return total


def weight_by_family(weights: Mapping[str, float]) -> dict[str, float]:
    """The sum of each family's weights, by its name."""
    total: dict[str, float] = {}
    for key, value in weight_by_member(weights).items():
        total[family_of(key)] = total.get(family_of(key), 0.0) + value
    return total
