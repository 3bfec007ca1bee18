"""`ensad data`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _options
from ensemble_ad.errors import FIRST_STUDY

if TYPE_CHECKING:
    from ensemble_ad.data.fit import Fit


@click.group(short_help="Look at the data.")
def data() -> None:
    """Look at the images before a study runs on them.

    \b
    Example:
      ensad data check
    """


@data.command(short_help="Shapes, duplicates, leakage, what a submission needs.")
@_options.data
@_options.fit
@_options.groups
@_options.studies
@_options.output
def check(data: Path, fit: "Fit", groups: Path | None, studies: Path, say: _options.Say) -> None:
    """Print what is in the data folder; exit with 3 if something would make a study worthless.

    `ensad tune` and `ensad train` stop on the same errors, except that they open no labels.

    \b
    Example:
      ensad data check --data data
    """
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.data.check import check as run
    from ensemble_ad.errors import DataError

    dataset = _folders.dataset(data, studies, say, fit, test_optional=True, groups=groups)
    with busy(say, "checking the images"):
        findings = run(dataset, data)
    say.result(
        fingerprint=dataset.fingerprint,
        training_images=len(dataset.train),
        test_images=len(dataset.test),
        side=dataset.side,
        channels=dataset.channels,
        remarks={"train": dataset.train.remarks.counts, "test": dataset.test.remarks.counts},
        findings=[vars(finding) for finding in findings],
    )
    for finding in findings:
        say.result(f"{finding.level:8}{finding.text}")
    errors = sum(finding.level == "error" for finding in findings)
    if errors:
        raise DataError(f"{errors} of these would make a study worthless; mend the data first")
    say.next(FIRST_STUDY)
