"""What lies in the folders that a command is given: the images, the members, the blend that is meant."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble_ad.cli._output import Say
from ensemble_ad.errors import FIRST_STUDY

if TYPE_CHECKING:
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.data.dataset import Dataset
    from ensemble_ad.data.fit import Fit
    from ensemble_ad.data.images import ImageSet
    from ensemble_ad.members.data_record import DataRecord
    from ensemble_ad.members.store import Member


DATA = Path("data")
"""The data folder, unless another one is named."""


def dataset(
    data: Path,
    studies: Path,
    say: Say,
    fit: "Fit",
    *,
    test_optional: bool = False,
    look: bool = True,
    groups: Path | None = None,
) -> "Dataset":
    """The images of `data`; see `load_dataset`."""
    from ensemble_ad.cli._progress import decoding
    from ensemble_ad.data.dataset import load_dataset
    from ensemble_ad.layout import preprocessed_folder

    cache = preprocessed_folder(studies)
    with decoding(say) as progress:
        return load_dataset(
            data, image_cache=cache, test_optional=test_optional, look=look, groups=groups, fit=fit, progress=progress
        )


def check_worth(dataset: "Dataset", data: Path, say: Say, *, anyway: bool) -> None:
    """Say what was passed over, and stop before anything is trained on what `ensad data check` calls an error.

    It takes seconds for 100,000 images.

    Raises:
        DataError: if there is an error, and the user did not say to go on anyway.
    """
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.data.check import worthless
    from ensemble_ad.errors import DataError

    tell(dataset.remarks(), say)
    with busy(say, "checking the images"):
        found = worthless(dataset, data)
    if found and not anyway:
        raise DataError(
            f"{'; '.join(found)}: what is trained on this would be worthless; mend the data, or pass --anyway"
        )
    for text in found:
        say.warn(text)


def tell(remarks: Iterable[tuple[str, str]], say: Say) -> None:
    """Say what was passed over in folders, and which pictures are not used as they are; see `Remarks.lines`."""
    for level, text in remarks:
        (say.warn if level == "warning" else say)(text)


def check_images(
    data: Path, studies: Path, fingerprint: str, made: str, say: Say, *, anyway: bool | None = None
) -> "DataRecord":
    """The record of a data set, once it is sure that the images in `data`, if they are there, are still the same.

    Args:
        data: the data folder.
        studies: the studies' folder.
        fingerprint: the data set's.
        made: what was made of it, for messages.
        say: for the warning.
        anyway: whether the user said to go on, so that there is a warning only; None where one cannot say so.

    Raises:
        DataError: if the images are others.
    """
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.errors import DataError
    from ensemble_ad.members.data_record import load_data_record
    from ensemble_ad.results.same_images import difference

    record = load_data_record(studies, fingerprint)
    with busy(say, "comparing the images"):
        found = difference(data, studies, record, made)
    if found is not None and not anyway:
        going_on = "" if anyway is None else ", or pass --anyway to take the scores as they are"
        raise DataError(f"{found}; name the folder of those with --data, or tune and blend again{going_on}")
    if found is not None:
        say.warn(found)
    return record


def members(studies: Path, say: Say) -> "list[Member]":
    """All members, the oldest first; damaged ones are named and left out.

    Raises:
        UsageError: if there is none.
    """
    from ensemble_ad.errors import UsageError
    from ensemble_ad.members.store import list_members

    found, problems = list_members(studies)
    for problem in problems:
        say.warn(problem)
    if not found:
        raise UsageError(f"there is no member in {studies}; run `{FIRST_STUDY}` first")
    return found


def members_of(data: Path, studies: Path, cached: "Sequence[Member]") -> "list[Member]":
    """Those of `cached` (oldest first) that were made of the images in `data`, of the data set last worked on.

    Raises:
        DataError: if there is no such folder.
        UsageError: if no member is of its images.
    """
    from ensemble_ad.errors import DataError, UsageError
    from ensemble_ad.results.same_images import difference

    if not data.is_dir():
        raise DataError(f"the data folder {data} does not exist; name the one that the members were made of")
    for fingerprint in dict.fromkeys(member.data for member in reversed(cached)):
        known = record(studies, fingerprint)
        if known is not None and difference(data, studies, known, "a member") is None:
            return [member for member in cached if member.data == fingerprint]
    raise UsageError(f"no member in {studies} was made of the images in {data}; run `{FIRST_STUDY}` first")


def blend(studies: Path, name: str | None) -> "SavedBlend":
    """The blend of that name, or the latest."""
    from ensemble_ad.blend.saved import latest_blend, load_blend

    return latest_blend(studies) if name is None else load_blend(studies, name)


def unseen_images(blend: "SavedBlend", data: Path, studies: Path) -> "ImageSet":
    """The test images in `data`, for a blend that was made without any: whoever calls this was asked to look at them.

    Raises:
        DataError: if there are none.
    """
    from ensemble_ad.data.dataset import TEST, open_images
    from ensemble_ad.errors import DataError
    from ensemble_ad.layout import preprocessed_folder
    from ensemble_ad.members.data_record import load_data_record

    conversion = load_data_record(studies, blend.data).conversion
    test = open_images(data, TEST, preprocessed_folder(studies), conversion)
    if test is None:
        raise DataError(
            f"{blend.name} was made without test images, and {data} has none to score; put them into testingset.npy or "
            "test/, or name the folder that has them with --data"
        )
    return test


def record(studies: Path, fingerprint: str) -> "DataRecord | None":
    """The record of a data set; None where it cannot be read, for who only hints by it."""
    from ensemble_ad.errors import StorageError
    from ensemble_ad.members.data_record import load_data_record

    with suppress(StorageError):
        return load_data_record(studies, fingerprint)
    return None


def data_of(studies: Path, fingerprint: str) -> dict[str, str]:
    """For a hint: where a data set was read from, as it was named then; nothing if that is gone, or the default."""
    known = record(studies, fingerprint)
    if known is None or not known.source or known.folder is None or known.folder.resolve() == DATA.resolve():
        return {}
    return {"data": known.source}


def blending_of(studies: Path, fingerprint: str, members: str | None = None) -> str:
    """The command that blends members of a data set, by default of all families that have some.

    The data set is named where it is not the one last worked on.
    """
    from ensemble_ad.members.store import list_members

    cached = list_members(studies)[0]
    named = members or ",".join(sorted({member.family for member in cached if member.data == fingerprint}))
    last = cached[-1].data if cached else fingerprint
    return f"ensad blend --members {named}" + ("" if last == fingerprint else f" --dataset {fingerprint[:8]}")


def blending(studies: Path, cached: "Sequence[Member]") -> str:
    """What to run where there are these members and no blend: one, or the study that it needs."""
    known = record(studies, cached[-1].data) if cached else None
    return "ensad blend" if known is not None else FIRST_STUDY
