"""`ensad submit`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.statistics.arrays import Floats64

_COMPETITION = "ml2022spring-hw8"


@click.command(short_help="Write the CSV to hand in.")
@click.option("--blend", shell_complete=_completion.blends, help="Which blend.  [default: the latest]")
@click.option(
    "--sample",
    type=_options.FILE,
    help="Sample submission whose columns, ids and order to keep.  [default: sample_submission.csv in the data folder]",
)
@click.option("--column", help="Name of the score's column, where the sample submission does not make it clear.")
@click.option("--competition", help="Kaggle's name of it, for the line to paste.  [default: ml2022spring-hw8 for .npy]")
@_options.anyway
@_options.device
@_options.data
@_options.studies
@_options.submissions
@_options.output
def submit(
    blend: str | None,
    sample: Path | None,
    column: str | None,
    competition: str | None,
    anyway: bool,
    device: str,
    data: Path,
    studies: Path,
    submissions: Path,
    say: _options.Say,
) -> None:
    """Write submissions/<time>-<blend>.csv; higher = more anomalous.

    The sample submission decides the columns, their names and order, the ids and their order; without one the columns
    are ID,score. Never overwrites. Refuses NaN, a constant score, a wrong count, ids that the sample submission does
    not have, and images in the data folder other than those that the blend was made of. A blend that was made without
    test images scores them now, with its models. The path is printed on stdout.

    \b
    Example:
      ensad submit
      ensad submit --blend fcn+resnet-1a2b3c --sample data/sample_submission.csv
      ensad submit --sample sample.csv --column Predicted
    """
    from datetime import datetime

    from ensemble_ad.cli import _folders
    from ensemble_ad.errors import DataError
    from ensemble_ad.files.whole import make_folder
    from ensemble_ad.results.submission import write_submission

    chosen = _folders.blend(studies, blend)
    record = _folders.check_images(data, studies, chosen.data, chosen.name, say, anyway=anyway)
    if sample is None:
        default = data / "sample_submission.csv"
        sample = default if default.exists() else None
    elif not sample.exists():
        raise DataError(f"the sample submission {sample} does not exist; name another, or leave --sample out")
    scores, ids = (chosen.scores(), record.ids) if record.ids else _scored_now(chosen, data, studies, device, say)
    make_folder(submissions)
    path = write_submission(submissions, chosen.name, scores, ids, sample=sample, now=datetime.now(), column=column)
    say(f"{len(ids)} scores of {chosen.name}, ids from {sample or 'the test images'}")
    paste = None
    if competition is None and _are_numbered(ids):
        competition = _COMPETITION
    if competition is not None:
        paste = f"kaggle competitions submit -c {shlex.quote(competition)} -f {shlex.quote(str(path))} -m {chosen.name}"
        say(f"to hand it in, paste:\n  {paste}")
    say.result(str(path), path=path, images=len(ids), blend=chosen.name, sample=sample, paste=paste)
    say.next("ensad compare")


def _scored_now(
    blend: "SavedBlend", data: Path, studies: Path, device: str, say: _options.Say
) -> "tuple[Floats64, tuple[str, ...]]":
    """Scores and ids of the test images in `data`, which the blend has not seen.

    Raises:
        DataError: if there are none, or they are of another size than the training images.
    """
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.data.dataset import TEST, open_images
    from ensemble_ad.detect.scorer import load_blend
    from ensemble_ad.errors import DataError
    from ensemble_ad.layout import preprocessed_folder

    test = open_images(data, TEST, preprocessed_folder(studies))
    if test is None:
        raise DataError(
            f"{blend.name} was made without test images, and {data} has none to score; put them into testingset.npy or "
            "test/, or name the folder that has them with --data"
        )
    with busy(say, f"scoring {len(test)} images"):
        scores, _ = load_blend(blend.name, studies, device=device).score_and_compare(test.images)
    return scores, test.ids


def _are_numbered(ids: Sequence[str]) -> bool:
    """Whether the images are numbered, as Kaggle's are and pictures in folders are not."""
    return all(name == str(row) for row, name in enumerate(ids))
