"""`ensad families`."""

import click

from ensemble_ad.cli import _options
from ensemble_ad.errors import FIRST_STUDY


@click.command(short_help="List families, presets, their sources and search spaces.")
@_options.output
def families(say: _options.Say) -> None:
    """List the families of models, the published systems among them, and what a study searches.

    \b
    Example:
      ensad families
    """
    from ensemble_ad.families import FAMILIES
    from ensemble_ad.families.catalogue import catalogue, common_search
    from ensemble_ad.search.plan import TuneSettings

    listed, common = catalogue(TuneSettings.epochs), common_search(TuneSettings.epochs)
    say.result(families=listed, common_search=common)
    for family in listed:
        multiple = family["side_multiple"]
        sides = "any side" if multiple == 1 else f"sides that are multiples of {multiple}"
        say.result(f"{family['name']}: {family['summary']} ({sides} from {family['least_side']} to 256)")
        for name, preset in FAMILIES[family["name"]].presets.items():
            say.result(f"  {name}: {preset.architecture}")
            say.result(f"    {preset.source}")
        say.result("  a study searches:")
        for name, values in family["search"].items():
            say.result(f"    {name}: {values}")
    say.result("every study that does not say otherwise searches besides:")
    for name, values in common.items():
        say.result(f"    {name}: {values}")
    say.next(FIRST_STUDY, "ensad train --preset fcn-boss")
