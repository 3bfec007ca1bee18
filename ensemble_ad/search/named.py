"""The families that a command is asked for: `fcn`, `fcn,resnet` or `all`."""

from collections.abc import Callable
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


def studies_of(
    dataset: Dataset, settings: TuneSettings, text: str, tell: Callable[[str], object]
) -> list[TuneSettings]:
    """The settings of the study of each family that `text` names, checked before any of them begins.

    Args:
        dataset: the images.
        settings: what every study is told; their family is not read.
        text: as for `named_families`.
        tell: told of each family of `all` that does not fit the settings, or the images, that it is left out, and why.

    Raises:
        UsageError: for a family that is not known, and one that does not fit and was named; for `all` if none fits.
    """
    fitting: list[TuneSettings] = []
    unfit: list[UsageError] = []
    for name in named_families(text):
        own = replace(settings, family=name)
        try:
            Plan(dataset, own)
        except UsageError as error:
            if text.strip() != ALL:
                raise
            unfit.append(error)
            tell(f"{name} is left out: {error}")
        else:
            fitting.append(own)
    if not fitting:
        raise unfit[0]
    return fitting
