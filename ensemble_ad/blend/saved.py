"""Blends on disk: `studies/blends/<name>/` with `blend.json` and `scores.npz`: scores and the frozen rule."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ensemble_ad.errors import EnsadError, StorageError, UsageError
from ensemble_ad.files.arrays import read_arrays
from ensemble_ad.files.id_table import is_text
from ensemble_ad.files.json_file import fits, json_hash, read_json, write_json
from ensemble_ad.files.whole import file_hash, whole_folder
from ensemble_ad.layout import is_key
from ensemble_ad.statistics.implied import Share

if TYPE_CHECKING:
    from ensemble_ad.blend import Blend

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_NUMBER = (int, float)
_MOST, _LONGEST = 1e300, 10_000
# What later commands read of `blend.json`, and what it has to be.
_KINDS: dict[str, Any] = {
    "data": str,
    "families": list,
    "members": list,
    "method": str,
    "weights": dict,
    "separation": {"value": _NUMBER, "standard_error": _NUMBER},
    "labels_used": str,
    "seconds": _NUMBER,
    "created": str,
    "blended": str,
    "identity": str,
    "checksum": str,
}
# The same of what blends of an earlier version lack.
_LATER_KINDS: dict[str, Any] = {
    "anomaly_share": (*_NUMBER, type(None)),
    "share": (dict, type(None)),
    "correlation": dict,
    "transductive": bool,
}
# What is written anew when the same blend is made again: what the user knows, and what an earlier version lacked.
_REFRESHED = ("explanation", *_LATER_KINDS)
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SavedBlend:
    """A blend that was made.

    Attributes:
        name: its name.
        folder: where it lies.
        info: the contents of `blend.json`: data, method, weights, explanation, ...
    """

    name: str
    folder: Path
    info: Mapping[str, Any]

    @property
    def data(self) -> str:
        """Fingerprint of its data set."""
        return str(self.info["data"])

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each column, `<member key>/<error kind>`."""
        return {str(name): float(weight) for name, weight in self.info["weights"].items()}

    @property
    def share(self) -> Share | None:
        """The share of anomalies in its test set: the user's where it was given, else the estimate, else None."""
        if self.info.get("anomaly_share") is not None:
            return Share(value=float(self.info["anomaly_share"]))
        found = self.info.get("share")
        if found is None:
            return None
        return Share(value=float(found["value"]), standard_error=float(found["standard_error"]), given=False)

    def estimate_in_words(self) -> str:
        """The AUC that its separation implies and the share that was used; or why none can be given."""
        share, separation = self.share, self.info["separation"]
        if share is None:
            return "no AUC can be estimated without labels: too few images to estimate the share of anomalies"
        used = f"{share.value:.1%} anomalies ({share.source}"
        used += ")" if share.given else f", standard error {share.standard_error:.1%})"
        if not share.usable:
            return f"no AUC can be estimated without labels: {used} cannot be told from none; give --anomaly-share"
        implied = share.implied_auc(separation["value"], separation["standard_error"])
        if implied is None:
            return (
                f"no AUC can be estimated without labels: no AUC, or every one, explains this separation with {used}; "
                "the share is another, or the test's normal images differ from the training images"
            )
        return f"AUC {implied} (estimated, no labels), with {used}"

    @property
    def correlation(self) -> Mapping[str, float]:
        """Spearman's rank correlation of its scores with each member's main column; constant members are not in."""
        return {str(key): float(value) for key, value in self.info.get("correlation", {}).items()}

    @property
    def transductive(self) -> bool:
        """Whether a member of it was trained on the unlabelled test images too."""
        return bool(self.info.get("transductive", False))

    def scores(self) -> Scores:
        """float64 (k,) anomaly scores of the test images, verified.

        Raises:
            StorageError: if the file is missing or damaged.
        """
        scores = self._arrays().get("test")
        if scores is None or scores.dtype.kind not in "fiu" or scores.ndim != 1 or not np.isfinite(scores).all():
            raise StorageError(f"{self.folder / 'scores.npz'} must hold one finite score an image; blend again")
        return scores.astype(np.float64)

    def rule(self) -> "Blend":
        """The blend as it was made, to score rows of new images with its frozen normaliser and weights.

        Raises:
            StorageError: as for `scores`.
        """
        from ensemble_ad.blend import Blend

        scores, arrays = self.scores(), self._arrays()
        try:
            return Blend.from_state({**arrays, "scores": scores})
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise StorageError(f"{self.folder / 'scores.npz'} holds no rule ({why}); blend again") from error

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        path = self.folder / "scores.npz"
        if file_hash(path) != self.info["checksum"]:
            raise StorageError(f"{path} is damaged: its checksum differs; blend again")
        return read_arrays(path)


def save_blend(studies: Path, name: str, info: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> SavedBlend:
    """Write a blend, whole or not at all.

    A name that is taken is an error unless it holds the same blend, so that two runs never mix. The same blend made
    again takes what is known of the anomalies' share from the later one.

    Args:
        studies: the studies' folder.
        name: letters, digits and `_.+-`.
        info: JSON values.
        arrays: for `scores.npz`; `test` are the scores, the rest is `Blend.state`.

    Raises:
        UsageError: for a name that does not fit or is taken by another blend.
        StorageError: if it cannot be written.
    """
    folder = _folder(studies, name)
    if is_key(name):
        raise UsageError(f"{name!r} looks like a member's key; choose another with --name")
    identity = json_hash({key: info[key] for key in ("data", "method", "normaliser", "weights")})
    if not folder.exists():
        with whole_folder(folder) as part:
            np.savez(part / "scores.npz", **arrays)  # type: ignore[arg-type]
            value = {
                "format": FORMAT,
                "name": name,
                "created": _after_all(studies),
                "blended": _after_all(studies),
                "identity": identity,
                "checksum": file_hash(part / "scores.npz"),
                **info,
            }
            write_json(part / "blend.json", value)
    blend = load_blend(studies, name)
    if blend.info["identity"] != identity:
        raise UsageError(f"the name {name!r} is taken by another blend; choose another with --name")
    # Blending again makes a blend the latest one, which is what `ensad submit` hands in. The time is inside the file,
    # since copying a folder to another machine need not keep file times.
    later = {key: info[key] for key in _REFRESHED if key in info}
    write_json(folder / "blend.json", {**blend.info, **later, "blended": _after_all(studies)})
    return load_blend(studies, name)


def _after_all(studies: Path) -> str:
    """The time, or just after the latest blend's where a clock was set back: the last one made is what is handed in."""
    times = [datetime.now(UTC)]
    for blend in list_blends(studies)[0]:
        with suppress(ValueError, TypeError, OverflowError):
            times.append(datetime.fromisoformat(blend.info["blended"]).astimezone(UTC) + timedelta(microseconds=1))
    return max(times).isoformat(timespec="microseconds")


def check_name(name: str) -> None:
    """Refuse a name that no blend can have.

    Raises:
        UsageError: unless it is made of letters, digits and `_.+-`.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"a blend's name must be letters, digits and _ . + - (100 at most), not {name!r}")


def _folder(studies: Path, name: str) -> Path:
    check_name(name)
    return studies / "blends" / name


def load_blend(studies: Path, name: str) -> SavedBlend:
    """Read a blend's `blend.json`.

    Raises:
        UsageError: if there is none of that name; the message lists those there are.
        StorageError: if it is damaged or of another format.
    """
    folder = _folder(studies, name)
    if not folder.is_dir():
        known = ", ".join(blend.name for blend in list_blends(studies)[0]) or "none; run `ensad blend`"
        raise UsageError(f"unknown blend {name!r}; the blends in {studies} are {known}")
    path = folder / "blend.json"
    info = read_json(path)
    problem = StorageError(f"{path} is not a blend that this version reads; remove {folder} and blend again")
    if not fits(info, _KINDS) or info.get("format") != FORMAT or info.get("name") != name:
        raise problem
    later = {key: kind for key, kind in _LATER_KINDS.items() if key in info}
    share = {"value": 0, "standard_error": 0} if info.get("share") is None else info["share"]
    if not fits(info, later) or not fits(share, {"value": _NUMBER, "standard_error": _NUMBER}):
        raise problem
    if not _is_plain(info):
        raise problem
    blend = SavedBlend(name=name, folder=folder, info=info)
    try:
        _ = blend.share
    except UsageError:
        raise problem from None
    return blend


def _is_plain(info: Mapping[str, Any]) -> bool:
    """Whether numbers are numbers, names names, and what a table shows text without control characters."""
    numbers = (*info["weights"].values(), *info.get("correlation", {}).values())
    names = (*info["families"], *info["weights"], *info.get("correlation", {}))
    texts = (info["method"], info["labels_used"], info["created"], info["blended"], info["data"], info["checksum"],
             info.get("explanation", ""), *names)  # fmt: skip
    return (
        all(fits(number, _NUMBER) and abs(number) < _MOST for number in numbers)
        and all(isinstance(text, str) and is_text(text) and len(text) < _LONGEST for text in texts)
        and all(isinstance(key, str) and is_key(key) for key in info["members"])
        and len(info["members"]) > 0
    )


def list_blends(studies: Path) -> tuple[list[SavedBlend], list[str]]:
    """All blends, the latest last, and a line about each folder that is not one."""
    blends, problems = [], []
    for folder in sorted((studies / "blends").glob("*")):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            blends.append(load_blend(studies, folder.name))
        except EnsadError as error:
            problems.append(str(error))
    blends.sort(key=lambda blend: (str(blend.info["blended"]), blend.name))
    return blends, problems


def latest_blend(studies: Path) -> SavedBlend:
    """The blend that was made last.

    Raises:
        UsageError: if there is none.
        StorageError: if one is damaged, which may be the latest.
    """
    blends, problems = list_blends(studies)
    if problems:
        raise StorageError(f"{problems[0]}, or name a blend with --blend")
    if not blends:
        raise UsageError(f"there is no blend in {studies}; run `ensad blend --members fcn,resnet` first")
    return blends[-1]
