"""AUC, separation and their errors, against scikit-learn, a published example, and an O(n m) computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from ensemble_ad import statistics
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics.ranks import placements

# The aSAH data (Turck et al. 2010; Robin et al. 2011, pROC) as ranks: 41 patients with a poor outcome, then 72 with a
# good one. The order of scores is all that an AUC needs; it is rebuilt from the structural components in pROC's tests.
ASAH = {
    "wfns": """4 2 6 8 8 8 8 2 8 2 0 2 8 6 6 2 8 8 8 2 8 2 8 2 6 8 6 6 0 6 6 2 2 8 8 2 2 8 8 8 8 0 0 0 0 8 0 2 2 0
        2 2 0 0 0 2 0 2 0 0 4 6 0 6 0 8 8 0 0 2 6 0 0 2 2 0 2 0 2 2 0 0 0 0 2 0 2 0 0 4 2 6 2 0 6 0
        0 8 6 2 2 0 0 0 4 0 2 2 6 6 0 0 0""",
    "ndka": """41 25 31 39 3 9 19 47 51 47 47 15 35 43 5 7 33 1 55 43 17 19 23 33 45 28 43 7 53 38 3 12 43 3 11 47
        21 35 49 19 39 0 8 6 18 4 38 4 42 32 42 40 50 10 4 24 4 4 54 26 14 14 42 2 6 4 12 30 6 36 48
        6 4 24 10 6 30 46 44 16 22 52 4 40 14 18 18 36 2 40 24 10 18 42 18 22 6 14 18 46 8 24 28 48
        20 24 10 46 16 34 44 4 32""",
    "s100b": """12 8 18 11 35 41 39 2 28 6 2 33 31 38 41 23 41 41 41 2 41 25 -1 6 21 41 23 41 4 23 12 8 10 21 41 14
        41 26 41 41 35 12 14 8 0 36 20 8 8 0 4 0 6 10 2 20 2 10 12 20 0 18 14 30 6 40 36 18 2 34 36
        10 4 6 4 0 12 8 14 16 0 0 6 0 6 4 18 6 4 28 10 24 2 8 26 2 0 22 32 8 16 4 14 8 2 0 20 16 36
        20 16 40 38""",
}
ASAH_LABEL = np.repeat([1, 0], [41, 72])


def asah(name: str) -> np.ndarray:
    return np.array(ASAH[name].split(), dtype=float)


@pytest.fixture(scope="module")
def tumours() -> tuple[np.ndarray, np.ndarray]:
    """(label, scores): real measurements of 569 tumours, rounded so that some columns have many ties."""
    data = load_breast_cancer()
    return 1 - data.target, np.round(data.data, 2)


label_and_scores = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, n, elements=st.integers(0, 1)).filter(lambda y: 0 < y.sum() < len(y)),
        arrays(np.float64, n, elements=st.integers(-4, 4).map(float)),
    )
)


def test_delong_matches_the_published_asah_example():
    columns = np.stack([asah(name) for name in ("wfns", "ndka", "s100b")], axis=1)
    many = statistics.auc_many(ASAH_LABEL, columns, covariance=True)
    assert many.value == pytest.approx([0.823678861788618, 0.611957994579946, 0.731368563685637], abs=1e-14)
    # pROC's test-cov.R: cov(wfns, ndka), cov(ndka, s100b), cov(s100b, wfns).
    published = (-0.000532967856762438, -0.000756164938056579, 0.00119615567376754)
    assert many.covariance is not None
    assert (many.covariance[0, 1], many.covariance[1, 2], many.covariance[2, 0]) == pytest.approx(published, rel=1e-12)
    # pROC's test-ci.auc.R, ndka: the interval is Wald's there, so its width gives the standard error.
    error = (0.722670989888189 - 0.501244999271703) / 2 / 1.959963984540054
    assert statistics.auc(ASAH_LABEL, asah("ndka")).standard_error == pytest.approx(error, rel=1e-12)


def test_paired_test_uses_the_covariance():
    one = statistics.compare_auc(ASAH_LABEL, asah("wfns"), asah("s100b"))
    many = statistics.auc_many(ASAH_LABEL, np.stack([asah("wfns"), asah("s100b")], axis=1), covariance=True)
    c = many.covariance
    assert c is not None
    assert one.difference == pytest.approx(0.823678861788618 - 0.731368563685637)
    assert one.standard_error == pytest.approx(np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]), rel=1e-12)
    assert one.low < one.difference < one.high
    # By hand: z = 0.0923103 / 0.0417887.
    assert one.p_value == pytest.approx(0.02718, abs=5e-5)


def test_auc_and_curve_numbers_match_scikit_learn(tumours):
    label, scores = tumours
    many = statistics.auc_many(label, scores)
    for column in range(scores.shape[1]):
        score = scores[:, column]
        assert many.value[column] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert statistics.average_precision(label, score) == pytest.approx(
            average_precision_score(label, score), abs=1e-12
        )
        for limit in (0.05, 0.3, 1.0):
            want = roc_auc_score(label, score, max_fpr=limit if limit < 1 else None)
            assert statistics.partial_auc(label, score, limit) == pytest.approx(want, abs=1e-12)
        fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
        assert statistics.fpr_at_tpr(label, score) == pytest.approx(fpr[tpr >= 0.95].min(), abs=1e-12)


@given(label_and_scores)
def test_placements_equal_counting_every_pair(case):
    label, score = case
    low, high = score[label == 0], score[label == 1]
    pairs = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    of_high, of_low = placements(low[None, :], high[None, :])
    assert np.allclose(of_high[0], pairs.mean(axis=1), atol=1e-14)
    assert np.allclose(of_low[0], pairs.mean(axis=0), atol=1e-14)
    estimate = statistics.auc(label, score)
    assert estimate.value == pytest.approx(pairs.mean(), abs=1e-14)
    if len(low) > 1 and len(high) > 1 and 0 < estimate.value < 1:
        variance = pairs.mean(1).var(ddof=1) / len(high) + pairs.mean(0).var(ddof=1) / len(low)
        if variance > 1e-12:
            assert estimate.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.integers(-3, 3).map(float)))
def test_midranks_are_scipys(rows):
    assert np.array_equal(statistics.midranks(rows), rankdata(rows, axis=1))


@given(label_and_scores)
def test_auc_of_a_score_and_of_its_negative_add_to_one(case):
    label, score = case
    up, down = statistics.auc(label, score), statistics.auc(label, -score)
    assert up.value + down.value == pytest.approx(1, abs=1e-14)
    assert (up.low, up.high) == pytest.approx((1 - down.high, 1 - down.low), abs=1e-9)


@given(label_and_scores)
def test_auc_ignores_a_monotone_transform_and_infinities_rank(case):
    label, score = case
    assert statistics.auc(label, np.exp(score)) == statistics.auc(label, score)
    stretched = np.where(score == 4, np.inf, np.where(score == -4, -np.inf, score))
    assert statistics.auc(label, stretched) == statistics.auc(label, score)


@given(label_and_scores)
def test_an_interval_holds_its_value_and_has_a_width(case):
    estimate = statistics.auc(*case)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 1e-3
    assert estimate.standard_error > 0


def test_complete_separation_is_bounded_by_the_smaller_side():
    label = np.repeat([0, 1], [100, 5])
    estimate = statistics.auc(label, np.arange(105.0))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.025 ** (1 / 5))
    assert statistics.auc(label, -np.arange(105.0)).high == pytest.approx(1 - 0.025 ** (1 / 5))


def test_delong_interval_covers_as_often_as_it_says():
    # The 569 tumours are the population here, so the true AUC is known; small samples are drawn with replacement.
    rng = np.random.default_rng(0)
    data = load_breast_cancer()
    label, score = 1 - data.target, data.data[:, 1]
    truth = roc_auc_score(label, score)
    low, high = score[label == 0], score[label == 1]
    drawn = [statistics.separation(rng.choice(low, 40), rng.choice(high, 30)) for _ in range(1000)]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in drawn])
    assert 0.92 < covered < 0.98
    spread = np.std([estimate.value for estimate in drawn])
    assert np.mean([estimate.standard_error for estimate in drawn]) == pytest.approx(spread, rel=0.1)


def test_bootstrap_agrees_with_delong_and_pairs_its_columns(tumours):
    label, scores = tumours
    chosen = np.stack([scores[:, 1], scores[:, 1] * 2, scores[:, 4]], axis=1)
    boot = statistics.bootstrap_auc(label, chosen, n_resamples=500, seed=3)
    many = statistics.auc_many(label, chosen)
    assert boot.standard_error == pytest.approx(many.standard_error, rel=0.15)
    assert boot.value == pytest.approx(many.value)
    assert np.array_equal(boot.resampled[:, 0], boot.resampled[:, 1])
    assert boot.difference(0, 1).high == 0
    paired = statistics.compare_auc(label, chosen[:, 0], chosen[:, 2])
    assert boot.difference(0, 2).standard_error == pytest.approx(paired.standard_error, rel=0.15)
    assert np.array_equal(boot.resampled, statistics.bootstrap_auc(label, chosen, 500, 3).resampled)
    assert not np.array_equal(boot.resampled, statistics.bootstrap_auc(label, chosen, 500, 4).resampled)


def test_bootstrap_counts_ties_one_half():
    label, score = np.array([0, 0, 1, 1]), np.ones(4)
    assert np.all(statistics.bootstrap_auc(label, score, 20, 0).resampled == 0.5)


def test_equal_scores_do_not_differ(tumours):
    label, scores = tumours
    same = statistics.compare_auc(label, scores[:, 0], scores[:, 0])
    assert (same.difference, same.standard_error, same.p_value) == (0, 0, 1)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])


def test_tie_group_of_the_best(tumours):
    label, scores = tumours
    found = statistics.compare_to_best(label, np.concatenate([scores, scores[:, [27]]], axis=1))
    assert found.best == int(np.argmax(statistics.auc_many(label, scores).value))
    assert found.tied[found.best]
    assert found.p_value[found.best] == 1
    assert found.difference[found.best] == 0
    assert not found.tied[9]  # fractal dimension: no better than chance
    raw = statistics.compare_auc(label, scores[:, 9], scores[:, found.best])
    assert found.difference[9] == pytest.approx(raw.difference)
    assert found.standard_error[9] == pytest.approx(raw.standard_error)


def test_wilcoxon_across_tasks():
    base = np.linspace(0.6, 0.9, 12)
    better, same = base + np.linspace(0.01, 0.03, 12), base.copy()
    first, second = statistics.wilcoxon_across_tasks(np.stack([better, same], axis=1), base)
    assert first.difference.value == pytest.approx(0.02)
    assert first.p_value == pytest.approx(2 / 2**12)  # all twelve signs alike
    assert first.p_holm == pytest.approx(2 * first.p_value)
    assert (first.wins, first.losses, second.wins, second.p_value) == (12, 0, 0, 1)


def test_separation_is_a_shrunken_auc(tumours):
    label, scores = tumours
    normal, ill = scores[label == 0][:, 1], scores[label == 1][:, 1]
    reference, test_normal = normal[::2], normal[1::2]
    test = np.concatenate([test_normal, ill])
    share = len(ill) / len(test)
    implied = statistics.implied_auc(statistics.separation(reference, test), share)
    truth = statistics.auc(np.repeat([0, 1], [len(test_normal), len(ill)]), test)
    assert implied.low < truth.value < implied.high
    assert implied.value == pytest.approx(truth.value, abs=2 * implied.standard_error)
    assert "estimate" in implied.note


def test_implied_auc_says_when_it_clips():
    sure = statistics.separation(np.arange(100.0), np.arange(100.0) + 60)
    implied = statistics.implied_auc(sure, 0.1)
    assert (implied.value, implied.high) == (1.0, 1.0)
    assert "clipped" in implied.note
    with pytest.raises(UsageError, match="share"):
        statistics.implied_auc(sure, 0.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_estimated_share_brackets_the_truth(share):
    rng = np.random.default_rng(5)
    lows, highs, values = [], [], []
    for _ in range(20):
        reference = rng.normal(size=1000)
        test = rng.normal(size=1000) + 4 * (rng.random(1000) < share)
        estimate = statistics.estimate_share(reference, test)
        lows.append(estimate.low)
        highs.append(estimate.high)
        values.append(estimate.value)
    assert max(lows) <= share + 1e-12
    assert np.mean(np.array(highs) >= share) > 0.9
    assert np.mean(values) == pytest.approx(share, abs=0.05)


def test_estimates_print_themselves():
    estimate = statistics.auc([0, 0, 1, 1, 0, 1], [1, 2, 2, 3, 1, 4])
    assert str(estimate).startswith("0.944 [")
    assert "p = " in str(statistics.compare_auc([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 3]))


@pytest.mark.parametrize(
    ("label", "score", "words"),
    [
        ([0, 1], [1.0, np.nan], "NaN"),
        ([], [], "empty"),
        ([1, 1], [1.0, 2.0], "both 0 and 1"),
        ([0, 1, 1], [1.0, 2.0], "one length"),
        ([0, 1], [[1.0], [2.0]], "dimension"),
        ([0, 2], [1.0, 2.0], "0 .normal. or 1"),
        ([0, 1], ["a", "b"], "numbers"),
    ],
)
def test_bad_data_is_refused_in_one_line(label, score, words):
    functions = (statistics.auc, statistics.average_precision, statistics.fpr_at_tpr, statistics.partial_auc)
    for function in functions:
        with pytest.raises(DataError, match=words) as caught:
            function(label, score)
        assert "\n" not in str(caught.value)


def test_bad_tables_name_the_column():
    scores = np.zeros((4, 3))
    scores[2, 1] = np.nan
    with pytest.raises(DataError, match="column 1"):
        statistics.auc_many([0, 1, 0, 1], scores)
    with pytest.raises(DataError, match="same columns"):
        statistics.separation_many(np.zeros((3, 2)), np.zeros((3, 1)))


def test_a_level_outside_0_and_1_is_refused():
    with pytest.raises(UsageError, match="level"):
        statistics.auc([0, 1], [1.0, 2.0], level=95)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_many_columns_equal_one_by_one(seed):
    rng = np.random.default_rng(seed)
    label, scores = rng.integers(0, 2, 40), rng.integers(0, 9, (40, 7)).astype(float)
    label[:2] = 0, 1
    many = statistics.auc_many(label, scores, covariance=True)
    assert many.covariance is not None
    for column in range(7):
        one = statistics.auc(label, scores[:, column])
        assert many.value[column] == pytest.approx(one.value, abs=1e-14)
        assert many.estimate(column) == one
        assert many.covariance[column, column] == pytest.approx(many.standard_error[column] ** 2)


@pytest.mark.slow
def test_a_thousand_columns_in_seconds():
    from time import process_time

    rng = np.random.default_rng(0)
    label, scores = rng.integers(0, 2, 20_000), rng.normal(size=(20_000, 1_000)).astype(np.float32)
    start = process_time()
    statistics.auc_many(label, scores)
    assert process_time() - start < 10
