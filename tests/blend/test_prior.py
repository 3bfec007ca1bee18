"""Blends that know members before they see a test image: by pseudo-anomalies, cross-fitted over their kinds."""

import numpy as np
import pytest

from ensemble_ad.blend import Blend, blend_scores
from ensemble_ad.blend.alarm import crossfit_reference
from ensemble_ad.blend.prior import by_odds
from ensemble_ad.blend.seen import worth
from ensemble_ad.errors import DataError
from ensemble_ad.statistics import auc


@pytest.fixture
def pseudo(members) -> dict[str, np.ndarray]:
    """Scores of `members` for digits of other kinds, as if each kind were one of pseudo-anomalies."""
    _, test, label = members(0.4)
    return dict(zip("abcd", np.array_split(test[label == 1], 4), strict=True))


@pytest.fixture
def no_test(members) -> tuple[np.ndarray, np.ndarray]:
    """A reference and no test images."""
    return members(0.4)[0], np.empty((0, 8))


def test_without_test_images_auto_is_prior(no_test, pseudo, names):
    made = blend_scores(*no_test, names=names, pseudo=pseudo)
    assert (made.method, made.normaliser, len(made.scores), made.separation) == ("prior", "tail", 0, None)
    assert made.weights.sum() == pytest.approx(1)
    assert "No test image was looked at" in made.explanation
    named = blend_scores(no_test[0], no_test[1], "prior", names=names, pseudo=pseudo)
    np.testing.assert_array_equal(named.weights, made.weights)


def test_a_prior_scores_new_images_as_ever(no_test, pseudo, members):
    reference, _ = no_test
    _, test, label = members(0.4)
    made = blend_scores(*no_test, pseudo=pseudo)
    with_test = blend_scores(reference, test, "prior", pseudo=pseudo)
    np.testing.assert_array_equal(made.score(test), with_test.scores)
    assert auc(label, made.score(test)).value > auc(label, blend_scores(*no_test).score(test)).value
    state = {name: np.asarray(value) for name, value in made.state().items()}
    np.testing.assert_array_equal(Blend.from_state(state).score(test), made.score(test))
    assert len(crossfit_reference(*no_test, method="auto", pseudo=pseudo)) == len(reference)


def test_a_member_that_sees_one_kind_alone_does_not_win():
    others, shift = [0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6], [1.0, 0.4, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3]
    aucs = np.stack([others] * 5 + [shift], axis=1)
    assert aucs.mean(axis=1).argmax() == 0
    assert by_odds(worth(aucs)).tolist() == pytest.approx([0, 0, 0, 0.2, 0.2, 0.2, 0.2, 0.2])


def test_members_that_see_little_are_not_as_loud_as_those_that_see_much():
    weights = by_odds(worth(np.stack([[0.9, 0.6, 0.9, 0.5, 0.4, 0.3]] * 3, axis=1)))
    odds = np.array([9, 1.5, 9, 1, 2 / 3, 0])
    np.testing.assert_allclose(weights, odds / odds.sum())
    certain = by_odds(worth(np.stack([[1.0, 1.0, 0.5]] * 3, axis=1)))
    assert certain[0] == certain[1]
    assert 0 < certain[2] < 0.01


def test_without_pseudo_anomalies_members_count_by_their_votes(no_test):
    reference, none = no_test
    copies = np.hstack([reference[:, [4, 4, 4]], reference[:, [7]]])
    weights = blend_scores(copies, none[:, :4]).weights
    assert weights[:3].sum() == pytest.approx(weights[3], abs=0.1)
    assert "There are no pseudo-anomalies" in blend_scores(copies, none[:, :4]).explanation


def test_members_without_pseudo_anomalies_are_taken_for_middling(no_test, pseudo):
    lacking = {kind: np.where(np.arange(8) == 6, np.nan, scores) for kind, scores in pseudo.items()}
    weights = blend_scores(*no_test, pseudo=lacking).weights
    votes = blend_scores(*no_test).weights
    assert weights[6] == pytest.approx(votes[6])
    whole = blend_scores(*no_test, pseudo={kind: scores * np.nan for kind, scores in pseudo.items()})
    np.testing.assert_array_equal(whole.weights, votes)


def test_what_was_trained_on_the_test_images_is_no_prior_unless_nothing_else_is_there(no_test, pseudo):
    reference, none = no_test
    lacking = {kind: np.where(np.arange(8) == 6, np.nan, scores) for kind, scores in pseudo.items()}
    for known in ({}, lacking):
        for method in ("auto", "prior"):
            made = blend_scores(reference, none, method, pseudo=known, transductive=np.arange(8) == 6)
            assert made.weights[6] == 0
            assert made.weights.sum() == pytest.approx(1)
        every = blend_scores(reference, none, pseudo=known, transductive=np.ones(8)).weights
        np.testing.assert_allclose(every, blend_scores(reference, none, pseudo=known).weights)


def test_constant_members_get_nothing(no_test, pseudo):
    reference, none = no_test
    low = np.column_stack([reference[:, :2], np.ones(len(reference))])
    damaged = {kind: np.column_stack([scores[:, :2], np.ones(len(scores))]) for kind, scores in pseudo.items()}
    assert blend_scores(low, none[:, :3], pseudo=damaged).weights[2] == 0


@pytest.mark.parametrize("method", ["mean", "median", "max", "top", "tail-mean", "prior"])
def test_methods_that_learn_nothing_need_no_test_images(no_test, method):
    reference, none = no_test
    assert blend_scores(reference, none, method).score(reference).shape == (len(reference),)


@pytest.mark.parametrize("method", ["greedy", "pu-lda", "best-separation", "spectral", "select"])
def test_methods_that_learn_from_test_images_say_so(no_test, method):
    with pytest.raises(DataError, match=f"'{method}' needs test images, and there are none: use one of mean, .*prior"):
        blend_scores(no_test[0], no_test[1], method)


def test_pseudo_anomalies_of_other_members_are_refused(no_test, pseudo):
    with pytest.raises(DataError, match=r"pseudo\['a'\] has to hold 8 members in columns, got 7"):
        blend_scores(*no_test, pseudo={"a": pseudo["a"][:, :7]})


def test_pseudo_anomalies_move_auto_where_there_is_little_to_learn(members, pseudo):
    reference, test, label = members(0.4)
    few = np.concatenate([test[label == 0], test[label == 1][:3]])
    plain, known = blend_scores(reference, few), blend_scores(reference, few, pseudo=pseudo)
    truth = np.repeat([0, 1], [int((label == 0).sum()), 3])
    assert "prior" in known.method
    assert auc(truth, known.scores).value >= auc(truth, plain.scores).value
