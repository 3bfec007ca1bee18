"""A study's settings, and what they mean for a data set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.errors import UsageError
from ensemble_ad.families import Family, family
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.members.objectives import AUTO
from ensemble_ad.search.allowance import Allowance
from ensemble_ad.search.draw import STARTUP_TRIALS
from ensemble_ad.search.storage import StudyStorage, open_storage
from ensemble_ad.search.study import SharedStudy
from ensemble_ad.training.device import AUTO as AUTO_PRECISION
from ensemble_ad.training.device import choose_device, choose_precision
from ensemble_ad.training.prepared import MOST_TILES
from ensemble_ad.training.recipe import RECIPE_VERSION, Recipe, check_objective, check_transductive
from ensemble_ad.training.settings import TrainSettings

_SMALL, _LARGE = 32, 128
_TIMES = (1.5, 2, 3, 4)  # the sides of pictures that are searched, in tiles
_LEAST_TILES = 4  # of a picture of the smallest of them


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """A study's settings.

    Attributes:
        family: the family's name.
        trials: number of finished trials, pruned ones included, that the study shall have in the end.
        timeout: seconds after which no new trial starts; None for no limit.
        epochs: the most that a trial trains.
        objective: a name of `members.objectives.OBJECTIVES`, or `auto`.
        device: auto, cpu, cuda or cuda:1.
        precision: auto, or a name of `training.device.PRECISIONS`.
        seed: the seed of the sampler and of every model.
        subset: number of training images used; None is all.
        size: side that crops are resized to; None searches it.
        tile: side of the tiles that resized crops are cut into; None leaves them whole.
        max_width: the widest layer tried; None is what suits the device.
        prune: whether trials that fall behind are stopped early.
        storage: an Optuna storage URL; None is SQLite in the studies' folder.
        artifacts: URL of the store that members travel through between machines; None where they share the folder.
        labels_hash: hash of the labels that the objective reads; None where it reads none.
        flips: whether a score is the mean of an image's and its mirror image's.
        transductive: whether the user agreed to training on the test images.
        anomaly_share: what the user knows of the share of anomalies in the test set, for `auto`.
        allowance: what a trial may take, where time is short; None shortens none.
    """

    family: str
    trials: int = 50
    timeout: float | None = None
    epochs: int = 20
    objective: str = AUTO
    device: str = "auto"
    precision: str = AUTO_PRECISION
    seed: int = 0
    subset: int | None = None
    size: int | None = None
    tile: int | None = None
    max_width: int | None = None
    prune: bool = True
    storage: str | None = field(default=None, repr=False)
    artifacts: str | None = field(default=None, repr=False)
    labels_hash: str | None = None
    flips: bool = False
    transductive: bool = False
    anomaly_share: float | None = None
    allowance: Allowance | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UsageError(f"--trials must be 1 or more, not {self.trials}")
        if self.epochs < 1:
            raise UsageError(f"--epochs must be 1 or more, not {self.epochs}")
        if self.anomaly_share is not None and not 0 < self.anomaly_share < 1:
            raise UsageError(f"--anomaly-share must lie between 0 and 1, not {self.anomaly_share}")


def study_name(
    settings: TuneSettings, fingerprint: str, *, widths: Sequence[int], batch_sizes: Sequence[int], sizes: Sequence[int]
) -> str:
    """Family, objective and a hash of whatever makes two studies' values incomparable."""
    what = [
        fingerprint,
        settings.epochs,
        settings.subset,
        list(sizes),
        widths[-1],
        list(batch_sizes),
        settings.labels_hash,
        settings.seed,
        settings.flips,
        RECIPE_VERSION,
        settings.anomaly_share,
        *([] if settings.tile is None else [settings.tile]),
    ]
    return f"{settings.family}-{settings.objective}-{json_hash(what)[:8]}"


class Plan:
    """What the settings mean for a data set: family, widths, batch sizes, sizes and the study's name.

    Raises:
        UsageError: if they do not fit; nothing is written before that is known.
    """

    def __init__(self, dataset: Dataset, settings: TuneSettings) -> None:
        self.dataset, self.settings = dataset, settings
        self.kind: Family = family(settings.family)
        self.device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        widest = self.kind.widths[-1] if self.device.type == "cuda" else self.kind.cpu_width
        self.widths = self.kind.widths_up_to(settings.max_width or widest)
        self.sizes = self._sizes()
        check_transductive(self.kind, allowed=settings.transductive)
        # Pseudo-anomalies say nothing of what is trained on the test images.
        self.objective = "separation" if settings.objective == AUTO and self.kind.transductive else settings.objective
        check_objective(self.objective, self.kind, len(dataset.test))
        split = dataset.split(settings.subset)
        self.reference_rows = len(split.reference)
        self.trained_rows = len(split.train)
        if settings.tile is not None:
            self.trained_rows = min(MOST_TILES, self.trained_rows * _LEAST_TILES)
        self.batch_sizes = self.kind.ranges.batch_sizes(self.device.type, self.trained_rows)

    def _sizes(self) -> tuple[int, ...]:
        """The sides that crops are resized to: one, or several to choose from."""
        pinned, tile = self.settings.size, self.settings.tile
        if tile is not None:
            self.kind.check_shape((self.dataset.channels, tile, tile))
            return self._sizes_around(tile) if pinned is None else (pinned,)
        if pinned is None:
            sizes = self.kind.sizes_up_to(self.dataset.side)
            # A pixel's squared error is smaller in a smaller image, which is smoother.
            return sizes[-1:] if self.settings.objective == "loss" else sizes
        self.kind.check_shape((self.dataset.channels, pinned, pinned))
        return (pinned,)

    def _sizes_around(self, tile: int) -> tuple[int, ...]:
        """The sides of pictures that tiles of a side are cut from: so many tiles wide, up to the pictures' own side."""
        sizes = tuple(round(times * tile) for times in _TIMES if times * tile <= self.dataset.side)
        if not sizes:
            most = int(self.dataset.side / _TIMES[0])
            raise UsageError(f"--tiles must be {most} or less for pictures of {self.dataset.side} pixels, not {tile}")
        return sizes

    @property
    def study_name(self) -> str:
        """The study's name."""
        return study_name(
            self.settings,
            self.dataset.fingerprint,
            widths=self.widths,
            batch_sizes=self.batch_sizes,
            sizes=self.sizes,
        )

    def open_study(self, studies: Path, worker: str, storage: StudyStorage | None = None) -> SharedStudy:
        """The study, open, for a worker of that name; empty for one that only looks at it.

        Args:
            studies: the studies' folder.
            worker: the worker's name.
            storage: where the study is kept, if that is open already.
        """
        settings = self.settings
        shared = SharedStudy(
            name=self.study_name,
            start=self._starts(),
            objective=self.objective,
            epochs=settings.epochs,
            seed=settings.seed,
            studies=studies,
            storage=storage or open_storage(studies, settings.storage),
            worker=worker,
        )
        shared.open()
        return shared

    def _starts(self) -> list[dict[str, Any]]:
        """What the first trials shall have: the family's first values, then small sizes, then each larger one.

        Until the sampler has seen some trials it draws at random, and small images tell as well where to look, in less
        time. After that it keeps to the sizes that it knows, so each larger one is tried once with what it has learnt.
        """
        starts = [self._start(each) for each in self.kind.start]
        if len(self.sizes) == 1:
            return starts
        small = [size for size in self.sizes if size <= _SMALL] or self.sizes[:1]
        drawn = [small[place % len(small)] for place in range(len(starts), STARTUP_TRIALS)]
        larger = [size for size in self.sizes if small[-1] < size <= _LARGE]
        return [*starts, *({"size": size} for size in (*drawn, *larger))]

    def _start(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The family's first values, as near as the choices for this device and these images come to them."""
        nearest = {}
        if "size" in values:
            nearest["size"] = min(self.sizes, key=lambda size: abs(size - values["size"]))
        if "width" in values:
            nearest["width"] = min(values["width"], self.widths[-1])
        if "batch_size" in values:
            nearest["batch_size"] = min(self.batch_sizes, key=lambda size: abs(size - values["batch_size"]))
        return {**values, **nearest}

    def recipe(self, trial: optuna.Trial) -> Recipe:
        """What a trial shall train."""
        settings, dataset = self.settings, self.dataset
        architecture = self.kind.suggest(trial, self.widths)
        ranges = self.kind.ranges_of(architecture)
        drawn = ranges.suggest(trial, settings.epochs, self.batch_sizes, self.sizes)
        return Recipe(
            data=dataset.fingerprint,
            family=self.kind.name,
            architecture=architecture,
            preprocess=Preprocess(
                crop=(drawn.crop, drawn.crop),
                size=(drawn.size, drawn.size),
                channels=1 if dataset.is_grey else dataset.channels,
                tile=settings.tile,
            ),
            training=TrainSettings(
                seed=settings.seed,
                precision=self.precision,
                passes=ranges.passes(self.trained_rows),
                **drawn.training,
            ),
            objective=self.objective,
            labels=settings.labels_hash,
            subset=settings.subset,
            patience=max(3, math.ceil(drawn.training["epochs"] / 3)),
            flips=settings.flips,
            share=settings.anomaly_share if self.objective == AUTO else None,
        )
