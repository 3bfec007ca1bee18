"""`ensad families`."""

import click

from ensemble_ad.cli import _options


@click.command(short_help="List families, presets and their sources.")
@_options.verbosity
def families(say: _options.Say) -> None:
    """List the families of models, the published systems among them, and what a study searches.

    \b
    Example:
      ensad families
    """
    from ensemble_ad.families import FAMILIES

    for family in FAMILIES.values():
        sides = "any side" if family.side_multiple == 1 else f"sides that are multiples of {family.side_multiple}"
        click.echo(f"{family.name}: {family.summary} ({sides} from 16 to 256)")
        for name, preset in family.presets.items():
            click.echo(f"  {name}: {preset.architecture}")
            click.echo(f"    {preset.source}")
    say("next: ensad tune --family fcn --trials 50, or ensad train --preset fcn-boss")
