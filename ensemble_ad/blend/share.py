"""The share of anomalies among the test images, without labels, and whether an AUC can be told by it."""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from statistics import NormalDist

import numpy as np

from ensemble_ad.blend.auto import fit_auto
from ensemble_ad.blend.guard import ENOUGH_REFERENCE
from ensemble_ad.blend.rule import total_score
from ensemble_ad.statistics import separation, separation_many
from ensemble_ad.statistics.arrays import Floats, Floats64
from ensemble_ad.statistics.implied import LEAST_AUC, Share
from ensemble_ad.statistics.mixture import Mixture, fit_mixture

# So many rows and columns make the estimate sharp, and still take less than a second.
_ROWS = 5_000
_COLUMNS = 50
_LEAST_ROWS = 40
_MOST_SHIFT = 0.4  # on the reference's normal scale; more is another kind of images
_MOST_MISFIT = 50.0  # chi-squared of 15 degrees of freedom is above 38 in one of a thousand data sets
_Sides = tuple[Floats, Floats]
"""Scores of the reference and of the test images, a column a kind of error."""


def crossfit_share(reference: Floats, test: Floats, given: float | None = None) -> Share | None:
    """The share of anomalies among the test images, and how far its normal images are shifted against the reference.

    A score that was fitted to tell test from reference sees a difference in the very images that it was fitted on,
    anomalies or not, and a single member or a flat mean finds fewer anomalies. So the rule `auto` is fitted on one half
    of both sides and scores the other half, and the other way round; to these scores a mixture is fitted, see
    `statistics.mixture`. The blend's method plays no part: blends of the same members tell the same share.

    Args:
        reference: (n, m) scores of held-out normal images, finite; higher = more anomalous.
        test: (k, m) scores of the test images.
        given: the share where the user knows it.

    Returns:
        None where there are fewer than 150 held-out or 40 test images, and no share was given. Of more than 5,000
        images a side, and of more than 50 columns, as many are used: images drawn with a fixed seed, columns by their
        separation within the fitted half.
    """
    if (given is None and len(reference) < ENOUGH_REFERENCE) or min(len(reference), len(test)) < _LEAST_ROWS:
        return None if given is None else Share(value=given)
    return share_of(scored_halves(reference, test), given)


def scored_halves(reference: Floats, test: Floats) -> list[tuple[Floats64, Floats64]]:
    """Cross-fitted scores: of each half of the reference and of the test images by the rule of the other half."""
    rng = np.random.default_rng(0)
    halves = [np.array_split(rng.permutation(len(side))[:_ROWS], 2) for side in (reference, test)]
    sides = [(reference[halves[0][half]], test[halves[1][half]]) for half in (0, 1)]
    return [_scored(sides[fitted], sides[1 - fitted]) for fitted in (0, 1)]


def share_of(scored: Sequence[tuple[Floats64, Floats64]], given: float | None = None) -> Share:
    """The share that cross-fitted scores tell, or the given one with what else they tell."""
    found = fit_mixture(scored, given)
    share = Share(
        value=found.share if given is None else given,
        standard_error=found.share_error if given is None else 0.0,
        given=given is not None,
        shift=found.shift,
        shift_error=found.shift_error,
        withheld=_what_is_wrong(found),
    )
    if share.why_none or given is not None:
        return share
    a = NormalDist().cdf(share.shift / sqrt(2)) - 0.5
    above = float(np.mean([separation(*pair).value for pair in scored])) - 0.5
    auc = 0.5 + (above - (1 - share.value) * a) / share.value
    if auc >= LEAST_AUC:
        return share
    return replace(share, withheld="the scores tell anomalies from normal images too badly to count them")


def _what_is_wrong(found: Mixture) -> str:
    if found.misfit > _MOST_MISFIT:
        return "the scores are no mixture of such as the held-out images have and higher ones"
    if abs(found.shift) > _MOST_SHIFT:
        return "the test's normal images score otherwise than the held-out ones"
    return ""


def _scored(fitted: _Sides, scored: _Sides) -> tuple[Floats64, Floats64]:
    """Scores (r,) and (s,) of the `scored` images of both sides, by the rule `auto` of the `fitted` ones."""
    low, high = fitted
    columns = np.arange(low.shape[1])
    if len(columns) > _COLUMNS:
        order = np.argsort(-separation_many(low, high).value, kind="stable")
        columns = np.sort(order[:_COLUMNS])
    rule = fit_auto(low[:, columns], high[:, columns])
    reference, test = (total_score(rule.parts, side[:, columns]) for side in scored)
    return reference, test
