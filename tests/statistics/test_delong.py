"""AUC and separation against a published example, and against counting every pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ensemble_ad import statistics
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


label_and_scores = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, n, elements=st.integers(0, 1)).filter(lambda y: 0 < y.sum() < len(y)),
        arrays(np.float64, n, elements=st.integers(-4, 4).map(float)),
    )
)


def covariance(label: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """DeLong's covariance (m, m) of the columns' AUCs, from their placements."""
    of_positive, of_negative = placements(columns[label == 0].T, columns[label == 1].T)
    return np.cov(of_positive) / (label == 1).sum() + np.cov(of_negative) / (label == 0).sum()


def test_delong_matches_the_published_asah_example():
    columns = np.stack([asah(name) for name in ("wfns", "ndka", "s100b")], axis=1)
    assert statistics.auc_many(ASAH_LABEL, columns).value == pytest.approx(
        [0.823678861788618, 0.611957994579946, 0.731368563685637], abs=1e-14
    )
    # pROC's test-cov.R: cov(wfns, ndka), cov(ndka, s100b), cov(s100b, wfns).
    published = (-0.000532967856762438, -0.000756164938056579, 0.00119615567376754)
    c = covariance(ASAH_LABEL, columns)
    assert (c[0, 1], c[1, 2], c[2, 0]) == pytest.approx(published, rel=1e-12)
    # pROC's test-ci.auc.R, ndka: the interval is Wald's there, so its width gives the standard error.
    error = (0.722670989888189 - 0.501244999271703) / 2 / 1.959963984540054
    assert statistics.auc(ASAH_LABEL, asah("ndka")).standard_error == pytest.approx(error, rel=1e-12)


def test_paired_test_uses_the_covariance():
    one = statistics.compare_auc(ASAH_LABEL, asah("wfns"), asah("s100b"))
    c = covariance(ASAH_LABEL, np.stack([asah("wfns"), asah("s100b")], axis=1))
    assert one.difference == pytest.approx(0.823678861788618 - 0.731368563685637)
    assert one.standard_error == pytest.approx(np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]), rel=1e-12)
    assert one.low < one.difference < one.high
    # By hand: z = 0.0923103 / 0.0417887.
    assert one.p_value == pytest.approx(0.02718, abs=5e-5)


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


def test_equal_scores_do_not_differ(tumours):
    label, scores = tumours
    same = statistics.compare_auc(label, scores[:, 0], scores[:, 0])
    assert (same.difference, same.standard_error, same.p_value) == (0, 0, 1)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_many_columns_equal_one_by_one(seed):
    rng = np.random.default_rng(seed)
    label, scores = rng.integers(0, 2, 40), rng.integers(0, 9, (40, 7)).astype(float)
    label[:2] = 0, 1
    many, c = statistics.auc_many(label, scores), covariance(label, scores)
    for column in range(7):
        one = statistics.auc(label, scores[:, column])
        assert many.value[column] == pytest.approx(one.value, abs=1e-14)
        assert many.estimate(column) == one
        assert many.standard_error[column] ** 2 == pytest.approx(c[column, column])


@pytest.mark.slow
def test_a_thousand_columns_in_seconds():
    from time import process_time

    rng = np.random.default_rng(0)
    label, scores = rng.integers(0, 2, 20_000), rng.normal(size=(20_000, 1_000)).astype(np.float32)
    start = process_time()
    statistics.auc_many(label, scores)
    assert process_time() - start < 10


@pytest.mark.slow
@pytest.mark.parametrize("judge", [statistics.auc_many, statistics.compare_to_best])
def test_aucs_of_many_images_make_no_copy_of_the_scores(peak_bytes, judge):
    rng = np.random.default_rng(0)
    label = rng.random(95_000) < 0.3
    scores = rng.standard_normal((200, 95_000), dtype=np.float32).T  # a column lies together
    assert peak_bytes(lambda: judge(label, scores)) < 0.6 * scores.nbytes
