"""What `auto` does: a cautious sum of three rules, each for another kind of task, chosen without labels.

1. `linear`: non-negative logistic regression of test against reference, on two features a member: the Gaussianised
   pooled rank and its stretched tail. Finds which members matter, and cannot use a member upside down.
2. `forest`: extremely randomised trees of test against reference on the pooled ranks. It sees what members say
   together (one high while another is not), with no sign constraint, which pays where anomalies are common and is
   noise where they are rare: it enters in proportion to the estimated share of anomalies.
3. `flat`: the mean of the members' stretched ranks, each counted less the more others repeat it. It enters where
   anomalies are rare or nothing can be learnt: the fallback.

Members whose scores speak of more anomalies than are plausible (`statistics.implausible`) are left out: they see how
the test's normal images differ from the reference. Where what is learnt from the others speaks of too many all the
same, nothing is learnt and the flat mean stands alone.

The shares were chosen leave-one-task-out on 25 tasks, see benchmarks/score_matrices.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.forest import grow
from ensemble_ad.blend.guard import surely_inverted
from ensemble_ad.blend.normalise import FrozenNormaliser, normalise, renamed, reshaped
from ensemble_ad.blend.optimise import nonnegative_logistic
from ensemble_ad.blend.result import Part
from ensemble_ad.blend.weight import Pool, thinned
from ensemble_ad.statistics import MOST_ANOMALIES, Estimate, estimate_share, implausible, separation_many

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]

FEATURES = ("gauss", "pooled-tail")
FOREST_SHARE = 0.5
LINEAR_LEAST = 0.25  # of the linear rule even where nothing is sure: one excellent member must not drown
FULL_SHARE_AT = 0.05  # share of anomalies, sure by two standard errors, from which the learnt rules count fully
MIN_ROWS = 8  # on either side; below it no weight can be learnt
REPEAT_POWER = 8  # members correlated 0.99 share a vote to 92%, members correlated 0.7 to 6%
_PRIOR = 20.0  # the ridge is so many images' worth of doubt, so it fades as images come
_RIDGE_FLOOR = 0.003
_FIT_ROWS = 5_000
_FIT_MEMBERS = 200


@dataclass(frozen=True, kw_only=True)
class AutoRule:
    """What `fit_auto` found.

    Attributes:
        parts: Frozen rules, to be added up.
        weights: (m,) what each member counts in all, non-negative, sum 1.
        test: (k,) scores of the test images.
        share: Estimated share of anomalies, or None where too few images allow none.
        learnt: How far the learnt rules count, 0 to 1 (1: no flat mean).
        left_out: (m,) True for members that speak of more anomalies than are plausible.
        differs: Whether the learnt linear rule did too, so that only the flat mean is left.
    """

    parts: tuple[Part, ...]
    weights: Floats
    test: Floats
    share: Estimate | None
    learnt: float
    left_out: NDArray[np.bool_]
    differs: bool


def fit_auto(reference: Numbers, test: Numbers, *, anomaly_share: float | None = None, seed: int = 0) -> AutoRule:
    """Fit the three rules on reference (n, m) and test (k, m); scores finite, higher = more anomalous."""
    ranks, low, high = normalise("pooled-rank", reference, test)
    most = max(MOST_ANOMALIES, anomaly_share or 0.0)
    left_out = _too_many(low, high, most, seed)
    members = _Members.of(low, high, left_out)
    flat = _flat(members, ranks, low, high)
    share, learnt, parts, weights, differs = None, 0.0, [flat], flat.weights, False
    if min(len(low), len(high)) >= MIN_ROWS and len(members.distinct) > 1:
        linear, learnt_weights, share, differs = _linear(members, ranks, low, high, most, seed)
    if share is not None and not differs:
        sure = share.value - share.standard_error if anomaly_share is None else anomaly_share
        learnt = min(1.0, max(0.0, sure / FULL_SHARE_AT))
        shares = mixture(learnt)
        parts = [replace(part, share=shares["linear"]) for part in linear]
        weights = shares["linear"] * learnt_weights
        if shares["forest"] > 0:
            parts.append(replace(_forest(members, ranks, low, high, seed), share=shares["forest"]))
            weights = weights + shares["forest"] * parts[-1].weights
        if shares["flat"] > 0:
            parts.append(replace(flat, share=shares["flat"]))
            weights = weights + shares["flat"] * flat.weights
    return AutoRule(
        parts=tuple(parts),
        weights=weights / weights.sum(),
        test=np.sum([_scored(part, high) for part in parts], axis=0),
        share=share,
        learnt=learnt,
        left_out=left_out,
        differs=differs,
    )


def _too_many(low: Numbers, high: Numbers, most: float, seed: int) -> NDArray[np.bool_]:
    """(m,) True for members that speak of more anomalies than `most`; for none where that would be all."""
    pool = thinned(Pool(reference=low, test=high, seed=seed), _FIT_ROWS)
    found = np.array([implausible(pool.reference[:, j], pool.test[:, j], most) for j in range(low.shape[1])])
    return found & ~found.all()


def mixture(learnt: float) -> dict[str, float]:
    """What each rule counts, by how far (0 to 1) the anomalies are surely enough to learn from."""
    return {
        "linear": LINEAR_LEAST + (1 - LINEAR_LEAST) * learnt,
        "forest": FOREST_SHARE * learnt,
        "flat": 1 - learnt,
    }


def _scored(part: Part, ranks: Numbers) -> Floats:
    """A part's score of rows whose pooled ranks are known: nothing is looked up twice."""
    return part.of_normalised(ranks, lambda column: reshaped(part.normaliser.name, column.astype(np.float64)))


@dataclass(frozen=True, kw_only=True)
class _Members:
    """Which members say something of their own, of those that are not left out.

    Attributes:
        distinct: One column of each group of members that rank all images alike; constant ones are in no group,
            unless all are.
        share: (m, len(distinct)) spreads a weight of a group evenly over its members.
        votes: (len(distinct),) sum 1: a member's vote is 1 over how many others repeat it, near-copies nearly fully.
    """

    distinct: list[int]
    share: Floats
    votes: Floats

    @classmethod
    def of(cls, low: Numbers, high: Numbers, left_out: NDArray[np.bool_]) -> _Members:
        groups: dict[bytes, list[int]] = {}
        for column in np.flatnonzero(~left_out).tolist():
            if (low[:, column] != high[0, column]).any() or (high[:, column] != high[0, column]).any():
                digest = sha256(np.ascontiguousarray(low[:, column]).tobytes())
                digest.update(np.ascontiguousarray(high[:, column]).tobytes())
                groups.setdefault(digest.digest(), []).append(column)
        together = list(groups.values()) or [np.flatnonzero(~left_out).tolist()]
        share = np.zeros((low.shape[1], len(together)))
        for index, group in enumerate(together):
            share[group, index] = 1 / len(group)
        distinct = [group[0] for group in together]
        return cls(distinct=distinct, share=share, votes=_votes(low, high, distinct))

    def spread(self, raw: Floats) -> Floats:
        """Raw weights of the distinct members as weights (m,) of all, sum 1."""
        return np.asarray(self.share @ (raw / raw.sum()), dtype=np.float64)


def _votes(low: Numbers, high: Numbers, distinct: list[int]) -> Floats:
    pool = thinned(Pool(reference=low, test=high), 2_000)
    rows = np.concatenate([pool.reference[:, distinct], pool.test[:, distinct]]).astype(np.float64)
    rows -= rows.mean(axis=0)
    size = np.sqrt((rows**2).sum(axis=0))
    alike = np.maximum(rows.T @ rows / np.maximum(np.outer(size, size), 1e-300), 0.0)
    np.fill_diagonal(alike, 1.0)
    votes: Floats = 1 / (alike**REPEAT_POWER).sum(axis=0)
    return np.asarray(votes / votes.sum(), dtype=np.float64)


def _linear(
    members: _Members, ranks: FrozenNormaliser, low: Numbers, high: Numbers, most: float, seed: int
) -> tuple[list[Part], Floats, Estimate, bool]:
    """The learnt linear rule.

    Returns:
        A part a feature; its weights (m,); the share of anomalies that it sees; whether that is surely above `most`.
    """
    # Rows before columns, and single columns last: what is picked of the whole table would be a copy of it.
    every = thinned(Pool(reference=low, test=high, seed=seed), _FIT_ROWS)
    pool = Pool(reference=every.reference[:, members.distinct], test=every.test[:, members.distinct])
    count = len(members.distinct)
    some = np.arange(count)
    if count > _FIT_MEMBERS:
        # Quadratic in the members: keep those that separate best, the others would get no weight anyway.
        some = np.sort(np.argsort(-separation_many(pool.reference, pool.test).value, kind="stable")[:_FIT_MEMBERS])
    n, k = len(pool.reference), len(pool.test)
    rows = np.concatenate([pool.reference[:, some], pool.test[:, some]]).astype(np.float64)
    del every, pool
    features = np.empty((n + k, len(FEATURES) * len(some)))
    for index, name in enumerate(FEATURES):
        features[:, index * len(some) : (index + 1) * len(some)] = reshaped(name, rows)
    del rows
    centre, spread = features.mean(axis=0), features.std(axis=0)
    features -= centre
    features /= spread
    ridge = _PRIOR * (n + k) / (4 * n * k) + _RIDGE_FLOOR
    found = nonnegative_logistic(features[:n], features[n:], ridge)
    if not found.sum() > 0:
        found = np.ones(len(found))
    combined = features @ found
    scale = float(combined.std()) or 1.0
    slopes = (found / spread).reshape(len(FEATURES), -1)
    offsets = (found / spread * centre).reshape(len(FEATURES), -1)
    parts = []
    for name, slope, offset in zip(FEATURES, slopes, offsets, strict=True):
        total = float(slope.sum())
        if total > 0:
            raw = np.zeros(count)
            raw[some] = slope
            parts.append(
                Part(
                    name="linear",
                    normaliser=renamed(ranks, name),
                    combiner="weighted-mean",
                    weights=members.spread(raw),
                    centre=float(offset.sum()) / total,
                    scale=scale / total,
                    share=1.0,
                )
            )
    whole = np.zeros(count)
    whole[some] = found.reshape(len(FEATURES), -1).sum(axis=0)
    share = estimate_share(combined[:n], combined[n:])
    return parts, members.spread(whole), share, implausible(combined[:n], combined[n:], most)


def _forest(members: _Members, ranks: FrozenNormaliser, low: Numbers, high: Numbers, seed: int) -> Part:
    """The forest on the pooled ranks; what others repeat is tried less often."""
    chance = np.zeros(low.shape[1])
    chance[members.distinct] = members.votes
    forest = grow(low, high, column_chance=chance, seed=seed)
    pool = thinned(Pool(reference=low, test=high, seed=seed), 2_000)
    scored = np.concatenate([forest.score(pool.reference), forest.score(pool.test)])
    return Part(
        name="forest",
        normaliser=ranks,
        combiner="forest",
        weights=members.spread(forest.importance[members.distinct]),
        centre=float(scored.mean()),
        scale=float(scored.std()) or 1.0,
        forest=forest,
    )


def _flat(members: _Members, ranks: FrozenNormaliser, low: Numbers, high: Numbers) -> Part:
    """Mean of the members' stretched ranks by their votes, without those that are surely upside down."""
    inverted = surely_inverted(separation_many(low, high))[members.distinct]
    raw = np.where(inverted, 0.0, members.votes)
    raw = raw if raw.sum() > 0 else members.votes
    part = Part(
        name="flat",
        normaliser=renamed(ranks, "pooled-tail"),
        combiner="weighted-mean",
        weights=members.spread(raw),
    )
    scored = np.concatenate([_scored(part, low), _scored(part, high)])
    return replace(part, centre=float(scored.mean()), scale=float(scored.std()) or 1.0)
