"""What `auto` does: a cautious sum of three parts, each for another kind of task, chosen without labels.

1. `linear`: non-negative logistic regression of test against reference, on two features a member: the Gaussianised
   pooled rank and its stretched tail. It finds which members matter, and cannot use a member upside down.
2. `forest`: extremely randomised trees of test against reference on the pooled ranks. It sees what members say
   together (one is high while another is not), and may use a member upside down. That pays where anomalies are common
   and is noise where they are rare, so the forest counts in proportion to the estimated share of anomalies.
3. `flat`: the mean of the members' stretched ranks, where each counts the less the more others repeat it. It is the
   fallback, and counts where anomalies are rare or nothing can be learnt.

Members whose scores speak of more anomalies than are plausible (`statistics.implausible`) are left out: they see how
the test's normal images differ from the reference. Where what is learnt from the others speaks of too many as well,
the flat mean stands alone.

The portions were chosen leave-one-task-out on 25 tasks, see benchmarks/score_matrices.md.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ensemble_ad.blend.distinct import Distinct
from ensemble_ad.blend.forest import grow
from ensemble_ad.blend.guard import surely_inverted
from ensemble_ad.blend.normalise import FrozenNormaliser, normalise, renamed, reshaped
from ensemble_ad.blend.optimise import nonnegative_logistic
from ensemble_ad.blend.rule import Part, Rule
from ensemble_ad.blend.weight import FIT_ROWS, Pool, thinned
from ensemble_ad.statistics import MOST_ANOMALIES, Estimate, estimate_share, implausible, separation_many
from ensemble_ad.statistics.arrays import Bools, Floats, Floats64

FEATURES = ("gauss", "pooled-tail")
FOREST_SHARE = 0.5  # portion of the forest where there is enough to learn from
LINEAR_LEAST = 0.25  # portion of the linear part even where nothing is sure: one excellent member must not drown
FULL_SHARE_AT = 0.05  # share of anomalies, sure by two standard errors, from which the learnt parts count fully
MIN_ROWS = 8  # on either side; from fewer no weight can be learnt
_PRIOR = 20.0  # images that the ridge is worth, so that it fades as images come
_RIDGE_FLOOR = 0.003
_SCALE_ROWS = 2_000  # rows a side that the forest's centre and scale are computed on
_FIT_MEMBERS = 200  # members that the linear part is fitted on: those that separate best


def fit_auto(reference: Floats, test: Floats, *, anomaly_share: float | None = None, seed: int = 0) -> Rule:
    """Fit the three parts on reference (n, m) and test (k, m); scores finite, higher = more anomalous."""
    frozen, low, high = normalise("pooled-rank", reference, test)
    most = max(MOST_ANOMALIES, anomaly_share or 0.0)
    left_out = _too_many(low, high, most, seed)
    ranks = _Ranks(frozen=frozen, reference=low, test=high, members=Distinct.of(low, high, left_out), seed=seed)
    flat = _flat(ranks)
    linear = _linear(ranks, most) if min(len(low), len(high)) >= MIN_ROWS and len(ranks.members.columns) > 1 else None
    learnt, parts, weights = 0.0, [flat], flat.weights
    if linear is not None and not linear.differs:
        sure = linear.share.value - linear.share.standard_error if anomaly_share is None else anomaly_share
        learnt = min(1.0, max(0.0, sure / FULL_SHARE_AT))
        portions = mixture(learnt)
        parts = [replace(part, portion=portions["linear"]) for part in linear.parts]
        weights = portions["linear"] * linear.weights
        for part in [_forest(ranks), flat] if portions["forest"] > 0 else [flat]:
            if portions[part.name] > 0:
                parts.append(replace(part, portion=portions[part.name]))
                weights = weights + portions[part.name] * part.weights
    return Rule(
        parts=tuple(parts),
        weights=weights / weights.sum(),
        test=np.sum([_scored(part, high) for part in parts], axis=0),
        share=None if linear is None else linear.share,
        learnt=learnt,
        left_out=left_out,
        differs=linear is not None and linear.differs,
    )


def mixture(learnt: float) -> dict[str, float]:
    """The portion of each part, by how much (0 to 1) there is to learn from."""
    return {
        "linear": LINEAR_LEAST + (1 - LINEAR_LEAST) * learnt,
        "forest": FOREST_SHARE * learnt,
        "flat": 1 - learnt,
    }


@dataclass(frozen=True, kw_only=True)
class _Ranks:
    """What the three parts are fitted on.

    Attributes:
        frozen: the normaliser that ranks reference and test together.
        reference, test: (n, m) and (k, m) pooled ranks.
        members: the members to use.
        seed: seed of all random choices.
    """

    frozen: FrozenNormaliser
    reference: Floats
    test: Floats
    members: Distinct
    seed: int


def _too_many(reference: Floats, test: Floats, most: float, seed: int) -> Bools:
    """(m,) True for members that speak of more anomalies than `most`; for none where that would be all."""
    pool = thinned(Pool(reference=reference, test=test, seed=seed), FIT_ROWS)
    columns = range(reference.shape[1])
    found = np.array([implausible(pool.reference[:, j], pool.test[:, j], most) for j in columns])
    return found & ~found.all()


def _scored(part: Part, ranks: Floats) -> Floats64:
    """A part's score of rows whose pooled ranks are known: nothing is looked up twice."""
    return part.of_normalised(ranks, lambda column: reshaped(part.normaliser.name, column.astype(np.float64)))


@dataclass(frozen=True, kw_only=True)
class _Linear:
    """What the linear regression found.

    Attributes:
        parts: a part a feature that it uses.
        weights: (m,) what each member counts in all of them, sum 1.
        share: the share of anomalies that it sees.
        differs: whether that share is larger than is plausible.
    """

    parts: list[Part]
    weights: Floats64
    share: Estimate
    differs: bool


def _linear(ranks: _Ranks, most: float) -> _Linear:
    """The learnt linear part, which is not to be believed where it sees more anomalies than `most`."""
    rows, n, some = _linear_rows(ranks)
    k = len(rows) - n
    features = np.empty((n + k, len(FEATURES) * len(some)))
    for index, name in enumerate(FEATURES):
        features[:, index * len(some) : (index + 1) * len(some)] = reshaped(name, rows)
    del rows
    centre, spread = features.mean(axis=0), features.std(axis=0)
    features -= centre
    features /= spread
    found = nonnegative_logistic(features[:n], features[n:], _PRIOR * (n + k) / (4 * n * k) + _RIDGE_FLOOR)
    if not found.sum() > 0:
        found = np.ones(len(found))
    combined = features @ found
    whole = np.zeros(len(ranks.members.columns))
    whole[some] = found.reshape(len(FEATURES), -1).sum(axis=0)
    return _Linear(
        parts=_linear_parts(ranks, some, found / spread, centre, float(combined.std()) or 1.0),
        weights=ranks.members.spread(whole),
        share=estimate_share(combined[:n], combined[n:]),
        differs=implausible(combined[:n], combined[n:], most),
    )


def _linear_rows(ranks: _Ranks) -> tuple[Floats64, int, NDArray[np.intp]]:
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


def _linear_parts(ranks: _Ranks, some: NDArray[np.intp], slope: Floats64, centre: Floats64, scale: float) -> list[Part]:
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


def _forest(ranks: _Ranks) -> Part:
    """The forest on the pooled ranks; a member that others repeat is tried less often."""
    chance = np.zeros(ranks.reference.shape[1])
    chance[ranks.members.columns] = ranks.members.votes
    forest = grow(ranks.reference, ranks.test, column_chance=chance, seed=ranks.seed)
    pool = thinned(Pool(reference=ranks.reference, test=ranks.test, seed=ranks.seed), _SCALE_ROWS)
    scored = np.concatenate([forest.score(pool.reference), forest.score(pool.test)])
    return Part(
        name="forest",
        normaliser=ranks.frozen,
        combiner="forest",
        weights=ranks.members.spread(forest.importance[ranks.members.columns]),
        centre=float(scored.mean()),
        scale=float(scored.std()) or 1.0,
        forest=forest,
    )


def _flat(ranks: _Ranks) -> Part:
    """Mean of the members' stretched ranks by their votes, without those that are surely upside down."""
    votes = ranks.members.votes
    inverted = surely_inverted(separation_many(ranks.reference, ranks.test))[ranks.members.columns]
    raw = np.where(inverted, 0.0, votes)
    part = Part(
        name="flat",
        normaliser=renamed(ranks.frozen, "pooled-tail"),
        combiner="weighted-mean",
        weights=ranks.members.spread(raw if raw.sum() > 0 else votes),
    )
    scored = np.concatenate([_scored(part, ranks.reference), _scored(part, ranks.test)])
    return replace(part, centre=float(scored.mean()), scale=float(scored.std()) or 1.0)
