"""Members that join others by what pseudo-anomalies say of them together."""

import numpy as np
import pytest

from ensemble_ad.blend.prior import by_odds, prior_weights
from ensemble_ad.blend.seen import SeenDefects, worth
from ensemble_ad.blend.selection import ROUNDS, selected


@pytest.fixture
def seen(members) -> SeenDefects:
    """Eight detectors' scores, and digits of other kinds as if each were a kind of pseudo-anomaly."""
    reference, test, label = members(0.4)
    return _seen(reference, dict(zip("abcd", np.array_split(test[label == 1], 4), strict=True)))


def _seen(reference, pseudo):
    found = SeenDefects.of(reference, pseudo)
    assert found is not None
    return found


def _together(seen, weights):
    """What the mean of -log p with these weights comes to, by plain counting."""

    def tails(side):
        p = [(1 + (column[:, None] <= seen.reference[:, i]).sum(axis=1)) for i, column in enumerate(side.T)]
        return -np.log(np.stack(p, axis=1) / (len(seen.reference) + 1))

    low = tails(seen.reference) @ weights
    high = {kind: tails(scores) @ weights for kind, scores in seen.pseudo.items()}
    return worth(_seen(low[:, None], {kind: scores[:, None] for kind, scores in high.items()}).aucs)[0]


def test_members_join_one_by_one_with_which_the_others_see_most(seen):
    columns = np.arange(8)
    joined = np.zeros(8)
    for _ in range(ROUNDS):
        joined[np.argmax([_together(seen, joined + np.eye(8)[i]) for i in columns])] += 1
    np.testing.assert_allclose(selected(seen, columns), joined / ROUNDS)
    assert np.count_nonzero(joined) > 1
    assert _together(seen, joined) > max(_together(seen, by_odds(worth(seen.aucs))), worth(seen.aucs).max())


@pytest.mark.parametrize(("copies", "alone"), [(10, 1 / 2), (50, 15 / 51)])
def test_near_copies_do_not_crowd_out_a_member_that_sees_otherwise(seen, copies, alone):
    best, rng = int(np.argmax(worth(seen.aucs))), np.random.default_rng(0)
    tremble = 0.01 * seen.reference[:, best].std()

    def crowd(side, shift):
        """Near-copies of the best member, and one whose mistakes are others, and more."""
        near = side[:, [best]] + tremble * rng.normal(size=(len(side), copies))
        return np.column_stack([near, rng.normal(size=len(side)) + shift])

    found = _seen(crowd(seen.reference, 0.0), {kind: crowd(scores, 2.0) for kind, scores in seen.pseudo.items()})
    count = copies + 1
    best_first = np.argsort(-worth(found.aucs), kind="stable")
    joined, best_alone = np.zeros(count), by_odds(worth(found.aucs))
    joined[best_first] = selected(found, best_first)
    assert best_alone[-1] == 0
    assert joined[-1] > 0.1
    # What the best have by themselves is the less, the more of them there are.
    assert prior_weights(found, np.full(count, 1 / count))[-1] == pytest.approx(joined[-1] * (1 - alone))
    assert _together(found, joined) > _together(found, best_alone)


def test_only_the_order_of_scores_counts(seen):
    stretched = _seen(np.exp(seen.reference / 30), {kind: np.exp(each / 30) for kind, each in seen.pseudo.items()})
    columns = np.arange(8)
    np.testing.assert_array_equal(selected(stretched, columns), selected(seen, columns))


def test_a_member_alone_has_all_and_one_without_scores_nothing(seen):
    assert selected(seen, np.array([3])).tolist() == [1.0]
    lacking = _seen(seen.reference, {kind: np.where(np.arange(8) == 4, np.nan, x) for kind, x in seen.pseudo.items()})
    assert lacking.known.tolist() == [i != 4 for i in range(8)]
    votes = np.where(np.arange(8) == 4, 0.0, 1 / 7)
    assert prior_weights(lacking, votes)[4] == 0


def test_a_member_that_sees_nothing_does_not_join_by_chance(seen):
    rng = np.random.default_rng(0)

    def crowd(side):
        return np.column_stack([side, rng.normal(size=(len(side), 20))])

    found = _seen(crowd(seen.reference), {kind: crowd(scores) for kind, scores in seen.pseudo.items()})
    assert selected(found, np.arange(28))[8:].sum() > 0
    assert prior_weights(found, np.full(28, 1 / 28))[8:].sum() == 0
    upside_down = _seen(-seen.reference, {kind: -scores for kind, scores in seen.pseudo.items()})
    assert prior_weights(upside_down, np.full(8, 1 / 8)).sum() == pytest.approx(1)


def test_many_images_are_thinned_evenly(seen):
    many = _seen(
        seen.reference.repeat(20, axis=0), {kind: each.repeat(20, axis=0) for kind, each in seen.pseudo.items()}
    )
    columns = np.arange(8)
    few, thinned = selected(seen, columns), selected(many, columns)
    assert np.abs(few - thinned).sum() <= 0.6
    assert _together(seen, thinned) == pytest.approx(_together(seen, few), abs=0.002)


def test_without_kinds_nothing_is_seen(seen):
    assert SeenDefects.of(seen.reference, {}) is None
    assert prior_weights(None, np.full(8, 1 / 8)).tolist() == [1 / 8] * 8
