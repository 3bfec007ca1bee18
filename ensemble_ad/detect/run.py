"""`ensemble_ad.run`: from images to a scorer within one time."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from ensemble_ad.anytime.budget import Budget
from ensemble_ad.anytime.run import Run, RunSettings, begun
from ensemble_ad.anytime.standing import RunWatcher, SilentWatcher
from ensemble_ad.data.check import worthless
from ensemble_ad.data.conversion import DEFAULT_FIT
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.fit import checked_fit
from ensemble_ad.detect.given import Given, dataset_of
from ensemble_ad.detect.scorer import BlendScorer, load_blend
from ensemble_ad.detect.verbose import run_bar
from ensemble_ad.errors import DataError, Interrupted, UsageError, speaks_python
from ensemble_ad.layout import at_home, preprocessed_folder
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.storage import StudyStorage, open_storage
from ensemble_ad.search.tune import TuneResult, tune
from ensemble_ad.search.watcher import Watcher
from ensemble_ad.training.believed import Yardstick


@speaks_python
def run(
    data: str | Path | Given = "data",
    *,
    unlabelled: Given | None = None,
    time_limit: float | None = None,
    trials: int | None = None,
    families: Sequence[str] | None = None,
    transductive: bool = False,
    look: bool = True,
    size: int | None = None,
    fit: str = DEFAULT_FIT,
    tiles: int | None = None,
    anomaly_share: float | None = None,
    seed: int = 0,
    name: str = "run",
    studies: str | Path = "studies",
    device: str = "auto",
    verbose: bool = False,
) -> BlendScorer:
    """Tune many families by turns and blend the best members, as `ensad run` does.

    A run of the same name on the same images goes on where the one before ended.

    Args:
        data: the images' folder, as for the command's `--data`, or the normal images themselves: an array (n, height,
            width) or (n, height, width, C), or a list of pictures of any sizes, arrays or paths.
        unlabelled: test images, an array or a list, among which anomalies may be; with normal images only.
        time_limit: wall time in seconds. The main thread alone keeps it within a trial.
        trials: the number of trials in all, instead of a time.
        families: the families' names; None is a portfolio.
        transductive: whether families that train on the unlabelled images may come in.
        look: whether test images are read; without, models are judged and blended by pseudo-anomalies alone.
        fit: how pictures that are not square, or of several sizes, become square: pad, squash or crop.
        size: side in pixels that crops are resized to; None searches it.
        tiles: side in pixels of the overlapping tiles that pictures are cut into; None leaves them whole.
        anomaly_share: what is known of the share of anomalies among the test images, in (0, 1).
        seed: seed of all that is drawn.
        name: the run's and its blend's name.
        studies: the folder that keeps members, studies and the blend.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        verbose: show a bar of the seconds, or of the trials, on stderr, with what is trained and the blend's value.

    Returns:
        The blend, loaded to score images.

    Raises:
        UsageError: unless one of `time_limit` and `trials` is given, and for what does not fit.
        DataError: for images that cannot be used, or would make a run worthless (`ensad data check`).
        Interrupted: on Ctrl-C; the blend so far is kept, and the same call goes on.
    """
    if (time_limit is None) == (trials is None):
        raise UsageError("give one of time_limit=600 (seconds) and trials=20")
    if trials is not None and trials < 1:
        raise UsageError(f"trials must be 1 or more, not {trials}")
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"time_limit must be more than 0 seconds, not {time_limit}")
    budget, studies = Budget(seconds=time_limit), at_home(studies)
    kept, how = preprocessed_folder(studies), checked_fit(fit)
    if not isinstance(data, str | Path):
        dataset = dataset_of(data, unlabelled if look else None, how, cache=kept)
    elif unlabelled is None:
        dataset = load_dataset(at_home(data), image_cache=kept, test_optional=True, look=look, fit=how)
    else:
        raise UsageError("unlabelled=... goes with an array or list of normal images; a folder has its test images")
    if found := worthless(dataset, dataset.train.source.parent):
        raise DataError(f"{'; '.join(found)}: what is trained on this would be worthless; mend the data")
    tuning = TuneSettings(
        family="",
        seed=seed,
        device=device,
        size=size,
        tile=tiles,
        transductive=transductive,
        anomaly_share=anomaly_share,
    )
    settings = RunSettings(
        name=name, families=None if families is None else tuple(families), trials=trials, tuning=tuning
    )
    storage = open_storage(studies, None)
    shown: AbstractContextManager[RunWatcher] = run_bar(time_limit, trials) if verbose else nullcontext(SilentWatcher())
    with begun(dataset, settings, studies) as record, shown as watcher:
        if budget.seconds is not None:
            budget.seconds -= record.used
        result = Run(
            dataset=dataset,
            settings=settings,
            studies=studies,
            storage=storage,
            budget=budget,
            record=record,
            tune=partial(_tune, dataset, studies, Yardstick(dataset, studies, anomaly_share), storage),
            watcher=watcher,
        ).go_on()
    if result.interrupted:
        raise Interrupted("interrupted: what is finished is kept; call run again to go on")
    if result.blend is None:
        advice = "`ensad compare --failed` lists what failed" if time_limit is None else "give a larger time_limit"
        raise UsageError(f"no model was finished; {advice}")
    return load_blend(name, studies, device=device)


def _tune(
    dataset: Dataset,
    studies: Path,
    yardstick: Yardstick,
    storage: StudyStorage,
    settings: TuneSettings,
    watcher: Watcher,
) -> TuneResult:
    return tune(dataset, settings, studies=studies, watcher=watcher, yardstick=yardstick, storage=storage)
