"""`ensad score`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from ensemble_ad.cli import _completion, _options


@click.command(short_help="Score new images with a saved blend.")
@click.argument("images", nargs=-1, required=True, type=_options.PATH)
@click.option("--blend", shell_complete=_completion.blends, help="Which blend.  [default: the latest]")
@click.option(
    "--alarm-rate",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of normal images that may raise an alarm; sets the threshold.",
)
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option(
    "-o",
    "--output",
    type=_options.FILE,
    help="File to write to, whole or not at all.  [default: stdout]",
)
@_options.device
@_options.studies
@_options.output
def score(
    images: tuple[Path, ...],
    blend: str | None,
    alarm_rate: float,
    kind: str,
    output: Path | None,
    device: str,
    studies: Path,
    say: _options.Say,
) -> None:
    """Score IMAGES: .npy files (uint8, N x side x side x 1 or 3), folders of pictures, or pictures, of any number.

    The columns are ID, score (higher = more anomalous) and alarm (1 above the threshold). Ids are rows of a .npy file,
    paths inside a folder, a picture's name; of several IMAGES each id begins with the one it is of. Images are read a
    thousand at a time. Ranks are frozen, so an image gets one score alone and in any batch. The threshold comes from
    the held-out normal images, by rules that were fitted without them.

    \b
    Example:
      ensad score new.npy > scores.csv
      ensad score camera/ --blend both --alarm-rate 0.05 | grep ",1$"
      ensad score part.png --format json
    """
    import sys
    import time

    from ensemble_ad.cli._progress import busy, counted
    from ensemble_ad.data.stream import check_sources, count, stream
    from ensemble_ad.detect.score_file import WRITERS, by_rows
    from ensemble_ad.detect.scorer import load_blend
    from ensemble_ad.files.whole import whole_file

    with busy(say, "loading the models"):
        scorer = load_blend(blend, studies, device=device)
        threshold = scorer.threshold(alarm_rate)
    check_sources(images, scorer.shape)
    say(f"{scorer.blend.name}: alarm above {threshold:.4f}, which {alarm_rate:g} of normal images exceed")
    if scorer.blend.info.transductive:
        say("a member was trained on the test images: those score otherwise here than in the blend; new ones are fine")
    about: dict[str, Any] = {"blend": scorer.blend.name, "alarm_rate": alarm_rate, "threshold": threshold}
    say.result(**about, output=output)
    started, total, alarms = time.perf_counter(), 0, 0
    with ExitStack() as stack:
        steps = stack.enter_context(counted(say, count(images) if say.live else None))
        if output is not None:
            part = stack.enter_context(whole_file(output, named_by_user=True))
            file = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
            write = stack.enter_context(WRITERS[kind](file, about))
        elif say.as_json:
            write = by_rows(stack.enter_context(say.listed("images")))
        else:
            write = stack.enter_context(WRITERS[kind](sys.stdout, about))
        for block in stream(images, scorer.shape):
            scores = scorer.score(block.images)
            write(block.ids, scores, scores > threshold)
            total, alarms = total + len(scores), alarms + int((scores > threshold).sum())
            rate = total / (time.perf_counter() - started)
            steps.done(total, f"{alarms} alarms {rate:,.0f} images/s")
    sys.stdout.flush()
    rate = total / (time.perf_counter() - started)
    say.result(image_count=total, alarm_count=alarms)
    say(f"{total} images, {alarms} alarms, {rate:,.0f} images/s")
    name = scorer.blend.name
    say.next("ensad compare" if Path(f"{name}.zip").exists() else f"ensad export {name}")
