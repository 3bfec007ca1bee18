"""`ensad families`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ensemble_ad.cli import _options
from ensemble_ad.errors import FIRST_STUDY


@click.command(short_help="List families: what they cost here, what they are made for.")
@_options.studies
@_options.output
def families(studies: Path, say: _options.Say) -> None:
    """List the families of models: how long a trial takes, and what each is made for.

    The seconds are the median of the trials in the studies' folder; where it has none of a family, about what one takes
    on two CPU cores with 9,000 images of 64 pixels (~). With -v also the published systems with their sources, and what
    a study searches.

    \b
    Example:
      ensad families
      ensad families -v
    """
    from ensemble_ad.anytime.portfolio import usual_cost
    from ensemble_ad.cli._table import print_table
    from ensemble_ad.families.catalogue import catalogue, common_search
    from ensemble_ad.search.plan import TuneSettings

    listed, common = catalogue(TuneSettings.epochs), common_search(TuneSettings.epochs)
    seconds = _seconds(studies)
    for family in listed:
        family["seconds"], family["usual_seconds"] = seconds.get(family["name"]), usual_cost(family["name"])
    say.result(families=listed, common_search=common)
    if not say.as_json:
        rows = [(family["name"], _cost(family), family["suits"]) for family in listed]
        print_table(("family", "a trial", "made for"), rows)
    if say.level >= 1:
        _tell(listed, common, say)
    say.next(FIRST_STUDY, "ensad run --time 30m")


def _seconds(studies: Path) -> dict[str, float]:
    """The median of what a trial of each family took, to train and to score, by the members in the studies' folder."""
    from statistics import median

    from ensemble_ad.members.store import list_members

    took: dict[str, list[float]] = {}
    for member in list_members(studies)[0]:
        if member.info.trial is not None:
            took.setdefault(member.family, []).append(member.info.seconds.train + member.info.seconds.score)
    return {name: round(median(times), 1) for name, times in took.items()}


def _cost(family: Mapping[str, Any]) -> str:
    if family["seconds"] is not None:
        return f"{family['seconds']:.3g} s"
    return "-" if family["usual_seconds"] is None else f"~{family['usual_seconds']:.0f} s"


def _tell(listed: Sequence[Mapping[str, Any]], common: Mapping[str, str], say: _options.Say) -> None:
    """The published systems, and what a study searches."""
    from ensemble_ad.families import FAMILIES

    for family in listed:
        multiple = family["side_multiple"]
        sides = "any side" if multiple == 1 else f"sides that are multiples of {multiple}"
        say.result(f"\n{family['name']}: {family['summary']} ({sides} from {family['least_side']} to 256)")
        for name, preset in FAMILIES[family["name"]].presets.items():
            say.result(f"  {name}: {preset.architecture}")
            say.result(f"    {preset.source}")
        say.result("  a study searches:")
        for name, values in family["search"].items():
            say.result(f"    {name}: {values}")
    say.result("every study that does not say otherwise searches besides:")
    for name, values in common.items():
        say.result(f"    {name}: {values}")
