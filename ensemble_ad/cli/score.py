"""`ensad score`."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    from ensemble_ad.data.seen import Strange
    from ensemble_ad.data.stream import Block
    from ensemble_ad.detect.overlays import MapFolder
    from ensemble_ad.detect.score_file import Write
    from ensemble_ad.detect.scorer import BlendScorer
    from ensemble_ad.detect.skipped import Skipped
    from ensemble_ad.statistics.arrays import Bools


@click.command(short_help="Score new images with a saved blend.")
@click.argument("images", nargs=-1, required=True, type=_options.PATH)
@click.option("--blend", shell_complete=_completion.blends, help="Which blend.  [default: the latest]")
@click.option(
    "--alarm-rate",
    type=float,
    help="Share of normal images that may raise an alarm; sets the threshold.  [default: 0.01, or the lowest that few "
    "held-out images carry]",
)
@click.option(
    "--p-values", is_flag=True, help="Add p_value: the share of held-out normal images that score as high or higher."
)
@click.option(
    "--fdr",
    type=float,
    help="Add discovery: 1 for images that stand out of the whole batch, of which so large a share is normal, on "
    "average (Benjamini-Hochberg on the p values); as in 0.05.",
)
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option(
    "-o",
    "--output",
    type=_options.OUTPUT_FILE,
    help="File to write to, whole or not at all.  [default: stdout]",
)
@click.option(
    "--maps",
    type=_options.OUTPUT_FOLDER,
    help="Folder that gets where each alarm is seen; see `ensad explain`.",
)
@click.option("--strict", is_flag=True, help="Stop at the first image that cannot be scored, and write no file.")
@_options.device
@_options.studies
@_options.output
def score(
    images: tuple[Path, ...],
    blend: str | None,
    alarm_rate: float | None,
    p_values: bool,
    fdr: float | None,
    kind: str,
    output: Path | None,
    maps: Path | None,
    strict: bool,
    device: str,
    studies: Path,
    say: _options.Say,
) -> None:
    """Score IMAGES: .npy files (N x height x width x 1 or 3), folders of pictures, or pictures, of any number.

    The columns are ID, score (higher = more anomalous) and alarm (1 above the threshold). Ids are rows of a .npy file,
    paths inside a folder, a picture's name, with the number of a page or frame (scan.tif#3); of several IMAGES each id
    begins with the one it is of. Pictures become images as those did that the blend was trained on. They are read a
    thousand at a time. Ranks are frozen, so an image gets one score alone and in any batch. The threshold comes from
    the held-out normal images, by rules that were fitted without them; how often a normal image may exceed it is said
    with its 95% interval, which is wide where few are held out.

    An image that cannot be read is named and left out; the others are scored, and the exit code is 3. A warning says
    how many images are unlike all training images: constant, far darker, grey instead of coloured. Their scores mean
    little, and --format json marks them.

    \b
    Example:
      ensad score new.npy > scores.csv
      ensad score camera/ --blend both --alarm-rate 0.05 | grep ",1$"
      ensad score part.png --format json
      ensad score camera/ --maps where
      ensad score lot-17/ --p-values --fdr 0.05 -o lot-17.csv
    """
    import sys
    import time

    from ensemble_ad.blend.alarm import check_rate, most_alarms
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy, counted
    from ensemble_ad.data.remarks import Remarks
    from ensemble_ad.data.seen import Strange
    from ensemble_ad.data.stream import check_sources, count, stream
    from ensemble_ad.detect.score_file import Scored
    from ensemble_ad.detect.scorer import load_blend
    from ensemble_ad.detect.skipped import Skipped

    if fdr is not None:
        check_rate(fdr)
    with busy(say, "loading the models"):
        scorer = load_blend(blend, studies, device=device)
        rate = scorer.usual_rate if alarm_rate is None else alarm_rate
        threshold = scorer.threshold(rate)
        if maps is not None:
            _ = scorer.explaining  # before anything is scored, since there may be none
    expected_rate = scorer.false_alarm_rate(rate)
    about: dict[str, Any] = {"blend": scorer.blend.name, "alarm_rate": rate, "threshold": threshold}
    about |= {"alarm_rate_low": expected_rate.low, "alarm_rate_high": expected_rate.high}
    _introduce(scorer, about, alarm_rate, say)
    say.result(**about, output=output, maps=maps)
    folder = None if maps is None else scorer.map_folder(maps)
    started, total, alarms = time.perf_counter(), 0, 0
    skipped, strange, remarks, passed_over = Skipped(), Strange(), Remarks(), Remarks()
    expected = count(images, passed_over)
    _folders.tell(passed_over.lines(), say)
    if strict:
        check_sources(images, scorer.shape, scorer.conversion)
    blocks = stream(
        images,
        scorer.shape,
        conversion=scorer.conversion,
        skip=None if strict else skipped,
        remarks=remarks,
        tell=lambda count: steps.done(total + count, "images are read"),
    )
    if not strict and kind == "csv" and (output is not None or not say.as_json):
        blocks = skipped.writable(blocks)
    with ExitStack() as stack:
        steps = stack.enter_context(counted(say, expected))
        write: Write | None = None
        for block in blocks:
            write = write or _writer(stack, kind, output, about, fdr, say)  # nothing is written before there is a score
            scores, unlike = scorer.score_and_compare(block.images)
            p = scorer.p_values_of(scores) if p_values or fdr is not None else None
            write(Scored(ids=block.ids, scores=scores, alarms=scores > threshold, unlike=unlike, p_values=p))
            if folder is not None:
                _explain(scorer, block, scores > threshold, folder)
            strange.add(block.ids, unlike)
            total, alarms = total + len(scores), alarms + int((scores > threshold).sum())
            for line in skipped.news():
                say.warn(line)
            speed = total / (time.perf_counter() - started)
            steps.done(total, f"{alarms} alarms {speed:,.0f} images/s")
    sys.stdout.flush()
    say.result(image_count=total, alarm_count=alarms, discovery_count=say.fields.get("discovery_count"))
    say.result(unlike=strange.counts)
    say.result(failed=skipped.first, failed_count=skipped.count, remarks=passed_over.counts | remarks.counts)
    _tell(total, skipped, strange, say)
    _folders.tell(remarks.lines(), say)
    say(f"{total} images, {alarms} alarms, {total / (time.perf_counter() - started):,.0f} images/s")
    usual = most_alarms(len(scorer.reference), rate, total)
    if alarms > usual:
        say(f"{usual} alarms at most are usual for normal images; parts that no training image shows alarm more often")
    if skipped.count:
        raise skipped.error(total)
    name = scorer.blend.name
    say.next("ensad compare" if Path(f"{name}.zip").exists() else f"ensad export {name}")


def _explain(scorer: "BlendScorer", block: "Block", alarms: "Bools", folder: "MapFolder") -> None:
    """Write where the images of a block that alarm are anomalous."""
    rows = alarms.nonzero()[0]
    for row, errors in zip(rows, scorer.explain(block.images[rows]), strict=True):
        folder.write(block.ids[row], block.images[row], errors, block.shapes[row])


def _introduce(scorer: "BlendScorer", about: Mapping[str, Any], alarm_rate: float | None, say: _options.Say) -> None:
    """Say what an alarm is, and what about these scores is not as usual."""
    from ensemble_ad.detect.scorer import ALARM_RATE

    if alarm_rate is None and about["alarm_rate"] > ALARM_RATE:
        say.warn(scorer.about_usual_rate())
    name, threshold, rate = about["blend"], about["threshold"], about["alarm_rate"]
    interval = f"{about['alarm_rate_low']:.2g} to {about['alarm_rate_high']:.2g}"
    by = f"({interval}, 95%, by {len(scorer.reference)} held-out ones)"
    say(f"{name}: alarm above {threshold:.4f}, which {rate:.3g} of normal images exceed {by}")
    if scorer.blend.info.transductive:
        say("a member was trained on the test images: those score otherwise here than in the blend; new ones are fine")


def _writer(
    stack: ExitStack, kind: str, output: Path | None, about: Mapping[str, Any], fdr: float | None, say: _options.Say
) -> "Write":
    """What writes scores to where they go, until `stack` is closed."""
    from ensemble_ad.detect.score_file import whole_batch

    def tell(count: int) -> None:
        say.result(discovery_count=count)
        say(f"{count} images stand out of the batch, of which {fdr:.3g} are normal, on average")

    write = _plain_writer(stack, kind, output, about, say)
    return write if fdr is None else stack.enter_context(whole_batch(write, fdr, tell))


def _plain_writer(
    stack: ExitStack, kind: str, output: Path | None, about: Mapping[str, Any], say: _options.Say
) -> "Write":
    import sys

    from ensemble_ad.detect.score_file import WRITERS, by_rows
    from ensemble_ad.files.whole import whole_file

    if output is not None:
        part = stack.enter_context(whole_file(output, named_by_user=True))
        return stack.enter_context(
            WRITERS[kind](stack.enter_context(part.open("w", encoding="utf-8", newline="")), about)
        )
    if say.as_json:
        return by_rows(stack.enter_context(say.listed("images")))
    return stack.enter_context(WRITERS[kind](sys.stdout, about))


def _tell(total: int, skipped: "Skipped", strange: "Strange", say: _options.Say) -> None:
    """Say which images could not be scored, and which are unlike all training images."""
    if total or skipped.count > 1:  # of a single one, the error says all
        for line in skipped.news():
            say.warn(line)
    if skipped.untold and total:
        say.warn(f"{skipped.untold} more could not be scored")
    if strange.count:
        say.warn(strange.in_words())
