"""`blend_scores`: check the input, fit the method, judge it out of fold, and say what was done."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.blend.auto import MIN_ROWS, fit_auto
from ensemble_ad.blend.distinct import Distinct
from ensemble_ad.blend.explain import explain
from ensemble_ad.blend.guard import Findings, guards
from ensemble_ad.blend.methods import AUTO, PRIOR
from ensemble_ad.blend.normalise import POOLED, normalise
from ensemble_ad.blend.prior import prior_weights, without
from ensemble_ad.blend.request import Request, check_request
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.rule import Part, Rule, total_score
from ensemble_ad.blend.share import crossfit_share
from ensemble_ad.blend.weight import UNLEARNT, WEIGHERS, Pool, varying
from ensemble_ad.errors import speaks_python
from ensemble_ad.statistics import Estimate, estimate_share, separation, separation_many
from ensemble_ad.statistics.arrays import Bools, Floats
from ensemble_ad.statistics.estimate import probability_estimate
from ensemble_ad.statistics.implied import Share

_MOST_AT_ONCE = 1 << 23  # scores
_JUDGED_ROWS = 5_000  # rows a side that the out-of-fold judgement uses at most


@speaks_python
def blend_scores(
    reference: ArrayLike,
    test: ArrayLike,
    method: str = AUTO,
    weights: ArrayLike | Mapping[str, float] | None = None,
    *,
    normaliser: str | None = None,
    names: Sequence[str] | None = None,
    anomaly_share: float | None = None,
    label: ArrayLike | None = None,
    seed: int = 0,
    pseudo: Mapping[str, ArrayLike] = MappingProxyType({}),
    transductive: ArrayLike | None = None,
) -> Blend:
    """Blend m members' anomaly scores into one score a test image, without labels.

    Args:
        reference: (n, m) scores of normal images that no member was trained on; higher = more anomalous.
        test: (k, m) scores of the unlabelled test images, the same members in the same order; columns of DataFrames go
            by their names. There may be none, shape (0, m): then `auto` is `prior`, and only methods that learn from
            none can be named.
        method: `auto` or a key of `METHODS`.
        weights: (m,) the members' weights for the method `given`, which they imply where the method is `auto`; those of
            a dict or of a Series with an index go by the members' names.
        normaliser: key of `NORMALISERS` instead of the method's own; not with `auto`.
        names: the members' names, for messages and the explanation; `member 0`, ... by default.
        anomaly_share: share of anomalies among the test images where it is known, in (0, 1).
        label: (k,) of 0 and 1, 1 = anomaly; for the method `labels` only.
        seed: seed of all random choices; the same seed gives the same blend.
        pseudo: by kind of pseudo-anomaly, (d, m) scores of normal images that were damaged on purpose; a column of NaN
            where a member has none. `prior` and `auto` judge members by them before they look at the test images.
        transductive: (m,) of 0 and 1, 1 = trained on the test images too; `prior` has no use for such a member, and
            with `auto` it counts by what is learnt from the test images alone, unless all are such.

    Returns:
        A Blend: scores, weights, the method, an explanation, the out-of-fold separation, a frozen state.

    Raises:
        DataError: for arrays that do not match, are empty, or are not finite (the message names the member).
        UsageError: for an unknown method or normaliser, a method that does not take the normaliser, and for weights or
            labels that are missing or out of place.

    >>> rng = np.random.default_rng(0)
    >>> reference, test = rng.normal(size=(200, 3)), rng.normal(size=(100, 3))
    >>> test[:30, 0] += 4  # the first member sees the 30 anomalies
    >>> blend = blend_scores(reference, test, names=["good", "blind", "deaf"])
    >>> blend.names[np.argmax(blend.weights)]
    'good'
    >>> int((np.argsort(blend.scores)[-20:] < 30).sum())  # number of anomalies among the 20 highest scores
    20
    """
    request = check_request(
        reference,
        test,
        method=method,
        weights=weights,
        normaliser=normaliser,
        names=names,
        anomaly_share=anomaly_share,
        label=label,
        seed=seed,
        pseudo=pseudo,
        transductive=transductive,
    )
    rule, share, out_of_fold = _fitted(request)
    findings = _findings(request, rule, out_of_fold)
    fired = guards(findings)
    return Blend(
        scores=rule.test,
        weights=rule.weights,
        method=rule.method,
        explanation=explain(request.asked, rule, findings, fired, share),
        normaliser=", ".join(dict.fromkeys(part.normaliser.name for part in rule.parts)),
        separation=findings.separation,
        names=request.names,
        guards=fired,
        share=share,
        parts=rule.parts,
    )


def _fitted(request: Request) -> tuple[Rule, Share | None, Estimate | None]:
    """The rule, the share of anomalies, and the separation out of fold: at once, unless that would take much memory."""
    fit = partial(_fit, request, request.reference, request.test, request.label)
    share = partial(crossfit_share, request.reference, request.test, request.anomaly_share)
    judge = partial(_out_of_fold, request)
    if request.reference.size + request.test.size > _MOST_AT_ONCE:
        return fit(), share(), judge()
    with ThreadPoolExecutor(2) as beside:  # nearly all is numpy's work, which does not keep other threads waiting
        shared, judged = beside.submit(share), beside.submit(judge)
        return fit(), shared.result(), judged.result()


def _fit(request: Request, reference: Floats, test: Floats, label: Bools | None) -> Rule:
    """Fit the method that was asked for, on all images of the request or on some."""
    method = request.method
    if method is None:
        return fit_auto(
            reference,
            test,
            anomaly_share=request.anomaly_share,
            seed=request.seed,
            seen=request.seen,
            transductive=request.transductive,
        )
    frozen, low, high = normalise(method.normaliser, reference, test)
    known = None
    if method.weigher == PRIOR:
        votes = Distinct.of(low, high[:0], np.zeros(low.shape[1], dtype=bool)).every_vote
        known = without(request.transductive, prior_weights(request.seen, votes))
    pool = Pool(reference=low, test=high, given=request.weights, label=label, seed=request.seed, prior=known)
    weights = WEIGHERS[method.weigher](pool)
    part = Part(name=request.asked, normaliser=frozen, combiner=method.combiner, weights=weights)
    scores, enough = part.of_normalised(high), min(len(low), len(high)) >= MIN_ROWS
    share = estimate_share(part.of_normalised(low), scores) if enough else None
    return Rule(parts=(part,), weights=weights, test=scores, share=share)


def _findings(request: Request, rule: Rule, out_of_fold: Estimate | None) -> Findings:
    judged, is_out_of_fold = _judged(request, rule, out_of_fold) if len(request.test) else (None, True)
    left_out = [False] * len(request.names) if rule.left_out is None else rule.left_out
    return Findings(
        reference_rows=len(request.reference),
        names=request.names,
        member=separation_many(request.reference, request.test) if len(request.test) else None,
        varies=varying(Pool(reference=request.reference, test=request.test)),
        separation=judged,
        out_of_fold=is_out_of_fold,
        share=rule.share,
        given_share=request.anomaly_share,
        left_out=tuple(name for name, out in zip(request.names, left_out, strict=True) if out),
        differs=rule.differs,
        disagrees=rule.disagrees,
        pseudo_kinds=tuple(request.pseudo),
    )


def _judged(request: Request, rule: Rule, out_of_fold: Estimate | None) -> tuple[Estimate, bool]:
    """The blend's separation, and whether it is out of fold: by rules fitted without the images that they scored.

    The rule's own separation stands in where there are too few images. It counts as out of fold where nothing was
    fitted to the difference of the two sides, so that there is nothing to be optimistic about.
    """
    if out_of_fold is not None:
        return out_of_fold, True
    return separation(total_score(rule.parts, request.reference), rule.test), _is_unfitted(request)


def _is_unfitted(request: Request) -> bool:
    """Whether a rule is the same whichever images are left out, but for noise."""
    method = request.method
    unlearnt = method is not None and method.weigher in UNLEARNT and method.normaliser in (*POOLED, "rank")
    return unlearnt or len(request.names) == 1


def _out_of_fold(request: Request) -> Estimate | None:
    """The mean separation over two folds (five where there are few images); None where there are too few.

    Also None where nothing is fitted to the difference of the two sides. Test is compared with reference within each
    fold, and the folds' values are averaged, since the scores of two rules are not on one scale.
    """
    if _is_unfitted(request):
        return None
    rng = np.random.default_rng(request.seed)
    rows = [rng.permutation(len(side))[:_JUDGED_ROWS] for side in (request.reference, request.test)]
    smaller = min(map(len, rows))
    folds = 2 if smaller >= 200 else 5
    if smaller < 2 * folds:
        return None
    values, variances = [], []
    for fold in range(folds):
        (low, low_out), (high, high_out) = (_without_fold(some, fold, folds) for some in rows)
        label = None if request.label is None else request.label[high]
        if label is not None and (label.all() or not label.any()):
            return None
        parts = _fit(request, request.reference[low], request.test[high], label).parts
        found = separation(total_score(parts, request.reference[low_out]), total_score(parts, request.test[high_out]))
        values.append(found.value)
        variances.append(found.standard_error**2)
    variance = float(np.sum(variances)) / folds**2
    return probability_estimate(float(np.mean(values)), variance, smaller, 0.95, f"DeLong, {folds} folds")


def _without_fold(rows: NDArray[np.int64], fold: int, folds: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows outside of one fold, and those in it."""
    inside = np.arange(len(rows)) % folds == fold
    return rows[~inside], rows[inside]
