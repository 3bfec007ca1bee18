"""`ensad blend`."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    from ensemble_ad.blend.columns import Batch
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.members.choose import Term
    from ensemble_ad.members.store import Member


@click.command(short_help="Blend cached members into one anomaly score.")
@click.option(
    "--members",
    default=None,
    shell_complete=_completion.members,
    help="Families, `family:count` or keys, e.g. fcn,resnet:3.  [default: every family]",
)
@click.option(
    "--method",
    shell_complete=_completion.methods,
    default="auto",
    show_default=True,
    help="How to weight and combine; listed below.",
)
@click.option("--weights", help="One number a term of --members, instead of a method.")
@click.option("--columns", type=click.Choice(["main", "all"]), default="main", show_default=True,
              help="Each member's best error kind and its classifier's logit, or every kind.")  # fmt: skip
@click.option(
    "--anomaly-share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of anomalies in the test set, if known.",
)
@_options.no_look
@click.option(
    "--test",
    type=_options.PATH,
    help="Unlabelled images that came after the models, to be taken into account: a folder or an .npy file.",
)
@click.option("--name", help="Name of the blend.  [default: made of the members and a hash]")
@click.option("--data", type=_options.FOLDER,
              help="Folder of the images whose members are blended.  [default: those last worked on]")  # fmt: skip
@click.option("--dataset", help="Beginning of a data fingerprint, if members of several data sets are cached.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of methods that draw.")
@_options.device
@_options.studies
@_options.output
def blend(
    members: str | None,
    method: str,
    weights: str | None,
    columns: str,
    anomaly_share: float | None,
    no_look: bool,
    test: Path | None,
    name: str | None,
    data: Path | None,
    dataset: str | None,
    seed: int,
    device: str,
    studies: Path,
    say: _options.Say,
) -> None:
    """Rank-normalise members' error vectors, weight them, and save the blend.

    A family alone stands for its best five members; one that has none yet is left out, with a word. The weights are
    printed on stdout. No labels are read: the AUC that is told at the end is estimated from the separation and the
    share of anomalies, given or itself estimated.

    Where members were made without test images, --test has their models score unlabelled ones that came later, and
    blends by these too; nothing is trained, and what was scored is kept. The blend scores new images as before.

    \b
    Methods:
      auto             prior, moved by weights learnt from test against held-out normal images, as far as these carry it
      mean             mean of the members' ranks; median, max and top (mean of the highest three) likewise
      tail-mean        mean of -log p of each score among the held-out normal images
      prior            the same of the members that see damaged normal images best; needs no test images, and is what
                       auto does without them
      best-separation  the one member that separates best
      greedy           greedy selection with replacement on separation; greedy-bagged averages many
      pu-lda           non-negative Fisher direction of test against reference
      pu-logistic      non-negative logistic regression of test against reference
      select           members that agree with the consensus
      spectral         spectral meta-learner

    \b
    Example:
      ensad blend
      ensad blend --members fcn,resnet
      ensad blend --members fcn:3,resnet:all --method mean --name flat
      ensad blend --members fcn,resnet --weights 2,1
      ensad blend --no-look
      ensad blend --test new/
    """
    from ensemble_ad.blend.of_members import blend_members
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.errors import UsageError
    from ensemble_ad.members.choose import of_one_data_set, parse_weights

    cached = _folders.members(studies, say)
    if no_look and test is not None:
        raise UsageError("--no-look blends without test images, and --test with some; give one of them")
    if no_look or test is not None:
        cached = _unlooked(cached, "--no-look" if no_look else "--test")
    if data is not None:
        cached = _folders.members_of(data, studies, cached)
    usable, others = of_one_data_set(cached, dataset)
    if others:
        say.warn(f"blending members of data set {usable[0].data[:8]}; {others} of other data sets are left out")

    score = None if test is None else _scoring(test, usable[0].data, studies, device, say)

    def make(terms: "list[Term]") -> "SavedBlend":
        batch = None if score is None else score([member for term in terms for member in term.members])
        with busy(say, "weighting"):
            return blend_members(
                studies,
                terms,
                method=method,
                columns=columns,
                term_weights=None if weights is None else parse_weights(weights, len(terms)),
                anomaly_share=anomaly_share,
                name=name,
                seed=seed,
                batch=batch,
            ).save(studies)

    if members is not None and weights is None:
        members = _there(usable, members, say)
    made = _of_sound_members(usable, members, make, say)
    _tell(made, say)
    if test is not None:
        hints = [f"ensad score {shlex.quote(str(test))} --blend {made.name}", "ensad report"]
    elif made.info.separation is not None:
        hints = ["ensad submit", "ensad evaluate --labels FILE"]
    elif no_look:
        hints = ["ensad submit", "ensad report"]
    else:
        _tell_alarms(studies, made, say)
        hints = [f"ensad score IMAGES --blend {made.name}", "ensad blend --test FOLDER", "ensad report"]
    say.next(*hints, **_folders.data_of(studies, made.data))


def _scoring(
    test: Path, fingerprint: str, studies: Path, device: str, say: _options.Say
) -> "Callable[[list[Member]], Batch]":
    """What scores the images in `test` by members of a data set."""
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import counted
    from ensemble_ad.detect.batch import open_batch, score_batch
    from ensemble_ad.layout import preprocessed_folder
    from ensemble_ad.members.data_record import load_data_record

    record = load_data_record(studies, fingerprint)
    images = open_batch(test, preprocessed_folder(studies), record.conversion)
    _folders.tell(images.remarks.lines(str(test)), say)
    side, _, channels = record.shape
    say(f"{len(images)} images of {images.source}, fingerprint {images.fingerprint[:8]}")

    def score(members: "list[Member]") -> "Batch":
        with counted(say, len(members)) as steps:
            done = iter(range(len(members)))
            return score_batch(
                members, images, (side, side, channels), studies, device=device,
                step=lambda key: steps.done(next(done), f"scoring by {key}"),
            )  # fmt: skip

    return score


def _unlooked(members: "list[Member]", asked: str) -> "list[Member]":
    """The members that were made without test images.

    Raises:
        UsageError: if there is none.
    """
    from ensemble_ad.errors import FIRST_STUDY, UsageError

    found = [member for member in members if member.info.separation is None]
    if not found:
        raise UsageError(
            f"{asked} blends members that never saw test images, and all {len(members)} have scores of them; run "
            f"`{FIRST_STUDY} --no-look` first"
        )
    return found


def _there(usable: "list[Member]", text: str, say: _options.Say) -> str:
    """The terms of `--members` without the families that have no member yet, unless none would be left."""
    terms = {part.strip(): part.strip().partition(":")[0] for part in text.split(",")}
    there = {member.family for member in usable} | {member.key for member in usable}
    missing = [term for term, name in terms.items() if name not in there]
    if not missing or len(missing) == len(terms):
        return text
    known = _completion.family_names()
    untuned = [terms[term] for term in missing if terms[term] in known]
    for name in untuned:
        say.warn(f"{name} has no member yet and is left out; `ensad tune --family {name}` makes some")
    return ",".join(term for term, name in terms.items() if name not in untuned)


def _of_sound_members(
    usable: "list[Member]", members: str | None, make: "Callable[[list[Term]], SavedBlend]", say: _options.Say
) -> "SavedBlend":
    """What `make` makes of the members that are meant; a damaged one's place takes its family's next best."""
    from ensemble_ad.members.choose import select
    from ensemble_ad.members.store import DamagedError

    while True:
        terms = select(usable, members or ",".join(sorted({member.family for member in usable})))
        try:
            made = make(terms)
            break
        except DamagedError as error:
            say.warn(error.set_aside())
            usable = [member for member in usable if member.key != error.key]
    for term in terms:
        if term.left_out:
            say.warn(
                f"{term.left_out} members of {term.text} were judged by another objective than its newest and are left "
                "out; name them by key to blend them"
            )
    return made


def _tell_alarms(studies: Path, made: "SavedBlend", say: _options.Say) -> None:
    """Say which alarm rates the held-out images carry."""
    from ensemble_ad.blend.alarm import false_alarm_rate, lowest_rate
    from ensemble_ad.cli import _folders

    record = _folders.record(studies, made.data)
    if record is None:
        return
    rates = [rate for rate in (0.01, 0.05) if rate >= lowest_rate(record.n_reference)]
    told = [(rate, false_alarm_rate(record.n_reference, rate)) for rate in rates]
    shown = ", ".join(f"at --alarm-rate {rate:g} {found.low:.2g} to {found.high:.2g}" for rate, found in told)
    if shown:
        say(f"of normal images alarm in ensad score, by {record.n_reference} held-out ones (95%): {shown}")


def _tell(made: "SavedBlend", say: _options.Say) -> None:
    """Say how the blend weights its columns, why, and how good it seems."""
    from ensemble_ad.cli._table import print_weights

    info = made.info
    say(info.explanation)
    say(f"saved as {made.name} in {made.folder}")
    if not say.as_json:
        print_weights(made.weights, whole=say.level >= 1)
    if info.transductive:
        say("transductive: a member was trained on the unlabelled test images too")
    separation = info.separation
    if separation is not None:
        say(f"separation {separation.value:.4f} (standard error {separation.standard_error:.4f})")
    say(made.estimate_in_words())
    share = made.share
    implied = None
    if share is not None and separation is not None:
        implied = share.implied_auc(separation.value, separation.standard_error, own_shift=info.is_auto)
    say.result(
        name=made.name,
        folder=made.folder,
        method=info.method,
        explanation=info.explanation,
        weights=dict(sorted(made.weights.items(), key=lambda item: -item[1])),
        separation=None if separation is None else vars(separation),
        foreseen=info.foreseen,
        batch=info.batch,
        share=None if share is None else vars(share),
        estimated_auc=None if implied is None else vars(implied),
        inverted=sorted(info.inverted),
        transductive=info.transductive,
        labels_used=info.labels_used,
    )
