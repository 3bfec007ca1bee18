"""`ensad explain`."""

import shlex
from pathlib import Path

import click

from ensemble_ad.cli import _completion, _options


@click.command(short_help="Show where in images a blend sees anomalies.")
@click.argument("images", nargs=-1, required=True, type=_options.PATH)
@click.option("--blend", shell_complete=_completion.blends, help="Which blend.  [default: the latest]")
@click.option(
    "-o",
    "--output",
    "maps",
    type=_options.OUTPUT_FOLDER,
    default=Path("maps"),
    show_default=True,
    help="Folder to write to; maps that are there are replaced.",
)
@click.option("--raw", is_flag=True, help="Write each map's numbers too, as NAME.map.npy.")
@_options.device
@_options.studies
@_options.output
def explain(
    images: tuple[Path, ...],
    blend: str | None,
    maps: Path,
    raw: bool,
    device: str,
    studies: Path,
    say: _options.Say,
) -> None:
    """Lay over each of IMAGES where a blend sees anomalies, and write it as NAME.map.png.

    IMAGES are those of `ensad score`. A map spreads how surprising an image is, -ln of its p value, over its pixels by
    the members' errors, so that its mean is about 1 in normal images and maps compare between images. The picture stays
    grey up to 5, a line surrounds what is above 7, and from 14 on it is pale yellow; a map of a mean above 4 is drawn
    as if it had that one. --raw writes float32 arrays of the picture's height and width. The folder is printed on
    stdout.

    \b
    Example:
      ensad explain part.png
      ensad explain camera/ --blend both -o where --raw
    """
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy, counted
    from ensemble_ad.data.remarks import Remarks
    from ensemble_ad.data.stream import count, stream
    from ensemble_ad.detect.explain import AT_ONCE
    from ensemble_ad.detect.scorer import load_blend
    from ensemble_ad.detect.skipped import Skipped

    with busy(say, "loading the models"):
        scorer = load_blend(blend, studies, device=device)
        members = scorer.explaining
    skipped, remarks, folder = Skipped(), Remarks(), scorer.map_folder(maps, raw=raw)
    expected = count(images, remarks)
    with counted(say, expected) as steps:
        for block in stream(
            images, scorer.shape, conversion=scorer.conversion, block=AT_ONCE, skip=skipped, remarks=remarks
        ):
            for name, image, shape, errors in zip(*block, scorer.explain(block.images), strict=True):
                folder.write(name, image, errors, shape)
                steps.done(folder.count, name)
            for line in skipped.news():
                say.warn(line)
    say.result(
        str(maps) if folder.count else None,
        folder=maps,
        blend=scorer.blend.name,
        members=members,
        image_count=folder.count,
        failed=skipped.first,
        failed_count=skipped.count,
        remarks=remarks.counts,
    )
    _folders.tell(remarks.lines(), say)
    if skipped.count:
        raise skipped.error(folder.count, "explained", "the maps of the others were written")
    say(f"{folder.count} maps by {len(members)} of {len(scorer.blend.info.members)} members")
    say.next(f"ensad score IMAGES --blend {scorer.blend.name} --maps {shlex.quote(str(maps))}")
