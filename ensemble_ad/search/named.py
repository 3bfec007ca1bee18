"""The families that a command is asked for: `fcn`, `fcn,resnet` or `all`."""

from dataclasses import replace

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES, family
from ensemble_ad.search.plan import Plan, TuneSettings

ALL = "all"


def named_families(text: str) -> tuple[str, ...]:
    """The families' names in a list with commas, each once; `all` is every family there is.

    Raises:
        UsageError: for a family that is not known.
    """
    if text.strip() == ALL:
        return tuple(FAMILIES)
    return tuple(dict.fromkeys(family(part.strip()).name for part in text.split(",")))


def studies_of(dataset: Dataset, settings: TuneSettings, text: str) -> tuple[list[TuneSettings], dict[str, str]]:
    """The settings of the study of each family that `text` names, checked before any of them begins.

    Args:
        dataset: the images.
        settings: what every study is told; their family is not read.
        text: as for `named_families`.

    Returns:
        The settings, and of each family of `all` that does not fit them, or the images, why it is left out.

    Raises:
        UsageError: for a family that is not known, and one that does not fit and was named; for `all` if none fits.
    """
    fitting: list[TuneSettings] = []
    left_out: dict[str, str] = {}
    for name in named_families(text):
        own = replace(settings, family=name)
        try:
            Plan(dataset, own)
        except UsageError as error:
            left_out[name] = str(error)
            if text.strip() != ALL:
                raise
        else:
            fitting.append(own)
    if not fitting:
        raise UsageError(next(iter(left_out.values())))
    return fitting, left_out
