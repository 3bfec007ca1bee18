"""What a blend that has seen no test image is worth."""

import numpy as np
import pytest

from ensemble_ad.blend.columns import Columns
from ensemble_ad.blend.foreseen import foreseen_auc

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(300, 3)).astype(np.float32)


def _columns(**lifts):
    pseudo = {kind: (RNG.normal(size=(100, 3)) + lift).astype(np.float32) for kind, lift in lifts.items()}
    return Columns(REFERENCE, REFERENCE[:0], pseudo, np.zeros(3, dtype=bool))


def test_a_blend_that_sees_kinds_it_was_not_weighted_by_is_worth_more():
    broad = foreseen_auc(_columns(halves=[2, 0, 0], shift=[2, 0, 0], occlusion=[2, 0, 0]))
    narrow = foreseen_auc(_columns(halves=[2, 0, 0], shift=[0, 2, 0], occlusion=[0, 0, 2]))
    blind = foreseen_auc(_columns(halves=[0, 0, 0], shift=[0, 0, 0], occlusion=[0, 0, 0]))
    assert blind == pytest.approx(0.5, abs=0.1)
    assert blind < narrow < broad


def test_columns_without_pseudo_anomalies_play_no_part():
    columns = _columns(halves=[2, 0, 0], shift=[2, 0, 0])
    lacking = [np.column_stack([scores, np.full(len(scores), np.nan)]) for scores in columns.pseudo.values()]
    more = Columns(
        np.column_stack([REFERENCE, REFERENCE[:, 0]]),
        np.zeros((0, 4), np.float32),
        dict(zip(columns.pseudo, lacking, strict=True)),
        np.zeros(4, dtype=bool),
    )
    assert foreseen_auc(more) == foreseen_auc(columns)


def test_what_nothing_is_known_of_is_worth_chance():
    assert foreseen_auc(_columns()) == 0.5
    assert foreseen_auc(_columns(halves=[3, 3, 3])) == 0.5
