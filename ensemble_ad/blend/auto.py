"""What `auto` does: a prior, moved by what the test images say as far as that can be believed; without labels.

1. `prior`: the mean of the members' stretched ranks, -log(1 - rank), weighted by what is known of them before any test
   image is seen (`prior.prior_weights`): how well they see pseudo-anomalies, or else how much they differ. What was
   trained on the test images has no part in it.
2. `linear`: non-negative logistic regression of test against reference, on two features a member: the Gaussianised
   pooled rank and its stretched tail. It finds which members matter, and cannot use a member upside down.
3. `forest`: extremely randomised trees of test against reference on the pooled ranks. It sees what members say
   together (one is high while another is not), and may use a member upside down. That pays where anomalies are common
   and is noise elsewhere.

How much the learnt parts count is the share of anomalies that is surely there by the linear one, against a tenth: the
larger of two lower bounds (`_at_least`), each less a standard error, or less two where pseudo-anomalies are scored,
since more is known then that would be given up. Both are read off scores of images that the regression was fitted
without, since the noise of a few dozen members tells a few hundred images of one kind from another; and the members
that were not trained on the test images, of these those that pseudo-anomalies judge, have to say so alone (`_sure`).
The learnt parts do not count where the prior's scores speak of far fewer anomalies: then what was learnt is not what
looks anomalous, but how the test's normal images differ from the reference. The prior counts for the rest.

Members whose scores speak of more anomalies than are plausible (`statistics.implausible`) are left out: they see how
the test's normal images differ from the reference. Where what is learnt from the others speaks of too many as well, or
is less than half believed, since it speaks of far more than the prior, the member that does so most by itself is left
out too, and so on: one that was trained on the test images may tell these from all others. Where what is learnt still
speaks of too many, the prior stands alone.

The portions were chosen by the mean over 25 tasks, as they are and with anomalies thinned; what other tasks choose
leave-one-task-out is in benchmarks/score_matrices.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.distinct import Distinct
from ensemble_ad.blend.growth import grow
from ensemble_ad.blend.normalise import normalise, renamed, reshaped
from ensemble_ad.blend.optimise import nonnegative_logistic
from ensemble_ad.blend.pooled import PooledRanks
from ensemble_ad.blend.prior import prior_weights, without
from ensemble_ad.blend.rule import Part, Rule
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.blend.weight import FIT_ROWS, Pool, thinned
from ensemble_ad.statistics import MOST_ANOMALIES, Estimate, estimate_share, implausible, separation, separation_many
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64
from ensemble_ad.statistics.implied import LEAST_AUC
from ensemble_ad.statistics.share import implausible_ranks

FEATURES = ("gauss", "pooled-tail")
FOREST_SHARE = 0.5  # portion of the forest where there is enough to learn from
FULL_SHARE_AT = 0.1  # share of anomalies that is surely there, from which the learnt parts count fully
_CHARGED, _CHARGED_WHERE_SEEN = 1.0, 2.0  # standard errors that a bound is less; the latter with pseudo-anomalies
AGREES, DISAGREES = 2.5, 3.5  # standard errors by which the linear part's share exceeds the prior's: believed, or not
_BOUNDS_DIFFER = 0.05  # by so much two lower bounds on a share differ beside their noise
_BELIEVED = 0.5  # below that, members are left out that alone exceed the prior's share by more than AGREES
_MOST_DISOWNED = 5
MIN_ROWS = 8  # on either side; from fewer no weight can be learnt
_FOLDS = 5  # that the share of anomalies is cross-fitted by
_PRIOR = 20.0  # images that the ridge is worth, so that it fades as images come
_RIDGE_FLOOR = 0.003
_SCALE_ROWS = 2_000  # rows a side that the forest's centre and scale are computed on
_FIT_MEMBERS = 200  # members that the linear part is fitted on: those that separate best


def fit_auto(
    reference: Floats,
    test: Floats,
    *,
    anomaly_share: float | None = None,
    seed: int = 0,
    seen: SeenDefects | None = None,
    transductive: Bools | None = None,
) -> Rule:
    """Fit the three parts.

    Args:
        reference: (n, m) scores of the reference, finite, higher = more anomalous.
        test: (k, m) of the test images, at least one.
        anomaly_share: share of anomalies among these, where it is known.
        seed: seed of all random choices.
        seen: how well members see pseudo-anomalies, where that is known.
        transductive: (m,) True for members that were trained on the test images too; None is for none.
    """
    frozen, low, high = normalise("pooled-rank", reference, test)
    most = max(MOST_ANOMALIES, anomaly_share or 0.0)
    left_out = _too_many(low, high, most, seed)
    of_test = np.zeros_like(left_out) if transductive is None else transductive
    own_share = cache(lambda column: estimate_share(low[:, column], high[:, column]))
    for step in range(_MOST_DISOWNED + 1):
        members = Distinct.of(low, high, left_out)
        ranks = PooledRanks(frozen=frozen, reference=low, test=high, members=members, seed=seed)
        prior = _prior(ranks, seen, of_test)
        enough = min(len(low), len(high)) >= MIN_ROWS and len(members.columns) > 1
        linear = _linear(ranks, most) if enough else None
        belief = 1.0
        if linear is not None and anomaly_share is None:
            belief = 0.0 if linear.differs else _agreement(linear.share, prior.share)
        disowned = None if belief >= _BELIEVED or step == _MOST_DISOWNED else _disowned(members, own_share, prior.share)
        if disowned is None:
            break
        left_out = left_out | disowned
    differs = linear is not None and linear.differs
    learnt = 0.0
    if linear is not None and not differs:
        sure = _sure(linear, ranks, left_out, seen, of_test, most) if anomaly_share is None else anomaly_share
        learnt = belief * min(1.0, sure / FULL_SHARE_AT)
    portions = mixture(learnt)
    parts, weights, scores = [], np.zeros(low.shape[1]), np.zeros(len(test))
    if linear is not None and learnt > 0:
        parts = [replace(part, portion=portions["linear"]) for part in linear.parts]
        parts.append(replace(_forest(ranks), portion=portions["forest"]))
        weights = portions["linear"] * linear.weights + portions["forest"] * parts[-1].weights
        scores = np.sum([ranks.scored(part, high) for part in parts], axis=0)
    if portions["prior"] > 0:
        parts.append(replace(prior.part, portion=portions["prior"]))
        weights = weights + portions["prior"] * prior.part.weights
        scores = scores + portions["prior"] * prior.test
    return Rule(
        parts=tuple(parts),
        weights=weights / weights.sum(),
        test=scores,
        share=None if linear is None else linear.share,
        learnt=learnt,
        left_out=left_out,
        differs=differs,
        disagrees=belief < 1 and not differs,
    )


def mixture(learnt: float) -> dict[str, float]:
    """The portion of each part, by how much (0 to 1) there is to learn from."""
    return {"linear": learnt, "forest": FOREST_SHARE * learnt, "prior": 1 - learnt}


def _agreement(learnt: Estimate, prior: Estimate) -> float:
    """How far a learnt share of anomalies is believed, 0 to 1, where the prior's scores speak of another one."""
    return float(np.clip((DISAGREES - _excess(learnt, prior)) / (DISAGREES - AGREES), 0.0, 1.0))


def _excess(share: Estimate, prior: Estimate) -> float:
    """By how many standard errors a share exceeds the prior's.

    Both are lower bounds on one share, by scores that see other anomalies, so they differ by more than their noise.
    """
    error = np.hypot(share.standard_error, prior.standard_error)
    return float((share.value - prior.value) / np.hypot(error, _BOUNDS_DIFFER))


def _disowned(members: Distinct, own_share: Callable[[int], Estimate], prior: Estimate) -> Bools | None:
    """(m,) True for the member whose own share of anomalies exceeds the prior's most, and for those that repeat it.

    None where no member's does by more than `AGREES`, or where there are but two.
    """
    if len(members.columns) <= 2:
        return None
    excess = [_excess(own_share(column), prior) for column in members.columns]
    most = int(np.argmax(excess))
    return np.asarray(members.spreading[:, most] > 0) if excess[most] > AGREES else None


def _too_many(reference: Floats, test: Floats, most: float, seed: int) -> Bools:
    """(m,) True for members that speak of more anomalies than `most`; for none where that would be all."""
    pool = thinned(Pool(reference=reference, test=test, seed=seed), FIT_ROWS)
    found = implausible_ranks(pool.reference, pool.test, most)
    return found & ~found.all()


@dataclass(frozen=True, kw_only=True)
class _Linear:
    """What the linear regression found.

    Attributes:
        parts: a part a feature that it uses.
        weights: (m,) what each member counts in all of them, sum 1.
        share: the share of anomalies that it sees among images that it was not fitted on.
        separation: of test from reference, by the scores of the same images.
        differs: whether that share is larger than is plausible.
    """

    parts: list[Part]
    weights: Floats64
    share: Estimate
    separation: Estimate
    differs: bool


def _linear(ranks: PooledRanks, most: float) -> _Linear:
    """The learnt linear part, which is not to be believed where it sees more anomalies than `most`."""
    rows, n, some = _linear_rows(ranks)
    features = np.empty((len(rows), len(FEATURES) * len(some)))
    for index, name in enumerate(FEATURES):
        features[:, index * len(some) : (index + 1) * len(some)] = reshaped(name, rows, ranks.rows)
    del rows
    centre, spread = features.mean(axis=0), features.std(axis=0)
    features -= centre
    features /= spread
    found = _slopes(features[:n], features[n:])
    whole = np.zeros(len(ranks.members.columns))
    whole[some] = found.reshape(len(FEATURES), -1).sum(axis=0)
    apart = _out_of_fold(features, n, ranks.seed)
    return _Linear(
        parts=_linear_parts(ranks, some, found / spread, centre, float((features @ found).std()) or 1.0),
        weights=ranks.members.spread(whole),
        share=estimate_share(apart[:n], apart[n:]),
        separation=separation(apart[:n], apart[n:]),
        differs=implausible(apart[:n], apart[n:], most),
    )


def _sure(
    linear: _Linear, ranks: PooledRanks, left_out: Bools, seen: SeenDefects | None, of_test: Bools, most: float
) -> float:
    """The share of anomalies that is surely there by the linear part, 0 or more.

    It has to be there without members that were trained on the test images, which may tell some of these apart,
    whatever they show; and where pseudo-anomalies judge members, by these alone: of others nothing is known beforehand.
    """
    judged = np.zeros_like(left_out) if seen is None else seen.known
    is_judged = bool(judged.any())
    vouching = (judged if is_judged else ~left_out) & ~of_test
    sure = _at_least(linear, is_judged=is_judged)
    if sure > 0 and (vouching & ~left_out).any() and not (vouching | left_out).all():
        alone = Distinct.of(ranks.reference, ranks.test, left_out | ~vouching)
        sure = min(sure, _at_least(_linear(replace(ranks, members=alone), most), is_judged=is_judged))
    return sure


def _at_least(linear: _Linear, *, is_judged: bool) -> float:
    """The share of anomalies that is surely there, 0 or more, by the larger of two bounds.

    One is the share that the lowest scores speak of. The other is twice what separation exceeds chance by, since it
    exceeds it by the share times what the anomalies' AUC does, which is a half at most. Both are less a standard error.
    Where pseudo-anomalies judge members more is known that would be given up, so both are less two, and the share is no
    larger than separation surely leaves room for where the anomalies' AUC is `LEAST_AUC` or more.
    """
    charge = _CHARGED_WHERE_SEEN if is_judged else _CHARGED
    by_share, above = (each.value - charge * each.standard_error for each in (linear.share, linear.separation))
    above -= 0.5
    if is_judged:
        by_share = min(by_share, above / (LEAST_AUC - 0.5))
    return max(0.0, by_share, 2 * above)


def _slopes(reference: Floats64, test: Floats64) -> Floats64:
    """What each feature counts, (d,): as learnt from (n, d) and (k, d), or the same where nothing is learnt."""
    n, k = len(reference), len(test)
    found = nonnegative_logistic(reference, test, _PRIOR * (n + k) / (4 * n * k) + _RIDGE_FLOOR)
    return found if found.sum() > 0 else np.ones(len(found))


def _out_of_fold(features: Floats64, n: int, seed: int) -> Floats64:
    """Scores (n + k,) of each row by the slopes that were fitted without it and the rest of its fold.

    Args:
        features: (n + k, d), first n of the reference, then k of the test.
        n: how many are of the reference.
        seed: what draws the folds.
    """
    rng = np.random.default_rng(seed)
    fold_of = np.concatenate([rng.permutation(rows) % _FOLDS for rows in (n, len(features) - n)])
    scores = np.empty(len(features))
    for fold in range(_FOLDS):
        outside = fold_of != fold
        combined = features @ _slopes(features[:n][outside[:n]], features[n:][outside[n:]])
        scores[~outside] = (combined[~outside] - combined.mean()) / (combined.std() or 1.0)
    return scores


def _linear_rows(ranks: PooledRanks) -> tuple[Floats64, int, NDArray[np.intp]]:
    """The ranks that the linear part is fitted on.

    Returns:
        float64 (n + k, d), first n of the reference, then k of the test; n; which d of the distinct members they are.
    """
    # Rows before columns, and single columns last: what is picked of the whole table would be a copy of it.
    every = thinned(Pool(reference=ranks.reference, test=ranks.test, seed=ranks.seed), FIT_ROWS)
    low, high = every.reference[:, ranks.members.columns], every.test[:, ranks.members.columns]
    some = np.arange(low.shape[1])
    if len(some) > _FIT_MEMBERS:
        # The fit is quadratic in the members, so those that separate best are kept; the others would get no weight.
        some = np.sort(np.argsort(-separation_many(low, high).value, kind="stable")[:_FIT_MEMBERS])
    return np.concatenate([low[:, some], high[:, some]]).astype(np.float64), len(low), some


def _linear_parts(
    ranks: PooledRanks, some: NDArray[np.intp], slope: Floats64, centre: Floats64, scale: float
) -> list[Part]:
    """A part a feature that has a slope above zero.

    Args:
        ranks: what the regression was fitted on.
        some: (d,) which of the distinct members it saw.
        slope: (features * d,) what a feature of a member counts.
        centre: (features * d,) mean of each feature.
        scale: standard deviation of the sum of all, by which each part is divided.
    """
    parts = []
    slopes, offsets = slope.reshape(len(FEATURES), -1), (slope * centre).reshape(len(FEATURES), -1)
    for name, slope_of, offset in zip(FEATURES, slopes, offsets, strict=True):
        total = float(slope_of.sum())
        if total > 0:
            raw = np.zeros(len(ranks.members.columns))
            raw[some] = slope_of
            parts.append(
                Part(
                    name="linear",
                    normaliser=renamed(ranks.frozen, name),
                    combiner="weighted-mean",
                    weights=ranks.members.spread(raw),
                    centre=float(offset.sum()) / total,
                    scale=scale / total,
                )
            )
    return parts


def _forest(ranks: PooledRanks) -> Part:
    """The forest on the pooled ranks; a member that others repeat is tried less often."""
    chance = np.zeros(ranks.reference.shape[1])
    chance[ranks.members.columns] = ranks.members.votes
    forest = grow(ranks.reference, ranks.test, column_chance=chance, grid=2 * ranks.rows, seed=ranks.seed)
    pool = thinned(Pool(reference=ranks.reference, test=ranks.test, seed=ranks.seed), _SCALE_ROWS)
    scored = np.concatenate([forest.score(side, grid=2 * ranks.rows) for side in (pool.reference, pool.test)])
    return Part(
        name="forest",
        normaliser=ranks.frozen,
        combiner="forest",
        weights=ranks.members.spread(forest.importance[ranks.members.columns]),
        centre=float(scored.mean()),
        scale=float(scored.std()) or 1.0,
        forest=forest,
    )


@dataclass(frozen=True, kw_only=True)
class _Prior:
    """What was known before.

    Attributes:
        part: the part.
        test: (k,) its scores of the test images.
        share: the share of anomalies among these that the same mean of p values among the reference speaks of.
    """

    part: Part
    test: Floats64
    share: Estimate


def _prior(ranks: PooledRanks, seen: SeenDefects | None, of_test: Bools) -> _Prior:
    """The prior, without members that are left out or surely upside down.

    What was trained on the test images has no part in it unless all was: what that knows is learnt, and is noise where
    anomalies are few. It has its say in the share: that is held against the learnt parts' share, where it has one too.

    Its ranks are among the reference and the test images, since p values among the reference alone are all the same
    beyond it. But where anomalies are many, these tell better how many.
    """
    known = prior_weights(seen, without(ranks.upside_down(), ranks.members.every_vote))
    weights = without(of_test, known)
    part = Part(
        name="prior", normaliser=renamed(ranks.frozen, "pooled-tail"), combiner="weighted-mean", weights=weights
    )
    low, high = ranks.scored(part, ranks.reference), ranks.scored(part, ranks.test)
    both = np.concatenate([low, high])
    centre, scale = float(both.mean()), float(both.std()) or 1.0
    return _Prior(
        part=replace(part, centre=centre, scale=scale),
        test=(high - centre) / scale,
        share=estimate_share(*ranks.tails(known)),
    )
