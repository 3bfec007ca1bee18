"""Several detectors as one: fitted to normal images, weighted by `blend_scores` without labels."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_outlier_detector
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.alarm import crossfit_reference
from ensemble_ad.data.conversion import DEFAULT_FIT
from ensemble_ad.detect.autoencoder import AutoencoderDetector, NormalTrained, hold_out, offset
from ensemble_ad.detect.given import Given
from ensemble_ad.detect.rows import as_rows, checked
from ensemble_ad.detect.verbose import counted
from ensemble_ad.errors import EnsadError, speaks_python
from ensemble_ad.statistics.arrays import Floats64

if TYPE_CHECKING:
    from ensemble_ad.detect.timed import TimedBlend

# The methods that need no test images, and the one that `auto` is without them.
_UNLEARNT = ("mean", "median", "max", "top", "tail-mean")
_WITHOUT_TEST = "tail-mean"
_USUAL = ("fcn", "pca")


class BlendedDetector(NormalTrained):
    """A blend of detectors.

    `fit` trains clones of the members on a part of the normal images, scores the held-out rest with them, and weights
    them by `method`. What is learnt from unlabelled test images, where anomalies may be among them, needs these as
    `unlabelled`; without them `auto` is `tail-mean`, the equal mean of -log p of each score among the held-out images.
    An image's score never depends on the others that it is scored with.

    With `time_limit` it is what `ensad run` makes within that time instead: families are tuned by turns, and the best
    members of the studies blended.

    Args:
        members: each a family's or preset's name (an `AutoencoderDetector` of it), a detector, or a pair (name,
            detector). A detector is this package's, one of scikit-learn's (or a pipeline that ends in one), or has
            PyOD's `fit(X)` and `decision_function(X)`, higher = more anomalous. Others than this package's get rows of
            pixels, float64, uint8 brought to [0, 1]. One that is fitted already stays as it is inside
            `sklearn.frozen.FrozenEstimator`; the held-out images must be new to it. None is fcn and pca. With
            `time_limit` the names of the families that are tuned, and None is a portfolio.
        method: `auto` or another method of `blend_scores` that needs neither weights nor labels; with `time_limit`
            `auto`.
        time_limit: seconds of wall time that `fit` takes; None trains the members once. In the main thread alone a
            training that lasts longer is stopped.
        alarm_rate: share of normal images that `predict` may call anomalies.
        holdout: share of X that is not trained on, in (0, 0.5]; a run has its own share.
        image_fit: how images that are not square, or of several sizes, become square, as in `AutoencoderDetector`.
        random_state: seed of the split, None for another one each time, or a `RandomState`. Members have seeds of their
            own.
        verbose: show a bar of the members, or of the time, on stderr while `fit` trains.

    Attributes:
        members_: the fitted members as pairs (name, detector); none with `time_limit`.
        blend_: the `Blend`: weights, explanation, separation.
        offset_: negative of the threshold of `anomaly_score`.
        n_features_in_: how many numbers an image has.

    Raises:
        ValueError: in `fit`, for members, settings or images that cannot be used.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> X, y = load_digits(return_X_y=True)
    >>> detector = BlendedDetector(["pca-10", ("lof", LocalOutlierFactor(novelty=True))])
    >>> detector = detector.fit(X[y < 5][:300], unlabelled=X[-200:])
    >>> detector.blend_.names
    ('pca-10', 'lof')
    >>> detector.predict(X[-200:]).shape
    (200,)
    """

    timed_: "TimedBlend | None"

    def __init__(
        self,
        members: Sequence[object] | None = None,
        *,
        method: str = "auto",
        time_limit: float | None = None,
        alarm_rate: float = 0.01,
        holdout: float = 0.15,
        image_fit: str = DEFAULT_FIT,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.members = members
        self.method = method
        self.time_limit = time_limit
        self.alarm_rate = alarm_rate
        self.holdout = holdout
        self.image_fit = image_fit
        self.random_state = random_state
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """The parameters by name; with `deep` those of named members too, `<member>` and `<member>__<parameter>`."""
        found = super().get_params(deep=False)
        for name, member in self._pairs().items() if deep else ():
            found[name] = member
            if hasattr(member, "get_params") and not isinstance(member, type):
                found |= {f"{name}__{key}": value for key, value in member.get_params(deep=True).items()}
        return found

    def set_params(self, **params: object) -> Self:
        """Set parameters by name, `<member>` and `<member>__<parameter>` of named members too.

        Raises:
            ValueError: for an unknown name.
        """
        if "members" in params:
            super().set_params(members=params.pop("members"))
        own: dict[str, Any] = {}
        for key, value in params.items():
            name, _, inner = key.partition("__")
            if name not in self._pairs():
                own[key] = value
            elif inner:
                self._pairs()[name].set_params(**{inner: value})
            else:
                self.members = [(name, value) if _is_pair(m) and m[0] == name else m for m in self._given()]
        super().set_params(**own)
        return self

    def _given(self) -> Sequence[object]:
        return () if self.members is None else self.members

    def _pairs(self) -> dict[str, Any]:
        """The members that were given a name."""
        try:
            return {member[0]: member[1] for member in self._given() if _is_pair(member)}
        except TypeError:  # `members` is no sequence, which `fit` refuses
            return {}

    def fit(self, X: Given, y: object = None, *, unlabelled: Given | None = None) -> Self:
        """Train the members and weight them.

        Args:
            X: normal images, as for `AutoencoderDetector`.
            y: ignored.
            unlabelled: test images to learn the weights from, of the same form. A pipeline hands them on untransformed
                (`blendeddetector__unlabelled=...`).

        Raises:
            ValueError: for members, settings or images that cannot be used.
        """
        array = checked(self, X, reset=True)
        new = None if unlabelled is None else checked(self, unlabelled, reset=False)
        try:
            return self._fit(array, new)
        except EnsadError as error:
            raise ValueError(str(error)) from error

    @speaks_python
    def _fit(self, array: npt.NDArray[Any], new: npt.NDArray[Any] | None) -> Self:
        if self.time_limit is not None:
            return self._fit_within(self.time_limit, array, new)
        method = self.method
        if new is None and method == "auto":
            method = _WITHOUT_TEST
        if new is None and method not in _UNLEARNT:
            raise ValueError(f"the method {method!r} learns from test images; pass fit(X, unlabelled=...) or use auto")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        held_out, rows = hold_out(len(array), self.holdout, seed)
        members = _named(_USUAL if self.members is None else self.members)
        self.timed_: TimedBlend | None = None
        self.members_: list[tuple[str, Any]] = []
        with counted(len(members), shown=self.verbose) as done:
            for name, member in members:
                done(len(self.members_), f"fitting {name}")
                self.members_.append((name, _fitted(name, member, array[rows])))
            done(len(members), "fitted")
        reference = self._columns(array[held_out])
        test = reference if new is None else self._columns(new)
        self.blend_ = blend_scores(reference, test, method=method, names=[name for name, _ in members], seed=seed)
        self.offset_ = offset(crossfit_reference(reference, test, method=method), self.alarm_rate)
        return self

    def _fit_within(self, seconds: float, array: npt.NDArray[Any], new: npt.NDArray[Any] | None) -> Self:
        """Run families within a time, and keep their blend."""
        from ensemble_ad.detect.timed import TimedBlend  # which imports Optuna

        if self.method != "auto":
            raise ValueError(f"with time_limit the method is auto, not {self.method!r}")
        names = None if self.members is None else [name for name in self.members if isinstance(name, str)]
        if names is not None and (isinstance(self.members, str) or len(names) != len(self.members or ())):
            raise ValueError(f"with time_limit members must be a list of families' names, not {self.members!r}")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.timed_ = TimedBlend.fitted(array, new, time_limit=seconds, families=names, seed=seed, verbose=self.verbose)
        self.members_, self.blend_ = [], self.timed_.scorer.rule
        self.offset_ = offset(self.timed_.reference, self.alarm_rate)
        return self

    def anomaly_score(self, X: Given) -> Floats64:
        """The blend's score, float64 (n,): higher = more anomalous.

        Raises:
            ValueError: for images of another size.
        """
        check_is_fitted(self)
        array = checked(self, X, reset=False)
        return self.blend_.score(self._columns(array)) if self.timed_ is None else self.timed_.score(array)

    def _columns(self, array: npt.NDArray[Any]) -> Floats64:
        return np.stack([_scores(member, array) for _, member in self.members_], axis=1)


def _named(members: Sequence[Any]) -> list[tuple[str, Any]]:
    """Pairs of a name and a detector; a member without a name gets its family's or class's, with a number if taken."""
    if isinstance(members, str) or not isinstance(members, Sequence):
        raise ValueError(f"members must be a list of families' names and detectors, not {members!r}")
    named: list[tuple[str, Any]] = []
    for member in members:
        name, detector = member if _is_pair(member) else ("", member)
        if isinstance(detector, str):
            name, detector = name or detector, AutoencoderDetector(detector)
        if isinstance(detector, type) or not hasattr(detector, "fit") or _judge_of(detector) is None:
            raise ValueError(f"a member must be a family's name or an outlier detector, not {detector!r}")
        name = name or type(detector).__name__.lower()
        taken = {known for known, _ in named}
        number = 2
        unique = name
        while unique in taken:
            unique, number = f"{name}-{number}", number + 1
        named.append((unique, detector))
    if not named:
        raise ValueError("members must hold at least one detector")
    return named


def _is_pair(member: object) -> TypeGuard[tuple[str, Any]]:
    return isinstance(member, tuple) and len(member) == 2 and isinstance(member[0], str)


def _judge_of(detector: Any) -> Callable[[Any], Any] | None:
    """The function that gives a detector's scores, higher = more anomalous; None for what is no detector."""
    if hasattr(detector, "anomaly_score"):
        found: Callable[[Any], Any] = detector.anomaly_score
        return found
    # PyOD tags its detectors as scikit-learn's outlier detectors, but keeps its own sign.
    if is_outlier_detector(detector) and not _is_pyods(_innermost(detector)):
        for name in ("score_samples", "decision_function"):
            if hasattr(detector, name):
                lower = getattr(detector, name)
                return lambda X: -np.asarray(lower(X))
        return None
    higher: Callable[[Any], Any] | None = getattr(detector, "decision_function", None)
    return higher


def _innermost(detector: Any) -> Any:
    """What a pipeline ends in or a `FrozenEstimator` holds."""
    if isinstance(detector, Pipeline):
        return _innermost(detector.steps[-1][1])
    return _innermost(detector.estimator) if type(detector).__name__ == "FrozenEstimator" else detector


def _is_pyods(detector: Any) -> bool:
    return any(each.__module__.partition(".")[0] == "pyod" for each in type(detector).__mro__)


def _input_of(detector: Any, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    own = isinstance(_innermost(detector), NormalTrained) and not isinstance(detector, Pipeline)
    return array if own else as_rows(array)


def _fitted(name: str, detector: Any, array: npt.NDArray[Any]) -> Any:
    own = clone(detector)
    own.fit(_input_of(own, array), None)
    if _judge_of(own) is None:
        raise ValueError(f"the member {name} has neither score_samples nor decision_function")
    return own


def _scores(detector: Any, array: npt.NDArray[Any]) -> Floats64:
    judge = _judge_of(detector)
    assert judge is not None
    return np.asarray(judge(_input_of(detector, array)), dtype=np.float64).reshape(-1)
