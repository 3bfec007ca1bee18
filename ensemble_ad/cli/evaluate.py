"""`ensad evaluate`."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    import pandas as pd

    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.files.ground_truth import GroundTruth
    from ensemble_ad.members.store import Member
    from ensemble_ad.statistics.arrays import Floats64


@click.command(short_help="AUC of blends and members, with labels.")
@_options.ground_truth
@click.option(
    "--blend",
    shell_complete=_completion.blends,
    help="Evaluate this blend and its members only.  [default: all of the latest blend's data]",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Resamples of a stratified bootstrap, for a second interval; 1000 is usual, 0 is none.",
)
@_options.anyway
@_options.device
@_options.data
@_options.studies
@_options.output
def evaluate(
    labels: Path | None,
    blend: str | None,
    bootstrap: int,
    anyway: bool,
    device: str,
    data: Path,
    studies: Path,
    say: _options.Say,
) -> None:
    """Judge blends and members by AUC, with DeLong's interval and a paired test against the best.

    Labels default to labels.csv in the data folder. They are read here and used for nothing but this table, which
    `ensad compare` shows again. AP is average precision, FPR95 the false positive rate at 95% true positive rate, pAUC
    the AUC below a false positive rate of 10% (0.5 is chance), p the paired test against the best row (Holm-corrected
    over all rows). Of folders that are named after kinds of anomaly, as MVTec AD's, each kind has an AUC as well; where
    masks lie in ground_truth/ beside them, the latest blend's maps are judged by pixel: AUROC and AUPRO.

    A blend that was made without test images scores those in the data folder now, with the models of its members that
    count; but only if you ask for it, by --labels.

    Intervals and tests cover which images were drawn. They do not cover training (another seed gives another model) nor
    selection: the best of many rows is optimistic.

    \b
    Example:
      ensad evaluate --labels labels.csv
      ensad evaluate --labels labels.csv --blend fcn+resnet-1a2b3c --bootstrap 1000
      ensad evaluate --labels data/test
    """
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.files.ground_truth import read_ground_truth
    from ensemble_ad.results.evaluation import evaluate_kinds, evaluate_scores, main_scores, save_evaluation

    cached = _folders.members(studies, say)
    fingerprint, members, blends = _judged(cached, studies, blend, say)
    made = blends[-1].name if blends else members[-1].key
    record = _folders.check_images(data, studies, fingerprint, made, say, anyway=anyway)
    path = labels or data / "labels.csv"
    if record.ids:
        truth = read_ground_truth(path, record.ids)
        sound = _sound(members, say)
        scores = main_scores(sound, blends)
    else:
        sound = []
        truth, scores = _judged_now(blends, labels, data, studies, device, made, say)
    label = truth.label
    transductive = {m.key for m in sound if m.info.transductive} | {b.name for b in blends if b.info.transductive}
    with busy(say, f"judging {len(scores)} rows by {len(label)} labels"):
        table = evaluate_scores(label, scores, transductive=transductive, bootstrap=bootstrap)
    kinds = None if truth.kinds is None else evaluate_kinds(truth.kinds, scores)
    save_evaluation(studies, fingerprint, path, truth, table, kinds)
    anomalies = int(label.sum())
    say(f"{anomalies} anomalies and {len(label) - anomalies} normal images, by {path}")
    inverted = sorted({key for each in blends for key in each.info.inverted})
    say.result(labels=path, anomalies=anomalies, normal=len(label) - anomalies, rows=table, inverted=inverted)
    if not say.as_json:
        _print(table, inverted, say)
    say.result(kinds=kinds)
    if kinds is not None and not say.as_json:
        _print_kinds(kinds, made if made in scores else str(table.index[0]))
    say.result(pixels=_judge_maps(blends[-1].name, path, studies, device, say) if blends and truth.kinds else None)
    if inverted:
        say(f"! inverted in a blend: {', '.join(inverted)}")
    say(f"chance: AUC 0.5, AP {anomalies / len(label):.4f}, FPR95 0.95, pAUC 0.5")
    unsure = int(((table["auc_low"] <= 0.5) & (table["auc_high"] >= 0.5)).sum())
    tied = int(table["ties_best"].sum()) - 1  # the best ties itself
    say(f"{tied} of the {len(table) - 1} others cannot be told from the best, {unsure} of all not from chance")
    say("intervals and p: which images were drawn; not training again, nor having chosen among many")
    # The audit is of the data set that was worked on last.
    audit = ["ensad audit" + (f" --labels {shlex.quote(str(labels))}" if labels else "")]
    say.next("ensad compare", *(audit if record.ids and cached[-1].data == fingerprint else ()))


def _judged(
    members: "list[Member]", studies: Path, blend: str | None, say: _options.Say
) -> "tuple[str, list[Member], list[SavedBlend]]":
    """What is judged: a data set's fingerprint, its members, and its blends; of one blend that and its members."""
    from ensemble_ad.blend.saved import list_blends, load_blend

    if blend is not None:
        one = load_blend(studies, blend)
        return one.data, [m for m in members if m.data == one.data and m.key in one.info.members], [one]
    blends, broken = list_blends(studies)
    for problem in broken:
        say.warn(problem)
    fingerprint = blends[-1].data if blends else members[-1].data
    return fingerprint, [m for m in members if m.data == fingerprint], [b for b in blends if b.data == fingerprint]


def _judged_now(
    blends: "list[SavedBlend]",
    labels: Path | None,
    data: Path,
    studies: Path,
    device: str,
    made: str,
    say: _options.Say,
) -> "tuple[GroundTruth, dict[str, Floats64]]":
    """Labels and scores of test images that none of the blends has seen: theirs, and of the members that count.

    Raises:
        DataError: if the user did not name labels, and so did not ask to look at test images, or there are none.
        UsageError: if there is no blend, or the only one holds members without models.
    """
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.detect.scorer import load_blend
    from ensemble_ad.errors import DataError, UsageError
    from ensemble_ad.files.ground_truth import read_ground_truth

    if labels is None:
        raise DataError(
            f"{made} was made without test images, so there are no scores to judge; `ensad evaluate --labels FILE` "
            f"scores the test images in {data} now, and judges"
        )
    if not blends:
        raise UsageError(f"{made} was made without test images, and only blends score them later; run `ensad blend`")
    test = _folders.unseen_images(blends[-1], data, studies)
    truth = read_ground_truth(labels, test.ids)
    scores: dict[str, Floats64] = {}
    for saved in blends:
        try:
            with busy(say, f"scoring {len(test)} images by {saved.name}"):
                scores[saved.name], of_members = load_blend(saved.name, studies, device=device).score_beside_members(
                    test.images
                )
        except UsageError as error:  # a member that was imported as scores has no model
            if len(blends) == 1:
                raise
            say.warn(f"{saved.name} is left out: {error}")
            continue
        scores |= of_members
    if not scores:
        raise UsageError("no blend could score the test images; blend members that have models, and name it by --blend")
    return truth, scores


def _sound(members: "list[Member]", say: _options.Say) -> "list[Member]":
    """Those of the members whose error vectors can be read; the others are named."""
    from ensemble_ad.members.store import sound_members

    sound, problems = sound_members(members)
    for problem in problems:
        say.warn(problem)
    return sound


def _judge_maps(blend: str, folder: Path, studies: Path, device: str, say: _options.Say) -> "dict[str, float] | None":
    """What masks beside the test images say of a blend's maps; None without masks, or without maps."""
    from ensemble_ad.cli._progress import counted
    from ensemble_ad.data.folders import pictures_below
    from ensemble_ad.errors import DataError, UsageError

    masks = folder.parent / "ground_truth"
    if not masks.is_dir():
        return None

    from ensemble_ad.detect.scorer import load_blend
    from ensemble_ad.results.masks import judge_maps

    try:
        with counted(say, sum(1 for _ in pictures_below(folder))) as steps:
            scorer = load_blend(blend, studies, device=device)
            found = judge_maps(scorer, folder, masks, lambda count: steps.done(count, "maps"))
    except (DataError, UsageError) as error:
        say.warn(f"maps are not judged by {masks}: {error}")
        return None
    if found.left_out:
        say.warn(f"{found.left_out} images have no mask in {masks}, or one of another size, and are left out")
    say(
        f"pixels of {found.masked} images with anomalous pixels and {found.good} without, by the maps of {blend}: "
        f"AUROC {found.auroc:.4f}, AUPRO {found.aupro:.4f} (up to a false positive rate of 0.3)"
    )
    return vars(found)


def _print_kinds(found: "pd.DataFrame", shown: str) -> None:
    """The AUCs of each kind of anomaly by the row `shown`; the document has those of all rows."""
    from ensemble_ad.cli._table import print_table

    rows = [
        (str(row["kind"]), str(row["images"]), *(f"{row[column]:.4f}" for column in _FIRST.values()))
        for _, row in found[found["name"] == shown].iterrows()
    ]
    print_table((f"{shown} on", "images", *_FIRST), rows)


_FIRST = {"AUC": "auc", "low": "auc_low", "high": "auc_high"}
_MORE = {"AP": "average_precision", "FPR95": "fpr95"}
_BOOTSTRAP = {"boot. low": "bootstrap_low", "boot. high": "bootstrap_high"}
_LAST = {"pAUC": "partial_auc"}
"""The table's columns: what is shown, and what it is called in the frame of `evaluate_scores`."""


def _print(table: "pd.DataFrame", inverted: Collection[str], say: _options.Say) -> None:
    from ensemble_ad.cli._table import print_table

    more = {shown: name for shown, name in (_MORE | _BOOTSTRAP | _LAST).items() if name in table.columns}
    rows = [
        (
            f"{name}{'!' if name in inverted else ''}",
            *(f"{row[column]:.4f}" for column in _FIRST.values()),
            "best" if i == 0 else f"{row['p_best']:.2g}",
            "yes" if row["transductive"] else "-",
            *(f"{row[column]:.4f}" for column in more.values()),
        )
        for i, (name, row) in enumerate(table.iterrows())
    ]
    left_out = print_table(("name", *_FIRST, "p", "transductive", *more), rows, keep=3 + len(_FIRST))
    if left_out:
        say(f"{', '.join([*more][-left_out:])} left out for lack of room; widen the terminal, or pipe to a file")
