"""`ensad submit`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options
from ensemble_ad.errors import DataError

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
@click.option("--note", help="A line about it, for `ensad submissions`.")
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
    note: str | None,
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
    from ensemble_ad.cli import _folders

    chosen = _folders.blend(studies, blend)
    record = _folders.check_images(data, studies, chosen.data, chosen.name, say, anyway=anyway)
    if sample is not None and not sample.exists():
        raise DataError(f"the sample submission {sample} does not exist; name another, or leave --sample out")
    scores, ids = None, record.ids
    if not ids:
        from ensemble_ad.cli._progress import busy
        from ensemble_ad.detect.scorer import load_blend

        test = _folders.unseen_images(chosen, data, studies)
        with busy(say, f"scoring {len(test)} images"):
            scores, _ = load_blend(chosen.name, studies, device=device).score_and_compare(test.images)
        ids = test.ids
    hand_in(
        chosen, ids, data, submissions, say, scores=scores, sample=sample, column=column, competition=competition,
        note=note,
    )  # fmt: skip
    say.next("ensad compare", "ensad submissions")


def hand_in(
    blend: "SavedBlend",
    ids: Sequence[str],
    data: Path,
    submissions: Path,
    say: _options.Say,
    *,
    scores: "Floats64 | None" = None,
    sample: Path | None = None,
    column: str | None = None,
    competition: str | None = None,
    note: str | None = None,
) -> Path:
    """Write a blend's CSV, and say where it is and how it is handed in.

    Args:
        blend: the blend.
        ids: the test images' ids.
        data: the data folder, which may hold a sample submission.
        submissions: the folder to write to.
        say: for the result.
        scores: the test images', where the blend has not seen these; None for its own.
        sample: the sample submission that the user named.
        column: as for `write_submission`.
        competition: Kaggle's name of the competition; None where the user named none.
        note: what the user wants to remember about it.
    """
    from datetime import datetime

    from ensemble_ad.files.whole import make_folder
    from ensemble_ad.results.handed_in import HandedIn, check, note_submission
    from ensemble_ad.results.submission import write_submission

    check(HandedIn(note=note or ""))  # before anything is written
    if sample is None:
        default = data / "sample_submission.csv"
        sample = default if default.exists() else None
    make_folder(submissions)
    found = blend.scores() if scores is None else scores
    path = write_submission(submissions, blend.name, found, ids, sample=sample, now=datetime.now(), column=column)
    say(f"{len(ids)} scores of {blend.name}, ids from {sample or 'the test images'}")
    judged = blend.info.separation
    note_submission(path, blend=blend.name, separation=None if judged is None else judged.value, note=note)
    paste = None
    if competition is None and _are_numbered(ids):
        competition = _COMPETITION
    if competition is not None:
        paste = f"kaggle competitions submit -c {shlex.quote(competition)} -f {shlex.quote(str(path))} -m {blend.name}"
        say(f"to hand it in, paste:\n  {paste}")
    say.result(str(path), path=path, images=len(ids), blend=blend.name, sample=sample, paste=paste)
    return path


def _are_numbered(ids: Sequence[str]) -> bool:
    """Whether the images are numbered, as Kaggle's are and pictures in folders are not."""
    return all(name == str(row) for row, name in enumerate(ids))
