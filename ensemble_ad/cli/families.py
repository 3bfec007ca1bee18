"""`ensad families`."""

import click

from ensemble_ad.cli import _options


@click.command(short_help="List families, presets, their sources and search spaces.")
@_options.verbosity
def families(say: _options.Say) -> None:
    """List the families of models, the published systems among them, and what a study searches.

    \b
    Example:
      ensad families
    """
    from ensemble_ad.families import FAMILIES
    from ensemble_ad.families._base import SearchRanges
    from ensemble_ad.families._space import architecture_space, training_space
    from ensemble_ad.plan import TuneSettings

    common = SearchRanges()
    for family in FAMILIES.values():
        sides = "any side" if family.side_multiple == 1 else f"sides that are multiples of {family.side_multiple}"
        click.echo(f"{family.name}: {family.summary} ({sides} from {family.least_side} to 256)")
        for name, preset in family.presets.items():
            click.echo(f"  {name}: {preset.architecture}")
            click.echo(f"    {preset.source}")
        click.echo("  a study searches:")
        space = architecture_space(family)
        if family.ranges != common:
            space |= training_space(family.ranges, TuneSettings.epochs)
        for name, values in space.items():
            click.echo(f"    {name}: {values}")
    click.echo("every study that does not say otherwise searches besides:")
    for name, values in training_space(common, TuneSettings.epochs).items():
        click.echo(f"    {name}: {values}")
    say("next: ensad tune --family fcn --trials 50, or ensad train --preset fcn-boss")
