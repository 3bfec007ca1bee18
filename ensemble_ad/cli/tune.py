"""`ensad tune`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ensemble_ad.data.fit import Fit
    from ensemble_ad.search.plan import TuneSettings
    from ensemble_ad.search.tune import TuneResult
    from ensemble_ad.search.watcher import Watcher


@click.command(short_help="Run an Optuna study of a family, or several.")
@click.option(
    "--family",
    required=True,
    shell_complete=_completion.families,
    help="Family of models, several with commas, or `all`; `ensad families` lists them.",
)
@click.option(
    "--trials", type=int, default=50, show_default=True, help="Finished trials of each family; a rerun tops up."
)
@click.option("--timeout", type=_options.DURATION, help="Time after which no new trial starts: 90s, 30m, 1h30m.")
@click.option("--epochs", type=int, default=20, show_default=True, help="The most that a trial trains.")
@click.option("--objective", shell_complete=_completion.objectives,
              help="What a trial is judged by: auto, separation, synthetic, consensus, loss or labels.  "
              "[default: auto]")  # fmt: skip
@click.option("--labels", type=_options.FILE,
              help="CSV file with the columns ID,label, 1 = anomaly, to judge trials by.")  # fmt: skip
@click.option("--anomaly-share", type=float, help="What you know of the share of anomalies in the test set.")
@_options.no_look
@click.option("--transductive", is_flag=True, help="Allow a family that is trained on the unlabelled test images.")
@click.option("--flips", is_flag=True, help="Score an image by the mean of it and its mirror image.")
@click.option("--subset", type=int, help="Train on that many images only, for a quick look.")
@click.option("--size", type=int,
              help="Side in pixels that crops are resized to.  [default: searched, up to the images' own]")  # fmt: skip
@_options.tiles
@click.option("--max-width", type=int, help="Widest layer to try.  [default: by family, less without a GPU]")
@click.option("--prune/--no-prune", default=True, show_default=True, help="Give up trials that fall behind.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sampler and of every model.")
@_options.device
@_options.precision
@click.option("--workers", type=click.IntRange(min=1),
              help="Processes that share the study.  [default: 1; with Dask all that it has]")  # fmt: skip
@_options.backend
@_options.scheduler
@_options.storage
@_options.artifacts
@_options.train_anyway
@_options.data
@_options.fit
@_options.groups
@_options.studies
@_options.output
def tune(
    family: str,
    trials: int,
    timeout: float | None,
    epochs: int,
    objective: str | None,
    labels: Path | None,
    anomaly_share: float | None,
    no_look: bool,
    transductive: bool,
    flips: bool,
    subset: int | None,
    size: int | None,
    tiles: int | None,
    max_width: int | None,
    prune: bool,
    seed: int,
    device: str,
    precision: str,
    workers: int | None,
    backend: str,
    scheduler: str | None,
    storage: str | None,
    artifacts: str | None,
    anyway: bool,
    data: Path,
    fit: "Fit",
    groups: Path | None,
    studies: Path,
    say: _options.Say,
) -> None:
    """Search a family's sizes, crops, widths, noise, ... for the best detector.

    The first trials have small images, which are trained on quickly and tell where to look; larger ones follow. By the
    objective loss images of different sizes do not compare, so that they keep their own.

    Every finished trial is cached at once. Run the same command again to go on after Ctrl-C, a kill or a crash, or with
    more --trials to top up; run it twice at once, or with --workers, to share the work. Trials are judged without
    labels, by the AUC that is believed of them: how well they see damaged normal images (synthetic), moved by how far
    test images score above held-out normal ones (separation), as far as that can be believed. Without test images, or
    with --no-look, they are judged by the damaged images alone. With --labels they are judged by AUC, and every table
    says so. The best member's key is printed on stdout, of several families each best one's.

    \b
    Example:
      ensad tune --family fcn --trials 50
      ensad tune --family fcn --trials 50 --workers 2
      ensad tune --family fcn,resnet --trials 20
      ensad tune --family all --trials 10 --timeout 2h
      ensad tune --family resnet --trials 20 --epochs 10 --size 32 --subset 5000
      ensad tune --family contrast --trials 10 --transductive
      ensad tune --family fcn --no-look
    """
    from functools import partial

    from ensemble_ad.cli import _folders
    from ensemble_ad.errors import UsageError
    from ensemble_ad.files.id_table import read_labels
    from ensemble_ad.files.whole import make_folder
    from ensemble_ad.members.data_record import rename_images
    from ensemble_ad.search.goal import labels_hash, objective_name
    from ensemble_ad.search.signals import like_ctrl_c
    from ensemble_ad.search.workers import tune_with

    click.get_current_context().with_resource(like_ctrl_c())
    if trials < 1:
        raise UsageError(f"--trials must be 1 or more, not {trials}")
    judged_by = objective_name(objective, labels)
    make_folder(studies)

    from ensemble_ad.search.crew import Crew
    from ensemble_ad.search.named import named_families, studies_of
    from ensemble_ad.search.plan import TuneSettings
    from ensemble_ad.training.believed import Yardstick

    named_families(family)  # before images are read
    crew = Crew(workers=workers or (0 if backend == "dask" else 1), backend=backend, scheduler=scheduler)
    dataset = _folders.dataset(data, studies, say, fit, test_optional=True, look=not no_look, groups=groups)
    rename_images(studies, dataset)
    label = None if labels is None else read_labels(labels, dataset.test.ids)
    settings = TuneSettings(
        family="", trials=trials, timeout=timeout, epochs=epochs, objective=judged_by, device=device,
        precision=precision, seed=seed, subset=subset, size=size, tile=tiles, max_width=max_width, prune=prune,
        storage=storage, artifacts=artifacts, labels_hash=labels_hash(labels), flips=flips, transductive=transductive,
        anomaly_share=anomaly_share,
    )  # fmt: skip
    _folders.check_worth(dataset, data, say, anyway=anyway)
    each = studies_of(dataset, settings, family, say)
    tune_one = partial(tune_with, crew, dataset, data=data, studies=studies, label=label,
                       yardstick=Yardstick(dataset, studies, anomaly_share))  # fmt: skip
    results = _by_turns(each, tune_one, say)
    made = [result.best for result in results if result.best is not None]
    if len(results) > 1:
        say.result(studies=[_fields(result) for result in results])
    else:
        say.result(**_fields(results[0]))
    if not made:
        say.warn("no trial was completed; raise --trials or --timeout")
        fewest = min(result.finished for result in results)
        say.again("timeout", trials=trials if fewest < trials else fewest + 10)
        return
    blending = _folders.blending_of(studies, dataset.fingerprint, ",".join(best.family for best in made))
    say.next(f"{blending} --no-look" if no_look else blending)
    for best in made:
        say.result(best.key)


def _by_turns(
    studies: "Sequence[TuneSettings]", tune_one: "Callable[[TuneSettings, Watcher], TuneResult]", say: _options.Say
) -> "list[TuneResult]":
    """Run the studies one after the other; each may take its share of the time that those before have left."""
    from dataclasses import replace
    from time import monotonic

    from ensemble_ad.cli._progress import watch

    until, results = monotonic() + (studies[0].timeout or 0.0), []
    for place, own in enumerate(studies):
        if own.timeout is not None:
            own = replace(own, timeout=max(0.0, until - monotonic()) / (len(studies) - place))
        with watch(say) as watcher:
            results.append(tune_one(own, watcher))
        _tell(results[-1], say)
    return results


def _fields(result: "TuneResult") -> "dict[str, Any]":
    """A study as `--json` gives it."""
    from dataclasses import asdict

    return {
        "study": result.study,
        "finished": result.finished,
        "pruned": result.pruned,
        "failed": result.failed,
        "key": None if result.best is None else result.best.key,
        "objective": None if result.best is None else asdict(result.best.info.objective),
    }


def _tell(result: "TuneResult", say: _options.Say) -> None:
    """Say how the study stands, and how far its best trial can be trusted."""
    from ensemble_ad.data.split import REFERENCE_LEAST

    say(
        f"{result.study}: {result.finished} finished trials, {result.pruned} of them pruned"
        + (f", which saved {result.saved:.0%} of the epochs" if result.pruned else "")
        + (f", {result.failed} failed (see `ensad compare --failed`)" if result.failed else "")
    )
    best = None if result.best is None else result.best.info.objective
    if result.best is None or best is None:
        return
    say(
        f"best: {result.best.key}, {best.name} {best.value:.4f} "
        f"(standard error {best.standard_error:.4f}) by {best.column}"
    )
    believed = result.best.info.objectives.believed
    if believed and result.best.info.separation is None:
        say("auto: without test images, pseudo-anomalies decide alone")
    elif believed and not believed.weight:
        say("auto: no test image is believed, so pseudo-anomalies decide alone")
    elif believed:
        say(
            f"auto: the test images decide {believed.weight:.1%} of that, pseudo-anomalies the rest; "
            f"{believed.share:.1%} anomalies are believed"
        )
    for doubt in result.doubts:
        say.warn(doubt)
    if result.is_noise:
        say.warn("half of the trials lie within one standard error of the best: their order is mostly noise")
    if result.reference_rows < REFERENCE_LEAST:
        say.warn(
            f"only {result.reference_rows} images could be held out, and {REFERENCE_LEAST} are advised: "
            "add training images, or trust the order of trials little"
        )
