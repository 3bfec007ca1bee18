"""`ensad export`."""

from pathlib import Path

import click

from ensemble_ad.cli import _completion, _options


@click.command(short_help="Write a blend as one file for another machine.")
@click.argument("name", required=False, shell_complete=_completion.blends)
@click.option(
    "-o", "--output", type=_options.OUTPUT, help="A zip, a folder to make, or - for stdout.  [default: NAME.zip]"
)
@_options.studies
@_options.output
def export(name: str | None, output: Path | None, studies: Path, say: _options.Say) -> None:
    """Write the blend NAME, by default the latest, with its models, as a zip or folder that `ensad import` loads.

    It holds no images, but the test images' ids and scores and where the data lay. The path is printed on stdout.

    \b
    Example:
      ensad export both
      ensad export both -o /media/stick/both.zip
    """
    from ensemble_ad.blend.exported import export_blend
    from ensemble_ad.cli import _folders, _outputs
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.detect.probe import probe
    from ensemble_ad.detect.scorer import load_blend as load_scorer
    from ensemble_ad.errors import UsageError

    blend = _folders.blend(studies, name)
    try:
        probed = probe(load_scorer(blend.name, studies, device="cpu"))
    except UsageError as error:
        probed = None
        say.warn(f"this blend cannot score new images, here or elsewhere: {error}")
    with busy(say, f"writing {blend.name}"):
        path = export_blend(studies, blend, output or Path(f"{blend.name}.zip"), probe=probed)
    say.result(_outputs.said(path), path=path, blend=blend.name, scores_new_images=probed is not None)
    say.next(f"ensad import {_outputs.to_read(path, 'FILE')}", where="on the other machine")
