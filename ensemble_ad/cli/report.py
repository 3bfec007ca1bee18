"""`ensad report`."""

import shlex
from pathlib import Path

import click

from ensemble_ad.cli import _completion, _options


@click.command(short_help="Write one HTML page about a blend.")
@click.option("--blend", shell_complete=_completion.blends, help="Which blend.  [default: the latest]")
@click.option(
    "-o",
    "--output",
    type=_options.OUTPUT_FILE,
    help="HTML file to write; one that is there is replaced, - is stdout.  [default: report-BLEND.html]",
)
@_options.labels
@click.option(
    "--pictures",
    type=click.IntRange(0, 24),
    default=6,
    show_default=True,
    help="Test images in each group of pictures; 0 leaves pictures and latents out, and torch with them.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap's bands and of the latents' noise."
)
@_options.storage
@_options.device
@_options.data
@_options.studies
@_options.output
def report(
    blend: str | None,
    output: Path | None,
    labels: Path | None,
    pictures: int,
    seed: int,
    storage: str | None,
    device: str,
    data: Path,
    studies: Path,
    say: _options.Say,
) -> None:
    """Write a report of a blend, by default the latest, as one HTML file that needs no network.

    It holds how good the blend is and how sure that is, the table of everything tried, score distributions, weights,
    correlations, Optuna's searches, pictures with reconstructions and error maps, latents, and how it was made. Labels
    are used where you name them with --labels, or where `ensad evaluate` was run and its file of labels is still there,
    unchanged; else AUCs are estimates, and marked so. What is missing, such as the images, is left out, and the page
    says so. The file's path is printed on stdout.

    \b
    Example:
      ensad report
      ensad report --blend both -o both.html
      ensad report --labels labels.csv --pictures 12
    """
    from ensemble_ad.cli import _folders, _outputs
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.files.whole import whole_file
    from ensemble_ad.results.page import Sources, collect, render

    chosen = _folders.blend(studies, blend)
    sources = Sources(
        studies=studies, data=data, labels=labels, storage=storage, pictures=pictures, seed=seed, device=device
    )
    with busy(say, f"looking into {chosen.name}"):
        page = collect(chosen, sources)
        text = render(page)
    for note in page.notes:
        say.warn(note)
    path = output or Path(f"report-{chosen.name}.html")
    with whole_file(path, named_by_user=True) as part:
        part.write_text(text, encoding="utf-8")
    first = page.headline.judged[0]
    size = len(text.encode())
    say.result(
        _outputs.said(path),
        path=path,
        blend=chosen.name,
        bytes=size,
        auc={"value": first.value, "low": first.low, "high": first.high, "measured": first.measured},
        labels=page.labels.said,
    )
    say(f"{size / 1e6:.1f} MB in one file; open it in a browser")
    some = [f"ensad latent --member {sheet.key} --image {shlex.quote(sheet.name)}" for sheet in page.latents[:1]]
    blind = chosen.info.separation is None
    say.next(f"ensad score IMAGES --blend {chosen.name}" if blind else "ensad submit", *some)
