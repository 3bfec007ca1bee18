"""What lies in the folders that a command is given: the images, the members, the blend that is meant."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble_ad.cli._options import DATA, Say
from ensemble_ad.errors import FIRST_STUDY

if TYPE_CHECKING:
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.data.dataset import Dataset
    from ensemble_ad.members.data_record import DataRecord
    from ensemble_ad.members.store import Member


def dataset(data: Path, studies: Path, *, test_optional: bool = False) -> "Dataset":
    """The images of `data`; see `load_dataset`."""
    from ensemble_ad.data.dataset import load_dataset
    from ensemble_ad.layout import preprocessed_folder

    return load_dataset(data, image_cache=preprocessed_folder(studies), test_optional=test_optional)


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


def blend(studies: Path, name: str | None) -> "SavedBlend":
    """The blend of that name, or the latest."""
    from ensemble_ad.blend.saved import latest_blend, load_blend

    return latest_blend(studies) if name is None else load_blend(studies, name)


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
    if known is None or not Path(known.source).is_dir() or Path(known.source).resolve() == DATA.resolve():
        return {}
    return {"data": known.source}


def blending(studies: Path, cached: "Sequence[Member]") -> str:
    """What to run where there are these members and no blend: one, or the study that it needs."""
    known = record(studies, cached[-1].data) if cached else None
    return "ensad blend" if known is not None and known.ids else FIRST_STUDY
