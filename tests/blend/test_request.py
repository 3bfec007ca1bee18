"""Bad input is refused before anything is fitted."""

import numpy as np
import pandas as pd
import pytest

from ensemble_ad.blend import blend_scores
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics import auc, compare_auc


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"method": "magic"}, UsageError, "known are auto, mean"),
        ({"method": "mean", "normaliser": "magic"}, UsageError, "known are rank"),
        ({"normaliser": "rank"}, UsageError, "chooses its normalisers"),
        ({"method": "greedy", "normaliser": "gauss"}, UsageError, "normalise by rank, pooled-rank, ecdf"),
        ({"method": "given"}, UsageError, "needs weights"),
        ({"method": "labels"}, UsageError, "needs labels"),
        ({"method": "mean", "weights": np.ones(8)}, UsageError, "'given'"),
        ({"weights": np.ones(3)}, DataError, "3"),
        ({"weights": -np.ones(8)}, DataError, "at least 0"),
        ({"names": ["a"]}, DataError, "got 1 for 8"),
        ({"anomaly_share": 1.5}, UsageError, "1.5"),
        ({"test": np.ones((5, 3))}, DataError, "got 8 and 3"),
        ({"test": np.ones(5)}, DataError, "images x members"),
        ({"reference": np.ones((0, 8))}, DataError, "empty"),
        ({"test": np.ones((0, 8)), "method": "greedy"}, DataError, "needs test images"),
        ({"test": np.full((5, 8), "x")}, DataError, "numbers"),
        ({"transductive": np.zeros(3, dtype=bool)}, DataError, "each of 8 members"),
        ({"transductive": np.full(8, 0.5)}, DataError, "a 0 or a 1"),
    ],
)
def test_bad_calls_are_refused_in_one_line(members, change, error, words):
    reference, test, _ = members()
    with pytest.raises(error, match=words) as caught:
        blend_scores(**({"reference": reference, "test": test} | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_the_member(members, names, bad):
    reference, test, _ = (array.copy() for array in members())
    test[3, 5] = bad
    with pytest.raises(DataError, match="knn"):
        blend_scores(reference, test, names=names)
    blend = blend_scores(reference, members()[1], names=names)
    with pytest.raises(DataError, match="knn"):
        blend.score(test)
    with pytest.raises(DataError, match="8 members"):
        blend.score(test[:, :3])


# DataFrames and masks: what belongs together is found by its name, or refused


@pytest.fixture
def frames():
    """Two named members of very unlike worth, as (reference, test) DataFrames, and the labels."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [300, 100])
    good, bad = rng.normal(size=400) + 3 * label, rng.normal(size=400)
    reference = pd.DataFrame({"good": rng.normal(size=300), "bad": 1000 * rng.normal(size=300)})
    return reference, pd.DataFrame({"good": good, "bad": 1000 * bad}), label


@pytest.mark.parametrize("method", ["auto", "mean"])
def test_a_frames_columns_are_taken_by_their_names(frames, method):
    reference, test, _ = frames
    blend = blend_scores(reference, test, method=method)
    turned = blend_scores(reference, test[["bad", "good"]], method=method)
    assert blend.names == turned.names == ("good", "bad")
    np.testing.assert_array_equal(turned.scores, blend.scores)
    np.testing.assert_array_equal(blend.score(test[["bad", "good"]]), blend.score(test.to_numpy()))


def test_an_array_beside_a_frame_is_taken_as_it_stands(frames):
    reference, test, _ = frames
    np.testing.assert_array_equal(
        blend_scores(reference, test.to_numpy()).scores, blend_scores(reference.to_numpy(), test.to_numpy()).scores
    )


@pytest.mark.parametrize("columns", [["good"], ["good", "other"], ["good", "good"], ["good", "bad", "more"]], ids=str)
def test_other_columns_are_refused_by_name(frames, columns):
    reference, test, _ = frames
    other = pd.DataFrame(np.ones((5, len(columns))), columns=columns)
    with pytest.raises(DataError, match=r"test has to have the columns good, bad, each once, but"):
        blend_scores(reference, other)
    with pytest.raises(DataError, match=r"new rows has to have the columns good, bad, each once, but"):
        blend_scores(reference, test).score(other)


def test_what_lies_under_a_mask_is_no_score(frames):
    reference, test, _ = (np.asarray(each) for each in frames)
    hidden = np.ma.masked_greater(test, 3.0)
    for arguments in ((hidden, test), (reference, hidden)):
        with pytest.raises(DataError, match="masked values"):
            blend_scores(*arguments)
    with pytest.raises(DataError, match="masked values"):
        blend_scores(reference, test).score(hidden)
    bare = np.ma.masked_array(test, mask=False)
    np.testing.assert_array_equal(blend_scores(reference, bare).scores, blend_scores(reference, test).scores)


def test_rows_that_belong_together_and_are_in_another_order_are_refused(frames):
    _, test, label = frames
    labels = pd.Series(label)
    shuffled = test.sample(frac=1.0, random_state=0)
    for use in (
        lambda: auc(labels, shuffled["good"]),
        lambda: compare_auc(labels, test["good"], shuffled["bad"]),
        lambda: blend_scores(test[label == 0], shuffled, method="labels", label=labels),
    ):
        with pytest.raises(DataError, match="different indexes"):
            use()
    assert auc(labels.loc[shuffled.index], shuffled["good"]).value == auc(label, test["good"]).value


def _value(label, scores) -> float:
    return float(auc(label, scores).value)


@pytest.mark.parametrize("turn", [pd.Series, dict], ids=["a Series", "a dict"])
def test_weights_go_by_the_members_names(frames, turn):
    reference, test, label = frames
    blend = blend_scores(reference, test, weights=turn({"bad": 0.0, "good": 1.0}))
    assert _value(label, blend.scores) == _value(label, test["good"])
    array = blend_scores(reference.to_numpy(), test.to_numpy(), weights=pd.Series([1.0, 0.0]))
    np.testing.assert_array_equal(array.scores, blend.scores)
    for wrong in ({"good": 1.0}, {"good": 1.0, "other": 0.0}, {"good": 1.0, "bad": "x"}, {}):
        with pytest.raises(DataError, match="weights have to"):
            blend_scores(reference, test, weights=turn(wrong))


def test_columns_that_pandas_has_numbered_are_taken_by_their_numbers(frames):
    reference, test, label = (frame.set_axis([0, 1], axis=1) for frame in frames[:2]), frames[1], frames[2]
    low, high = reference
    turned = blend_scores(low, high[[1, 0]], weights=[1, 0])
    assert _value(label, turned.scores) == _value(label, test["good"])
    back = blend_scores(low[[1, 0]], high, weights=[0, 1])
    np.testing.assert_array_equal(back.scores, turned.scores)
    plain = blend_scores(low, high, weights=[1, 0])
    assert plain.names == ("member 0", "member 1")
    for blend in (plain, turned):
        for rows in (high, high[[1, 0]]):
            np.testing.assert_array_equal(blend.score(rows), turned.scores)


def test_columns_of_several_levels_are_taken_by_their_names(frames):
    reference, test, label = frames
    levels = pd.MultiIndex.from_tuples([("fcn", "rss"), ("fcn", "mae")])
    low, high = reference.set_axis(levels, axis=1), test.set_axis(levels, axis=1)
    blend = blend_scores(low, high[[levels[1], levels[0]]], weights=[1, 0])
    assert _value(label, blend.scores) == _value(label, test["good"])


def test_names_that_mix_up_the_columns_own_are_refused(frames):
    with pytest.raises(DataError, match="in another order"):
        blend_scores(*frames[:2], names=["bad", "good"])
    assert blend_scores(*frames[:2], names=["a", "b"]).names == ("a", "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x + 1j, "complex128"),
        (lambda x: (x * 1000).astype("datetime64[s]"), "datetime64"),
        (lambda x: (x * 1000).astype("timedelta64[s]"), "timedelta64"),
        (lambda x: (1 << 60) + (x > 0), "beyond 2\\^53"),
    ],
    ids=["complex", "dates", "durations", "large"],
)
def test_what_would_lose_something_as_a_float_is_refused(frames, change, words):
    reference, test, label = frames
    with pytest.raises(DataError, match=words):
        blend_scores(reference.to_numpy(), change(test.to_numpy()))
    with pytest.raises(DataError, match=words):
        auc(label, change(test["good"].to_numpy()))


def test_two_scores_in_another_order_are_not_compared(frames):
    test, label = frames[1], frames[2]
    with pytest.raises(DataError, match="a and b have different indexes"):
        compare_auc(label, test["good"], test["bad"].iloc[::-1])
