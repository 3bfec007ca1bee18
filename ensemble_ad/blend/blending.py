"""`blend_scores`: check the input, fit the method, judge it out of fold, and say what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.blend.auto import MIN_ROWS, fit_auto
from ensemble_ad.blend.explain import explain
from ensemble_ad.blend.guard import Evidence, guards
from ensemble_ad.blend.methods import AUTO, Method, find_method
from ensemble_ad.blend.normalise import POOLED, normalise
from ensemble_ad.blend.result import Blend, Part, total_score
from ensemble_ad.blend.weight import WEIGHERS, Pool, varying
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics import Estimate, estimate_share, separation, separation_many
from ensemble_ad.statistics.arrays import as_labels
from ensemble_ad.statistics.estimate import probability_estimate

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]

_JUDGED_ROWS = 5_000  # rows a side that the out-of-fold judgement uses at most


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A fitted method: parts, weights, concrete name, scores of what it was fitted on, and what `auto` found."""

    parts: tuple[Part, ...]
    weights: Floats
    method: str
    test: Floats
    reference: Floats | None = None
    learnt: float = 1.0
    share: Estimate | None = None
    left_out: NDArray[np.bool_] | None = None
    differs: bool = False


def blend_scores(
    reference: ArrayLike,
    test: ArrayLike,
    method: str = AUTO,
    weights: ArrayLike | None = None,
    *,
    normaliser: str | None = None,
    names: Sequence[str] | None = None,
    anomaly_share: float | None = None,
    label: ArrayLike | None = None,
    seed: int = 0,
) -> Blend:
    """Blend m members' anomaly scores into one score a test image, without labels.

    Args:
        reference: (n, m) scores of normal images that no member was trained on; higher = more anomalous.
        test: (k, m) scores of the unlabelled test images, the same members in the same order.
        method: `auto` or a key of `METHODS`.
        weights: (m,) for the method `given`, which they imply where the method is left at `auto`.
        normaliser: A key of `NORMALISERS` in the place of the method's own; not with `auto`.
        names: The members' names, for messages and the explanation; `member 0`, ... by default.
        anomaly_share: Share of anomalies among the test images where it is known, in (0, 1).
        label: (k,) labels, for the method `labels` only.
        seed: Of all random choices; the same seed gives the same blend.

    Returns:
        A Blend: scores, weights, the concrete method, an explanation, the out-of-fold separation, a frozen state.

    Raises:
        DataError: Arrays that do not match, are empty, or are not finite (naming the member).
        UsageError: An unknown method or normaliser, weights or labels missing or out of place.

    >>> rng = np.random.default_rng(0)
    >>> reference, test = rng.normal(size=(200, 3)), rng.normal(size=(100, 3))
    >>> test[:30, 0] += 4  # the first member sees the 30 anomalies
    >>> blend = blend_scores(reference, test, names=["good", "blind", "deaf"])
    >>> blend.names[np.argmax(blend.weights)]
    'good'
    >>> int((np.argsort(blend.scores)[-20:] < 30).sum())  # of the 20 highest scores, how many are anomalies'
    20
    """
    low, high = _checked(reference, test)
    columns = low.shape[1]
    called = _checked_names(names, low, high)
    given = _checked_weights(weights, columns)
    if given is not None and method == AUTO:
        method = "given"
    if given is not None and method != "given":
        raise UsageError(f"weights go with the method 'given', got {method!r}: drop the one or the other")
    if anomaly_share is not None and not 0.0 < anomaly_share < 1.0:
        raise UsageError(f"the anomaly share lies between 0 and 1, got {anomaly_share}: pass for example 0.5")
    truth = None
    if label is not None:
        if method != "labels":
            raise UsageError(f"labels go with the method 'labels', got {method!r}: nothing else may see them")
        truth = as_labels(label, len(high))
    if method == AUTO and normaliser is not None:
        raise UsageError(f"'auto' chooses its normalisers, got {normaliser!r}: name a method or drop the normaliser")

    def fit(a: Numbers, b: Numbers, flags: NDArray[np.bool_] | None) -> Rule:
        if method == AUTO:
            found = fit_auto(a, b, anomaly_share=anomaly_share, seed=seed)
            name = "+".join(dict.fromkeys(part.name for part in found.parts))
            return Rule(
                parts=found.parts,
                weights=found.weights,
                method=name,
                test=found.test,
                learnt=found.learnt,
                share=found.share,
                left_out=found.left_out,
                differs=found.differs,
            )
        return _fit_method(method, find_method(method, normaliser), a, b, given, flags, seed)

    rule = fit(low, high, truth)
    concrete = None if method == AUTO else find_method(method, normaliser)
    judged, out_of_fold = _judged(fit, concrete, rule, low, high, truth, seed)
    pooled = separation_many(low, high)
    evidence = Evidence(
        reference_rows=len(low),
        test_rows=len(high),
        names=called,
        member=pooled,
        varies=varying(Pool(reference=low, test=high)),
        separation=judged,
        out_of_fold=out_of_fold,
        share=_share(rule),
        given_share=anomaly_share,
        learnt=rule.learnt if method == AUTO else None,
        left_out=() if rule.left_out is None else tuple(np.array(called, dtype=object)[rule.left_out]),
        differs=rule.differs,
    )
    fired = guards(evidence)
    return Blend(
        scores=rule.test,
        weights=rule.weights,
        method=rule.method,
        explanation=explain(method, rule.method, rule.parts, rule.weights, evidence, fired),
        normaliser=", ".join(dict.fromkeys(part.normaliser.name for part in rule.parts)),
        separation=judged,
        names=called,
        guards=fired,
        parts=rule.parts,
    )


def _share(rule: Rule) -> Estimate | None:
    # The forest has seen which rows are reference, so the whole rule's scores would speak of too many anomalies.
    if rule.reference is None or min(len(rule.reference), len(rule.test)) < MIN_ROWS:
        return rule.share
    return estimate_share(rule.reference, rule.test)


def _fit_method(
    name: str,
    method: Method,
    low: Numbers,
    high: Numbers,
    given: Floats | None,
    label: NDArray[np.bool_] | None,
    seed: int,
) -> Rule:
    frozen, a, b = normalise(method.normaliser, low, high)
    pool = Pool(reference=a, test=b, given=given, label=label, seed=seed)
    weights = WEIGHERS[method.weigher](pool)
    part = Part(name=name, normaliser=frozen, combiner=method.combiner, weights=weights)
    return Rule(
        parts=(part,),
        weights=weights,
        method=name,
        reference=part.of_normalised(a),
        test=part.of_normalised(b),
    )


def _judged(
    fit: Callable[[Numbers, Numbers, NDArray[np.bool_] | None], Rule],
    method: Method | None,
    rule: Rule,
    low: Numbers,
    high: Numbers,
    label: NDArray[np.bool_] | None,
    seed: int,
) -> tuple[Estimate, bool]:
    """Separation of rules that were fitted without the images they scored, and whether that was possible.

    In two halves (five folds where there are few images); within each fold test is compared with reference, and the
    folds' values are averaged, since two rules' scores are not on one scale.
    """
    fixed = method is not None and method.weigher in ("equal", "given") and method.normaliser in (*POOLED, "rank")
    if fixed or low.shape[1] == 1:
        # Nothing was fitted to the difference of the two sides, so there is nothing to be optimistic about.
        return separation(total_score(rule.parts, low), rule.test), True
    rng = np.random.default_rng(seed)
    rows_low = rng.permutation(len(low))[:_JUDGED_ROWS]
    rows_high = rng.permutation(len(high))[:_JUDGED_ROWS]
    folds = 2 if min(len(rows_low), len(rows_high)) >= 200 else 5
    if min(len(rows_low), len(rows_high)) < 2 * folds:
        return separation(total_score(rule.parts, low), rule.test), False
    of_low, of_high = np.arange(len(rows_low)) % folds, np.arange(len(rows_high)) % folds
    values, variances = [], []
    for fold in range(folds):
        inside_low, outside_low = rows_low[of_low != fold], rows_low[of_low == fold]
        inside_high, outside_high = rows_high[of_high != fold], rows_high[of_high == fold]
        flags = None if label is None else label[inside_high]
        if flags is not None and (flags.all() or not flags.any()):
            return separation(total_score(rule.parts, low), rule.test), False
        part = fit(low[inside_low], high[inside_high], flags)
        one = separation(total_score(part.parts, low[outside_low]), total_score(part.parts, high[outside_high]))
        values.append(one.value)
        variances.append(one.standard_error**2)
    value, variance = float(np.mean(values)), float(np.sum(variances)) / folds**2
    smaller = min(len(rows_low), len(rows_high))
    return probability_estimate(value, variance, smaller, 0.95, f"DeLong, {folds} folds"), True


def _checked(reference: ArrayLike, test: ArrayLike) -> tuple[Numbers, Numbers]:
    arrays = []
    for name, values in (("reference", reference), ("test", test)):
        array = np.asarray(values)
        if array.dtype not in (np.float32, np.float64):
            try:
                array = array.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise DataError(f"{name} has to hold numbers, got dtype {array.dtype}: convert it first") from error
        if array.ndim != 2:
            raise DataError(f"{name} has to be images x members, got shape {array.shape}: pass a 2-D array")
        if array.size == 0:
            raise DataError(f"{name} is empty, shape {array.shape}: at least one image and one member are needed")
        arrays.append(array)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise DataError(
            "reference and test have to have the same members in columns, "
            f"got {arrays[0].shape[1]} and {arrays[1].shape[1]}: score both with the same members"
        )
    return arrays[0], arrays[1]


def _checked_names(names: Sequence[str] | None, low: Numbers, high: Numbers) -> tuple[str, ...]:
    columns = low.shape[1]
    called = tuple(f"member {i}" for i in range(columns)) if names is None else tuple(str(name) for name in names)
    if len(called) != columns:
        raise DataError(f"names has to hold one name a member, got {len(called)} for {columns} members: align them")
    for what, array in (("reference", low), ("test", high)):
        if not (np.isfinite(array.min()) and np.isfinite(array.max())):
            bad = (~np.isfinite(array)).sum(axis=0)
            column = int(np.argmax(bad > 0))
            raise DataError(
                f"scores have to be finite, {what} has {bad[column]} that are not in column {column} "
                f"({called[column]}): recompute that member or leave it out"
            )
    return called


def _checked_weights(weights: ArrayLike | None, columns: int) -> Floats | None:
    if weights is None:
        return None
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (columns,):
        raise DataError(f"weights have to hold one number a member, got shape {given.shape} for {columns} members")
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise DataError(f"weights have to be at least 0 and not all 0, got {given.tolist()[:20]}: correct them")
    return given
