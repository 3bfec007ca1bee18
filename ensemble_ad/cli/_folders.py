"""What lies in the folders that a command is given: the images, the members, the blend that is meant."""

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble_ad.cli._output import Say

if TYPE_CHECKING:
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.data.dataset import Dataset
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
        raise UsageError(f"there is no member in {studies}; run `ensad tune --family fcn --trials 50` first")
    return found


def blend(studies: Path, name: str | None) -> "SavedBlend":
    """The blend of that name, or the latest."""
    from ensemble_ad.blend.saved import latest_blend, load_blend

    return latest_blend(studies) if name is None else load_blend(studies, name)
