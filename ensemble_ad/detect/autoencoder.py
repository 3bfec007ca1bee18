"""An autoencoder as scikit-learn has its outlier detectors: fit on normal images, then score new ones.

The signs are scikit-learn's: `score_samples` and `decision_function` are lower for anomalies, `predict` gives -1 for
them. `anomaly_score` has the sign of PyOD's `decision_function` and of the rest of this package: higher = more
anomalous.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ensemble_ad.blend.alarm import position_of_threshold
from ensemble_ad.data.conversion import DEFAULT_FIT
from ensemble_ad.data.images import Images
from ensemble_ad.data.preprocess import Preprocess, apply, undone
from ensemble_ad.data.stream import BLOCK
from ensemble_ad.detect.given import Given
from ensemble_ad.detect.latent import OpenMember
from ensemble_ad.detect.rows import Layout, checked
from ensemble_ad.detect.steady import steady_error_vectors
from ensemble_ad.detect.verbose import epochs_bar
from ensemble_ad.errors import EnsadError, speaks_python
from ensemble_ad.families import Architecture, Family, Model, named
from ensemble_ad.statistics.arrays import Floats32, Floats64
from ensemble_ad.training.anomaly_maps import anomaly_maps
from ensemble_ad.training.device import AUTO, choose_device, choose_precision
from ensemble_ad.training.error_vectors import error_vectors, fit_references, reference_rows
from ensemble_ad.training.loop import train
from ensemble_ad.training.references import Reference, References, is_distance
from ensemble_ad.training.settings import TrainSettings

if TYPE_CHECKING:

    class _Estimator:
        """What scikit-learn gives an outlier detector, for type checkers: it has no types of its own."""

        def get_params(self, deep: bool = True) -> dict[str, object]: ...
        def set_params(self, **params: object) -> Self: ...
        def fit_predict(self, X: Given, y: object = None) -> npt.NDArray[np.int64]: ...
        def __getstate__(self) -> dict[str, object]: ...

else:

    class _Estimator(OutlierMixin, BaseEstimator):
        """scikit-learn's base of an outlier detector."""


class NormalTrained(_Estimator, ABC):
    """What detectors that are fitted to normal images have in common: all but `fit` and `anomaly_score`."""

    offset_: float

    @abstractmethod
    def anomaly_score(self, X: Given) -> Floats64:
        """float64 (n,), higher = more anomalous."""

    def score_samples(self, X: Given) -> Floats64:
        """The negative of `anomaly_score`, float64 (n,): lower = more anomalous."""
        return -self.anomaly_score(X)

    def decision_function(self, X: Given) -> Floats64:
        """`score_samples(X) - offset_`, float64 (n,): below 0 = anomaly."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Given) -> npt.NDArray[np.int64]:
        """int64 (n,): 1 = normal, -1 = anomaly."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class AutoencoderDetector(NormalTrained):
    """One autoencoder, trained on normal images.

    X is (n, H, W) or (n, H, W, C) images with C of 1 or 3, a list of such images of any sizes or of paths of pictures,
    or (n, pixels), as pipelines have it; `image_shape` says how rows of pixels are laid out, else they are the smallest
    grey square that holds them, its last pixels 0. Images that are not squares of one size become such squares, as in a
    data set: by `image_fit`, and numbers other than uint8 by their range in `fit`. Of squares, uint8 is taken as it is,
    and other numbers are brought to 8 bits: those of [0, 1] by their 255-fold, others by the least and largest value
    seen in `fit`, beyond which they are cut off. Sides grow to 16, and to a multiple of what the family needs.

    `fit` keeps the share `holdout` of the images out of the training; the threshold is the score that the share
    `alarm_rate` of them exceeds (the highest of them where they are too few for that).

    Args:
        family: a family, with the settings that its studies try first, or a preset, with the published ones;
            `ensad families` lists both. Not one that is trained on test images.
        epochs: passes over the images; None is the preset's number, or 20.
        training: further settings by name, those of `training.settings.TrainSettings`: batch_size, loss, ...
        architecture: an `Architecture` of the family, instead of the default one.
        crop: share of the side that a centred crop keeps, in (0, 1]; None is the family's share.
        column: the kind of error that is the score: rss, mae, top, gradient, ssim, latent_mahalanobis, latent_knn,
            latent_lof, the same three of `residual_`, or one of the family's own; `auto` is rss, and latent_mahalanobis
            of a family that does not reconstruct.
        flips: score an image by the mean of it and its mirror image.
        image_shape: (H, W) or (H, W, C) of rows of pixels.
        image_fit: how images that are not square, or of several sizes, become square: pad, squash or crop.
        alarm_rate: share of normal images that `predict` may call anomalies.
        holdout: share of X that is not trained on, in (0, 0.5].
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        random_state: seed of all random choices, None for another one each time, or a `RandomState`.
        verbose: show a bar of the epochs on stderr while `fit` trains.

    Attributes:
        offset_: negative of the threshold of `anomaly_score`.
        model_: the trained model.
        column_: the kind of error in use.
        n_features_in_: how many numbers an image has.

    Raises:
        ValueError: in `fit`, for settings or images that cannot be used.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> normal, new = X[y < 5][:300], X[-100:]
    >>> detector = AutoencoderDetector("pca-10").fit(normal)
    >>> detector.score_samples(new).shape
    (100,)
    >>> bool((detector.predict(new)[y[-100:] >= 5] == -1).mean() > (detector.predict(new)[y[-100:] < 5] == -1).mean())
    True
    """

    def __init__(
        self,
        family: str = "fcn",
        *,
        epochs: int | None = None,
        training: Mapping[str, object] | None = None,
        architecture: Architecture | None = None,
        crop: float | None = None,
        column: str = "auto",
        flips: bool = False,
        image_shape: tuple[int, ...] | None = None,
        image_fit: str = DEFAULT_FIT,
        alarm_rate: float = 0.01,
        holdout: float = 0.15,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.family = family
        self.epochs = epochs
        self.training = training
        self.architecture = architecture
        self.crop = crop
        self.column = column
        self.flips = flips
        self.image_shape = image_shape
        self.image_fit = image_fit
        self.alarm_rate = alarm_rate
        self.holdout = holdout
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Given, y: object = None) -> Self:
        """Train on normal images; `y` is ignored.

        Raises:
            ValueError: for settings or images that cannot be used.
        """
        array = checked(self, X, reset=True)
        try:
            return self._fit(array)
        except (EnsadError, TypeError) as error:
            raise ValueError(str(error)) from error

    @speaks_python
    def _fit(self, array: npt.NDArray[Any]) -> Self:
        layout = Layout.fitted(array, self.image_shape)
        images = layout.images(array)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        held_out, rows = hold_out(len(images), self.holdout, seed)
        kind, architecture, crop, via, settings = self._settings(seed, len(rows))
        if kind.transductive:
            raise ValueError(f"{kind.name} is trained on the unlabelled test images, which fit(X) does not have")
        preprocess = _preprocess(kind, layout, crop, via)
        device = choose_device(self.device)
        prepared = _to_device(images, preprocess, device)
        trained = torch.from_numpy(rows).to(device)

        def build() -> Model:
            return architecture.build(preprocess.shape).to(memory_format=torch.channels_last)

        with epochs_bar(self.family, settings.epochs, shown=self.verbose) as after_epoch:
            model = train(build, prepared, trained, settings, after_epoch=after_epoch).eval()
        column = ("rss" if kind.reconstructs else "latent_mahalanobis") if self.column == "auto" else self.column
        some = reference_rows(trained)
        references = fit_references(model, prepared[some], flips=self.flips) if is_distance(column) else {}
        found = error_vectors(model, prepared[some[:1]], references, flips=self.flips)
        if column not in found:
            raise ValueError(f"column must be one of {', '.join(found)} for {kind.name}, not {column!r}")
        self.layout_, self.preprocess_, self.column_ = layout, preprocess, column
        self.model_, self.references_ = model, _moved(references, torch.device("cpu"))
        self.offset_ = offset(self._errors(images[held_out]), self.alarm_rate)
        return self

    def anomaly_score(self, X: Given) -> Floats64:
        """The reconstruction error, or what `column` says, float64 (n,): higher = more anomalous.

        Raises:
            ValueError: for images of another size.
        """
        check_is_fitted(self)
        return self._errors(self.layout_.images(checked(self, X, reset=False)))

    def error_map(self, X: Given) -> Floats32:
        """Where images are anomalous: the absolute error of the reconstruction, or what the family has in its place.

        Returns:
            float32 (n, side, side), higher = more anomalous; on a scale of -1 (black) to 1 (white) for a family that
            reconstructs, where its mean over what the crop keeps is the column `mae`. What the crop cuts off is 0.

        Raises:
            ValueError: for images of another size, or a family that says nothing of places (cutpaste).
        """
        check_is_fitted(self)
        if self.model_.map_column is None:
            raise ValueError(f"{self.family} says nothing of places; fit a family that reconstructs, such as pca")
        images = self.layout_.images(checked(self, X, reset=False))
        device = choose_device(self.device)
        model, maps = self.model_.to(device), []
        for start in range(0, len(images), BLOCK):
            prepared = _to_device(images[start : start + BLOCK], self.preprocess_, device)
            found = anomaly_maps(model, prepared, flips=self.flips)
            maps.append(undone(found, self.preprocess_, images.shape[1], outside=0.0))
        return np.concatenate(maps)

    def reconstruct(self, X: Given) -> Images:
        """What the model makes of the part of each image that its crop keeps, uint8 (n, height, width, C).

        Raises:
            ValueError: for images of another size, or a family that does not reconstruct.
        """
        check_is_fitted(self)
        device = choose_device(self.device)
        opened = OpenMember(key=self.family, model=self.model_.to(device), preprocess=self.preprocess_, device=device)
        found = opened.reconstruct(self.layout_.images(checked(self, X, reset=False)))
        if found is None:
            raise ValueError(f"{self.family} does not reconstruct; fit a family that does, such as pca")
        return found

    def _errors(self, images: Images) -> Floats64:
        device = choose_device(self.device)
        model, references = self.model_.to(device), _moved(self.references_, device)
        scores = []
        for start in range(0, len(images), BLOCK):
            prepared = _to_device(images[start : start + BLOCK], self.preprocess_, device)
            found = steady_error_vectors(model, prepared, references, [self.column_], flips=self.flips)
            scores.append(found[self.column_])
        return np.concatenate(scores).astype(np.float64)

    def __getstate__(self) -> dict[str, object]:
        # A model that was pickled on a GPU could only be read where there is one.
        if hasattr(self, "model_"):
            self.model_.cpu()
        return super().__getstate__()

    def _settings(
        self, seed: int, n: int
    ) -> tuple[Family, Architecture, tuple[float, float], int | None, TrainSettings]:
        via: int | None = None
        found = named(self.family)
        if isinstance(found, Family):
            kind = found
            start = _Start(kind.start[0])
            batch_sizes = kind.ranges.batch_sizes(choose_device(self.device).type, n)
            architecture = kind.suggest(start, kind.widths_up_to(kind.cpu_width))
            side, _, training = kind.ranges.suggest(start, self.epochs or 20, batch_sizes)
            crop = (side, side)
            training = {**training, "epochs": min(self.epochs or 20, kind.ranges.most_epochs or 10**9)}
        else:
            kind, published = found
            architecture, crop, via = published.architecture, published.crop, published.via
            training = dict(published.training)
        if self.epochs is not None:
            training["epochs"] = self.epochs
        if self.architecture is not None:
            if not isinstance(self.architecture, kind.architecture):
                raise ValueError(f"the architecture of {kind.name} must be a {kind.architecture.__name__}")
            architecture = self.architecture
        if self.crop is not None:
            crop, via = (self.crop, self.crop), None
        precision = choose_precision(AUTO, choose_device(self.device))
        settings = TrainSettings(**{**training, "precision": precision, **(self.training or {}), "seed": seed})
        return kind, architecture, crop, via, settings


def hold_out(n: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to hold out, at least one, and rows to train on, sorted.

    Raises:
        ValueError: for a share outside (0, 0.5].
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"holdout must lie in (0, 0.5], not {share}")
    order = np.random.default_rng(seed).permutation(n)
    held_out = min(max(1, round(share * n)), n // 2)
    return np.sort(order[:held_out]), np.sort(order[held_out:])


def offset(reference: Floats64, alarm_rate: float) -> float:
    """The negative of the anomaly score that `alarm_rate` of the reference exceeds; see `blend.alarm.threshold`.

    Raises:
        ValueError: for a rate outside (0, 1).
    """
    if not 0 < alarm_rate < 1:
        raise ValueError(f"alarm_rate must lie between 0 and 1, not {alarm_rate}")
    position = min(position_of_threshold(len(reference), alarm_rate), len(reference))
    return -float(np.sort(reference)[position - 1])


def _preprocess(kind: Family, layout: Layout, crop: tuple[float, float], via: int | None) -> Preprocess:
    multiple = kind.side_multiple
    side = -(-max(16, layout.side) // multiple) * multiple
    return Preprocess(crop=crop, size=(side, side), channels=layout.channels, via=via)


def _to_device(images: Images, preprocess: Preprocess, device: torch.device) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(apply(images, preprocess))).to(device)


def _moved(references: References, device: torch.device) -> dict[str, Reference]:
    return {
        name: Reference(**{part: value.to(device) for part, value in vars(reference).items()})
        for name, reference in references.items()
    }


class _Start:
    """A `Sampler` that gives the values that a study tries first; for others the first choice or the lowest value."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._values.get(name, low))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._values.get(name, low))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        value = self._values.get(name, choices[0])
        return min(choices, key=lambda choice: abs(choice - value)) if name == "batch_size" else value
