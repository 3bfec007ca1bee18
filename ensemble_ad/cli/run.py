"""`ensad run`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    from ensemble_ad.anytime.budget import Budget
    from ensemble_ad.anytime.run import Fetch, RunResult, Tune
    from ensemble_ad.data.dataset import Dataset
    from ensemble_ad.data.fit import Fit
    from ensemble_ad.search.crew import Crew
    from ensemble_ad.search.plan import TuneSettings
    from ensemble_ad.search.storage import StudyStorage
    from ensemble_ad.statistics.arrays import Labels


@click.command(short_help="The best blend within a time: tunes, blends and writes the CSV.")
@click.option("--time", "seconds", type=_options.DURATION, help="Wall time in all: 90s, 30m, 2h, 1h30m.")
@click.option("--trials", type=click.IntRange(min=1), help="That many trials instead of a time; such a run repeats.")
@click.option(
    "--families",
    shell_complete=_completion.families,
    help="Families to tune, e.g. fcn,inpaint, or `all`.  [default: a portfolio]",
)
@click.option("--transductive", is_flag=True, help="Allow families that are trained on the unlabelled test images.")
@_options.no_look
@click.option("--labels", type=_options.FILE,
              help="CSV file with the columns ID,label to judge trials by; every table says so.")  # fmt: skip
@click.option("--size", type=int, help="Side in pixels that crops are resized to.  [default: searched]")
@_options.tiles
@click.option("--anomaly-share", type=float, help="What you know of the share of anomalies in the test set.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--name", default="run", show_default=True, help="Name of the run and its blend; a rerun goes on.")
@_options.device
@_options.precision
@click.option("--workers", type=click.IntRange(min=1),
              help="Processes, each of which trains a trial.  [default: 1; with Dask all that it has]")  # fmt: skip
@_options.backend
@_options.scheduler
@_options.storage
@_options.artifacts
@_options.train_anyway
@_options.data
@_options.fit
@_options.groups
@_options.studies
@_options.submissions
@_options.output
def run(
    seconds: float | None,
    trials: int | None,
    families: str | None,
    transductive: bool,
    no_look: bool,
    labels: Path | None,
    size: int | None,
    tiles: int | None,
    anomaly_share: float | None,
    seed: int,
    name: str,
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
    submissions: Path,
    say: _options.Say,
) -> None:
    """Tune many families by turns, blend the best members, and write the CSV, all within one time.

    Cheap models come first; then the next trial goes to the family that promises the blend most a second. Each family
    keeps the study that `ensad tune` works on. Any moment is an end: Ctrl-C writes the CSV of the blend so far, and the
    same command goes on with the time that is left, or with a longer --time tops up. With --no-look no CSV is written:
    `ensad submit` scores the test images later.

    \b
    Example:
      ensad run --time 30m
      ensad run --time 2h --transductive
      ensad run --trials 20 --families fcn,inpaint,pca
    """
    from ensemble_ad.anytime.budget import Budget

    budget = Budget(seconds=seconds)  # what is imported below takes seconds too

    from ensemble_ad.anytime.run import Run, RunSettings, begun
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._run_watcher import watch_run
    from ensemble_ad.errors import UsageError
    from ensemble_ad.files.id_table import read_labels
    from ensemble_ad.members.data_record import rename_images
    from ensemble_ad.search.crew import Crew
    from ensemble_ad.search.goal import labels_hash, objective_name
    from ensemble_ad.search.named import named_families, studies_of
    from ensemble_ad.search.plan import TuneSettings
    from ensemble_ad.search.signals import like_ctrl_c
    from ensemble_ad.search.storage import open_storage

    click.get_current_context().with_resource(like_ctrl_c())
    if (seconds is None) == (trials is None):
        raise UsageError("give one of --time 30m and --trials 20")
    if seconds == 0:
        raise UsageError("--time must be more than 0 seconds, as in --time 30m")
    if labels is not None and no_look:
        raise UsageError("--labels judges by the test images, which --no-look leaves unread; leave one of them out")
    if families is not None:
        named_families(families)  # before images are read
    crew = Crew(workers=workers or (0 if backend == "dask" else 1), backend=backend, scheduler=scheduler)
    tuning = TuneSettings(
        family="", objective=objective_name(None, labels), labels_hash=labels_hash(labels), device=device,
        precision=precision, seed=seed, size=size, tile=tiles, storage=storage, artifacts=artifacts,
        transductive=transductive, anomaly_share=anomaly_share,
    )  # fmt: skip
    with _reading(budget):
        dataset = _folders.dataset(data, studies, say, fit, test_optional=True, look=not no_look, groups=groups)
        rename_images(studies, dataset)
        _folders.check_worth(dataset, data, say, anyway=anyway)
    named = None if families is None else tuple(own.family for own in studies_of(dataset, tuning, families, say))
    settings = RunSettings(name=name, families=named, trials=trials, abreast=crew.count(), tuning=tuning)
    label = None if labels is None else read_labels(labels, dataset.test.ids)
    with begun(dataset, settings, studies) as record, watch_run(say, seconds, trials) as watcher:
        if seconds is not None:
            budget.seconds = seconds - record.used
        opened = open_storage(studies, storage)
        tune = _tuning(crew, dataset, tuning, opened, data=data, studies=studies, label=label)
        under_way = Run(
            dataset=dataset, settings=settings, studies=studies, storage=opened, budget=budget, record=record,
            tune=tune, watcher=watcher, fetch=_fetching(tuning, opened, studies, watcher.warn),
        )  # fmt: skip
        result = under_way.go_on()
    if len(result.done) == len(record.done) and not result.interrupted:
        say(f"nothing more was trained: a longer --time, or more --trials, goes on with {name}")
    _tell(result, say)
    _end(result, dataset, data, submissions, say, no_look=no_look)


@contextmanager
def _reading(budget: "Budget") -> Iterator[None]:
    """While the images are read nothing can be handed in: what to say where that is interrupted, or takes all the time.

    Raises:
        Interrupted, UsageError: instead of the KeyboardInterrupt.
    """
    from ensemble_ad.errors import Interrupted, UsageError

    try:
        with budget.within(0.0):
            yield
    except KeyboardInterrupt:
        if budget.over:
            raise UsageError("--time must be more than it takes to read and check the images; give more") from None
        raise Interrupted("interrupted before anything was trained; run the same command to begin again") from None


def _tuning(
    crew: "Crew",
    dataset: "Dataset",
    tuning: "TuneSettings",
    storage: "StudyStorage",
    *,
    data: Path,
    studies: Path,
    label: "Labels | None",
) -> "Tune":
    """What runs a study of the run, by the crew."""
    from ensemble_ad.search.workers import tune_with
    from ensemble_ad.training.believed import Yardstick

    return partial(
        tune_with, crew, dataset, data=data, studies=studies, label=label,
        yardstick=Yardstick(dataset, studies, tuning.anomaly_share), storage=storage,
    )  # fmt: skip


def _fetching(tuning: "TuneSettings", storage: "StudyStorage", studies: Path, warn: Callable[[str], None]) -> "Fetch":
    """What fetches the members that other machines have made, of the studies of some names."""
    from ensemble_ad.search.artifacts import Artifacts
    from ensemble_ad.search.storage import storage_failures
    from ensemble_ad.search.travel import pull

    store = None if tuning.artifacts is None else Artifacts(tuning.artifacts)
    if store is not None:
        store.check(make=True)
    told: set[str] = set()

    def fetch(names: Sequence[str]) -> None:
        if store is None:
            return
        with storage_failures(studies, tuning.storage):
            found = pull(store, storage.backend, studies, study_names=names)
        for problem in found.problems:
            if problem not in told:
                warn(problem)
            told.add(problem)

    return fetch


def _tell(result: "RunResult", say: _options.Say) -> None:
    """Say what the run has made, and how good its blend seems."""
    from ensemble_ad.blend.info import weight_by_family
    from ensemble_ad.cli._run_watcher import COLUMNS, in_words, row
    from ensemble_ad.cli._table import print_table, print_weights

    columns = {} if result.blend is None else dict(sorted(result.blend.weights.items(), key=lambda item: -item[1]))
    weights = weight_by_family(columns) if columns else {}
    rows = [(*row(standing), f"{weights.get(standing.family, 0.0):.3f}") for standing in result.standing]
    if not say.as_json and rows:
        print_table((*COLUMNS, "weight"), rows)
        print_weights({name: weight for name, weight in columns.items() if weight > 0}, whole=say.level >= 1)
    info = None if result.blend is None else result.blend.info
    say.result(
        seconds=round(result.used, 1),
        trials=[vars(trial) for trial in result.done],
        families=[vars(standing) for standing in result.standing],
        curve=[list(point) for point in result.curve],
        name=None if result.blend is None else result.blend.name,
        separation=vars(info.separation) if info and info.separation else None,
        weights=None if info is None else columns,
        transductive=None if info is None else info.transductive,
        labels_used=None if info is None else info.labels_used,
    )
    for doubt in result.doubts:
        say.warn(doubt)
    if result.blend is None or info is None:
        return
    separation = info.separation
    say(f"{'value on damaged images' if separation is None else 'separation'} by time: {in_words(result.curve)}")
    if separation is not None:
        say(f"{result.blend.name}: separation {separation.value:.4f} (standard error {separation.standard_error:.4f})")
    say(info.explanation)
    if info.transductive:
        say("transductive: a member was trained on the unlabelled test images too")
    if info.labels_used != "none":
        say.warn(f"labels were used: members were judged by {info.labels_used}, so no value here is one without labels")
    say(result.blend.estimate_in_words())


def _end(
    result: "RunResult", dataset: "Dataset", data: Path, submissions: Path, say: _options.Say, *, no_look: bool
) -> None:
    """Write the CSV, and say what comes next.

    Raises:
        Interrupted: where the user stopped the run.
    """
    from ensemble_ad.cli.submit import hand_in
    from ensemble_ad.errors import Interrupted

    if result.blend is None:
        if result.interrupted:
            raise Interrupted(
                "interrupted before a model was finished: there is nothing to hand in; run the same command to go on"
            )
        say.warn("no model was finished, so there is nothing to hand in")
        seconds = click.get_current_context().params["seconds"]
        if seconds is None:
            say.next("ensad compare --failed")
        else:
            say.again(seconds=f"{max(60, 2 * seconds):.0f}s")
        return
    if len(dataset.test):
        hand_in(result.blend, dataset.test.ids, data, submissions, say)
    if result.interrupted:
        raise Interrupted("interrupted: what is finished is kept; run the same command to go on")
    if len(dataset.test):
        say.next("ensad evaluate --labels FILE", "ensad report", "ensad compare")
    else:
        say.next("ensad submit" if no_look else f"ensad score IMAGES --blend {result.blend.name}", "ensad compare")
