"""Whether a blend's rule is one that scores: its arrays belong together, and its trees lead to leaves."""

from collections.abc import Iterator

import numpy as np

from ensemble_ad.blend.forest import Forest
from ensemble_ad.blend.normalise import POOLED
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.rule import Part
from ensemble_ad.errors import StorageError
from ensemble_ad.statistics.arrays import Floats64

# A rule of ours has at most five parts and 50 trees in each; what scoring takes grows with both.
_MOST_PARTS, _MOST_TREES = 100, 1_000
_MOST_ROWS = 1 << 40
_SUM_TOLERANCE = 1e-6


def check_rule(rule: Blend) -> None:
    """Refuse arrays that do not belong together, numbers that cannot be, and trees that lead out of their table.

    Raises:
        StorageError: if the rule has any of these.
    """
    members = len(rule.names)
    if not 0 < len(rule.parts) <= _MOST_PARTS:
        raise StorageError(f"a rule has 1 to {_MOST_PARTS} parts, and this one {len(rule.parts)}")
    for weights in (rule.weights, *(part.weights for part in rule.parts)):
        if weights.shape != (members,) or not _are_weights(weights):
            raise StorageError("the rule's weights must be 0 or more, one a column, with the sum 1")
    for part in rule.parts:
        if not all(_conditions(part, members)):
            raise StorageError("the rule's arrays do not belong together")


def _are_weights(weights: Floats64) -> bool:
    return bool((weights >= 0).all() and (weights <= 1).all() and abs(weights.sum() - 1) <= _SUM_TOLERANCE)


def _conditions(part: Part, members: int) -> Iterator[bool]:
    base, count = part.normaliser.base, part.normaliser.count
    yield base.shape[1:] == (members,) and len(count) == len(base) + 1
    yield bool(np.isfinite(base).all() and np.isfinite(count).all())
    yield part.normaliser.name == "robust-z" or (1 <= count[-1] <= _MOST_ROWS and count[-1] == np.rint(count[-1]))
    yield bool(np.isfinite([part.centre, part.scale, part.portion]).all()) and part.scale > 0
    if part.forest is not None:
        yield part.normaliser.name in POOLED
        yield from _forest_conditions(part.forest, members)


def _forest_conditions(forest: Forest, members: int) -> Iterator[bool]:
    feature, child = forest.feature, forest.child
    inner = np.flatnonzero(feature >= 0)
    # Half a number is after its parent too, and leads back to it once it is cut off.
    yield all(array.dtype.kind == "i" for array in (feature, child))
    yield feature.ndim == 1 and feature.shape == child.shape == forest.value.shape == forest.threshold.shape
    yield bool((feature < members).all()) and 0 < forest.trees <= min(len(feature), _MOST_TREES)
    # Every child comes after its parent, so that a row reaches a leaf.
    yield bool((child[inner] > inner).all() and (child[inner] + 1 < len(child)).all())
    yield bool(np.isfinite(forest.value).all() and np.isfinite(forest.threshold[inner]).all())
