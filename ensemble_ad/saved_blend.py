"""Blends on disk: `studies/blends/<name>/` with `blend.json` and `scores.npz`: scores and the frozen rule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble_ad import storage
from ensemble_ad.blend import Blend
from ensemble_ad.cache import is_key
from ensemble_ad.errors import EnsadError, StorageError, UsageError

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_NUMBER = (int, float)
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

    def scores(self) -> Scores:
        """float64 (k,) anomaly scores of the test images, verified.

        Raises:
            StorageError: if the file is missing or damaged.
        """
        return np.asarray(self._arrays()["test"], dtype=np.float64)

    def rule(self) -> Blend:
        """The blend as it was made, to score rows of new images with its frozen normaliser and weights.

        Raises:
            StorageError: as for `scores`.
        """
        arrays = self._arrays()
        return Blend.from_state({"scores": arrays.pop("test"), **arrays})

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        path = self.folder / "scores.npz"
        if storage.file_hash(path) != self.info["checksum"]:
            raise StorageError(f"{path} is damaged: its checksum differs; blend again")
        with np.load(path, allow_pickle=False) as file:
            return dict(file)


def save_blend(studies: Path, name: str, info: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> SavedBlend:
    """Write a blend, whole or not at all.

    A name that is taken is an error unless it holds the same blend, so that two runs never mix.

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
    identity = storage.json_hash({key: info[key] for key in ("data", "method", "normaliser", "weights")})
    if not folder.exists():
        with storage.whole_folder(folder) as part:
            np.savez(part / "scores.npz", **arrays)  # type: ignore[arg-type]
            value = {
                "format": FORMAT,
                "name": name,
                "created": _now(),
                "blended": _now(),
                "identity": identity,
                "checksum": storage.file_hash(part / "scores.npz"),
                **info,
            }
            storage.write_json(part / "blend.json", value)
    blend = load_blend(studies, name)
    if blend.info["identity"] != identity:
        raise UsageError(f"the name {name!r} is taken by another blend; choose another with --name")
    # Blending again makes a blend the latest one, which is what `ensad submit` hands in. The time is inside the file,
    # since copying a folder to another machine need not keep file times.
    storage.write_json(folder / "blend.json", {**blend.info, "blended": _now()})
    return load_blend(studies, name)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _folder(studies: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(f"a blend's name must be letters, digits and _ . + - (100 at most), not {name!r}")
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
    info = storage.read_json(path)
    if not storage.fits(info, _KINDS) or info.get("format") != FORMAT or info.get("name") != name:
        raise StorageError(f"{path} is not a blend that this version reads; remove {folder} and blend again")
    return SavedBlend(name=name, folder=folder, info=info)


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
