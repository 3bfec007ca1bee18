"""Blends on disk: `studies/blends/<name>/` with `blend.json` and `scores.npz`: scores and the frozen rule."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.shown import in_a_line
from ensemble_ad.errors import FIRST_STUDY, EnsadError, StorageError, UsageError, in_one_line
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.files.whole import file_hash, whole_folder
from ensemble_ad.layout import BLEND_ARRAYS, BLEND_INFO, blend_folder, blends_folder, is_key, members_folder
from ensemble_ad.members.measured import UnfitError
from ensemble_ad.statistics.implied import Share

if TYPE_CHECKING:
    import numpy.typing as npt

    from ensemble_ad.blend import Blend
    from ensemble_ad.statistics.arrays import Floats32, Floats64


@dataclass(frozen=True, kw_only=True, repr=False)
class SavedBlend:
    """A blend that was made.

    Attributes:
        name: the blend's name.
        folder: the folder of its files.
        info: what else is known of it.
    """

    name: str
    folder: Path
    info: BlendInfo

    def __repr__(self) -> str:
        return f"SavedBlend({self.name!r}, {in_a_line(self.info.method, self.weights, self.info.separation)})"

    @property
    def data(self) -> str:
        """Fingerprint of its data set."""
        return self.info.data

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each column, by `Column.name`."""
        return self.info.weights

    @property
    def share(self) -> Share | None:
        """As `BlendInfo.known_share`."""
        return self.info.known_share

    def estimate_in_words(self) -> str:
        """The AUC that its separation implies, and the share of anomalies used; or why no AUC can be given."""
        share, separation = self.share, self.info.separation
        if separation is None:
            seen = self.info.foreseen
            return "no AUC can be estimated without test images" + (
                "" if seen is None else f"; on kinds of pseudo-anomaly that it was not weighted by, it is {seen:.3f}"
            )
        if share is None:
            return "no AUC can be estimated without labels: too few images to estimate the share of anomalies"
        if share.why_none:
            return f"no AUC can be estimated without labels: {share.why_none}"
        implied = share.implied_auc(separation.value, separation.standard_error, own_shift=self.info.is_auto)
        if implied is None:
            return (
                "no AUC can be estimated without labels: no AUC, or almost every one, explains this separation with "
                f"{share.in_words}; the share is another, or the test's normal images differ from the training images"
            )
        return f"AUC {implied} (estimated, no labels), with {share.in_words}"

    def scores(self) -> "Floats64":
        """float64 (k,) anomaly scores of the test images, verified.

        Raises:
            StorageError: if the file is missing or damaged.
        """
        import numpy as np  # here, since a table of blends opens no arrays

        scores = self._arrays().get("test")
        if scores is None or scores.dtype.kind not in "fiu" or scores.ndim != 1 or not np.isfinite(scores).all():
            raise StorageError(f"{self.folder / BLEND_ARRAYS} must hold one finite score an image; blend again")
        return scores.astype(np.float64)

    def later(self) -> "Floats32 | None":
        """float32 (k, m) error vectors of the test images that came after its members, verified; None without such.

        They are the members' own, by the order of `weights`, also of columns that enter inverted.

        Raises:
            StorageError: as for `scores`.
        """
        import numpy as np

        if self.info.batch is None:
            return None
        found = self._arrays().get("later")
        shape = (len(self.scores()), len(self.weights))
        if found is None or found.dtype != np.float32 or found.shape != shape or not np.isfinite(found).all():
            raise StorageError(f"{self.folder / BLEND_ARRAYS} must hold finite error vectors {shape}; blend again")
        return found

    def rule(self) -> "Blend":
        """The blend as it was made, to score rows of new images with its frozen normaliser and weights.

        Raises:
            StorageError: as for `scores`, and for a rule that does not score.
        """
        from ensemble_ad.blend import Blend
        from ensemble_ad.blend.well_formed import check_rule

        scores, arrays = self.scores(), self._arrays()
        try:
            rule = Blend.from_state({**arrays, "scores": scores})
            check_rule(rule)
        except StorageError as error:
            raise StorageError(f"{self.folder / BLEND_ARRAYS} holds no rule ({error}); blend again") from error
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            why = in_one_line(error, 200, with_kind=True)
            raise StorageError(f"{self.folder / BLEND_ARRAYS} holds no rule ({why}); blend again") from error
        return rule

    def _arrays(self) -> "dict[str, npt.NDArray[Any]]":
        from ensemble_ad.files.arrays import read_arrays

        path = self.folder / BLEND_ARRAYS
        if file_hash(path) != self.info.checksum:
            raise StorageError(f"{path} is damaged: its checksum differs; blend again")
        return read_arrays(path)


def save_blend(
    studies: Path, info: BlendInfo, arrays: "Mapping[str, npt.NDArray[Any]]", *, overwrite: bool = False
) -> SavedBlend:
    """Write a blend, whole or not at all.

    A name that is taken is an error unless it holds the same blend, so that two runs never mix. The same blend made
    again takes what is known of the anomalies' share from the later one.

    Args:
        studies: the studies' folder.
        info: what is known of the blend; times, identity and checksum are added.
        arrays: the arrays of its file by name: `test` the scores, the others what `Blend.state` gives.
        overwrite: replace another blend of that name.

    Raises:
        UsageError: for a name that does not fit or is taken by another blend.
        StorageError: if it cannot be written.
    """
    import numpy as np

    name, folder = info.name, blend_folder(studies, info.name)
    if is_key(name):
        raise UsageError(f"{name!r} looks like a member's key; choose another with --name")
    made = info.made()
    if not folder.exists() or (overwrite and load_blend(studies, name).info.identity != made.identity):
        with whole_folder(folder, overwrite=overwrite) as part:
            np.savez(part / BLEND_ARRAYS, **arrays)  # type: ignore[arg-type]
            now = _after_all(studies)
            made = replace(made, created=now, blended=now, checksum=file_hash(part / BLEND_ARRAYS))
            write_json(part / BLEND_INFO, made.to_json())
    blend = load_blend(studies, name)
    if blend.info.identity != made.identity:
        raise UsageError(f"the name {name!r} is taken by another blend; choose another with --name")
    # Blending again makes a blend the latest one, which is what `ensad submit` hands in. The time is inside the file,
    # since copying a folder to another machine need not keep file times.
    write_json(folder / BLEND_INFO, blend.info.made_again(made, _after_all(studies)).to_json())
    return load_blend(studies, name)


def _after_all(studies: Path) -> str:
    """The time; where a clock was set back, just after the latest blend's, since the last one made is handed in."""
    times = [datetime.now(UTC)]
    for blend in list_blends(studies)[0]:
        with suppress(ValueError, TypeError, OverflowError):
            times.append(datetime.fromisoformat(blend.info.blended).astimezone(UTC) + timedelta(microseconds=1))
    return max(times).isoformat(timespec="microseconds")


def load_blend(studies: Path, name: str) -> SavedBlend:
    """Read a blend's `blend.json`.

    Raises:
        UsageError: if there is none of that name; the message lists those there are.
        StorageError: if it is damaged or of another format.
    """
    folder = blend_folder(studies, name)
    if not folder.is_dir():
        known = ", ".join(blend.name for blend in list_blends(studies)[0]) or f"none; {_how_to_begin(studies)}"
        raise UsageError(f"unknown blend {name!r}; the blends in {studies} are {known}")
    path = folder / BLEND_INFO
    value = read_json(path)
    try:
        info = BlendInfo.from_json(value)
        if info.name != name:
            raise UnfitError("name")
    except UnfitError:
        raise StorageError(f"{path} is not a blend that this version reads; remove {folder} and blend again") from None
    return SavedBlend(name=name, folder=folder, info=info)


def list_blends(studies: Path) -> tuple[list[SavedBlend], list[str]]:
    """All blends, the latest last, and a line about each folder that is not one."""
    blends, problems = [], []
    for folder in sorted(blends_folder(studies).glob("*")):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            blends.append(load_blend(studies, folder.name))
        except EnsadError as error:
            problems.append(str(error))
    blends.sort(key=lambda blend: (blend.info.blended, blend.name))
    return blends, problems


def latest_blend(studies: Path) -> SavedBlend:
    """The blend that was made last.

    Raises:
        UsageError: if there is none.
        StorageError: if one is damaged, which may be the latest.
    """
    blends, problems = list_blends(studies)
    if problems:
        raise StorageError(f"{problems[0]}, or choose a blend by --blend")
    if not blends:
        raise UsageError(f"there is no blend in {studies}; {_how_to_begin(studies)} first")
    return blends[-1]


def _how_to_begin(studies: Path) -> str:
    """What has to be run before there can be a blend."""
    has_members = any(is_key(folder.name) for folder in members_folder(studies).glob("*"))
    return f"run `{'ensad blend' if has_members else FIRST_STUDY}`"
