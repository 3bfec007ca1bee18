"""`ensad import`."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ensemble_ad.cli import _options

if TYPE_CHECKING:
    from ensemble_ad.data.dataset import Dataset
    from ensemble_ad.data.fit import Fit


@click.command("import", short_help="Load an exported blend, or another detector's scores.")
@click.argument("source", required=False, type=_options.PATH)
@click.option("--name", help="Name of the scores' member, for --members; of a blend, a name instead of its own.")
@click.option("--reference", type=_options.FILE, help="For scores: CSV file ID,score of the held-out training images.")
@click.option(
    "--template",
    type=_options.OUTPUT_FILE,
    help="Write the ids of the held-out training images to this CSV file (- is stdout) and stop.",
)
@click.option(
    "--labels-used",
    default="unknown",
    show_default=True,
    help="For scores: which labels their detector saw, `none` if none; shown in the table.",
)
@click.option("--invert", is_flag=True, help="For scores: negate them, where low ones mean anomalies.")
@_options.data
@_options.fit
@_options.groups
@_options.studies
@_options.output
def import_(
    source: Path | None,
    name: str | None,
    reference: Path | None,
    template: Path | None,
    labels_used: str,
    invert: bool,
    data: Path,
    fit: "Fit",
    groups: Path | None,
    studies: Path,
    say: _options.Say,
) -> None:
    """Load SOURCE: a zip or folder that `ensad export` wrote, or a .csv file of another detector's scores.

    Scores have the columns ID,score, a row a test image, higher = more anomalous. To blend them, the same is needed of
    the training images that every member holds out: get their ids with --template, train your detector on the other
    training images, and score both. An id is the image's row in its .npy file, from 0, or its path inside train/ or
    test/. The scores become a member that `--members NAME` and `ensad compare` find. Scores that seem to be upside down
    are warned of; --invert turns them.

    \b
    Example:
      ensad import --template held_out.csv
      ensad import scores.csv --reference held_out.csv --name knn --labels-used none
      ensad import blend.zip
    """
    from ensemble_ad.cli import _folders
    from ensemble_ad.errors import UsageError

    if template is not None:
        if source is not None:
            raise UsageError("--template goes without a SOURCE")
        _template(template, _folders.dataset(data, studies, say, fit, groups=groups), say)
    elif source is None:
        raise UsageError("SOURCE is missing: a .csv file of scores, or a zip or folder that `ensad export` wrote")
    elif source.suffix.lower() != ".csv":
        if reference is not None or invert:
            option = "--invert" if reference is None else "--reference"
            raise UsageError(f"{option} goes with a .csv file of scores")
        _blend(source, name, studies, say)
    elif name is None or reference is None:
        raise UsageError(
            "scores need --name and --reference, the scores of the held-out training images; "
            "`ensad import --template FILE` writes their ids"
        )
    else:
        dataset = _folders.dataset(data, studies, say, fit, groups=groups)
        _scores(Scores(name, source, reference, labels_used, invert), dataset, studies, say)


class Scores(NamedTuple):
    """What the user says of another detector's scores."""

    name: str
    test: Path
    reference: Path
    labels_used: str
    invert: bool


def _scores(given: Scores, dataset: "Dataset", studies: Path, say: _options.Say) -> None:
    """Make a member of another detector's scores."""
    from ensemble_ad.cli import _folders
    from ensemble_ad.families import FAMILIES
    from ensemble_ad.members.imported import import_scores, is_upside_down

    member = import_scores(studies, dataset, taken=FAMILIES, **given._asdict())
    judged = member.info.separation
    say(f"separation {member.value:.4f}")
    if member.info.recipe.rescaled:
        say(
            f"the scores were {member.info.recipe.rescaled}, since 32 bits would not tell all of them apart as they are"
        )
    if judged and is_upside_down(member):
        advice = "leave --invert out" if given.invert else "import them with --invert if low scores mean anomalies"
        say.warn(
            f"the scores seem to be upside down: test images score below held-out normal ones, separation "
            f"{judged.value:.4f} (standard error {judged.standard_error:.4f}); {advice}"
        )
    say.result(member.key, key=member.key, separation=judged and vars(judged), inverted=given.invert)
    say.next(_folders.blending_of(studies, dataset.fingerprint))


def _template(path: Path, dataset: "Dataset", say: _options.Say) -> None:
    """Write the ids of the images that are to be scored."""
    from ensemble_ad.cli import _outputs
    from ensemble_ad.members.imported import write_template

    count = write_template(path, dataset)
    say(f"{count} training images are held out; train on the others, and fill in the column score")
    say.result(_outputs.said(path), template=path, images=count)
    say.next(f"ensad import SCORES.csv --reference {_outputs.to_read(path, 'FILE')} --name NAME")


def _blend(source: Path, name: str | None, studies: Path, say: _options.Say) -> None:
    """Load what `ensad export` wrote."""
    from ensemble_ad.blend.imported import import_blend
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.detect.probe import check_probe

    with busy(say, f"reading {source}"):
        blend = import_blend(studies, source, name=name, check=check_probe)
    say(f"{len(blend.info.members)} members")
    say.result(blend.name, blend=blend.name, members=list(blend.info.members))
    say.next(f"ensad score IMAGES --blend {blend.name}")
