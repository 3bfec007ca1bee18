"""Blends of real detectors on scikit-learn's digits: every method, broken members, and what `auto` promises."""

import gc
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from ensemble_ad import statistics
from ensemble_ad.blend import COMBINERS, METHODS, NORMALISERS, Blend, blend_scores, method_names
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.statistics import auc, auc_many, separation

NAMES = ("pca2", "pca5", "pca10", "pca20", "pca40", "knn", "iforest", "brightness")
BLIND = [name for name in method_names() if name not in ("given", "labels")]
RANKED = [name for name in BLIND if name != "tail-mean"]


@cache
def members(share: float = 0.4, normal: tuple[int, ...] = (1, 4, 7, 9)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(reference, test, label): 8 detectors' scores; normal images are some digits, anomalies the others."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, inside = data.data[order], np.isin(data.target[order], normal)
    train, reference, rest = np.split(images[inside], [250, 450])
    odd = images[~inside][: round(len(rest) * share / (1 - share))]
    test, label = np.concatenate([rest, odd]), np.repeat([0, 1], [len(rest), len(odd)])
    pca = PCA(40, random_state=0).fit(train)
    near = NearestNeighbors(n_neighbors=5).fit(train)
    trees = IsolationForest(n_estimators=50, random_state=0).fit(train)

    def scores(rows: np.ndarray) -> np.ndarray:
        centred = rows - pca.mean_
        errors = [
            np.sqrt(((centred - centred @ pca.components_[:k].T @ pca.components_[:k]) ** 2).sum(axis=1))
            for k in (2, 5, 10, 20, 40)
        ]
        others = [near.kneighbors(rows)[0].mean(axis=1), -trees.score_samples(rows), rows.mean(axis=1)]
        return np.stack(errors + others, axis=1)

    return scores(reference), scores(test), label


def reached(blend: Blend, label: np.ndarray) -> float:
    return auc(label, blend.scores).value


@pytest.mark.parametrize("method", BLIND)
def test_every_method_keeps_the_contract(method):
    reference, test, label = members()
    blend = blend_scores(reference, test, method, names=NAMES)
    assert blend.scores.shape == (len(test),)
    assert np.isfinite(blend.scores).all()
    assert blend.weights.shape == (len(NAMES),)
    assert (blend.weights >= 0).all()
    assert blend.weights.sum() == pytest.approx(1)
    assert blend.method == method or method == "auto"
    assert len(blend.explanation) > 60
    assert 0.5 < blend.separation.value < 0.5 + 0.5 * 0.7
    assert reached(blend, label) > 0.8


@pytest.mark.parametrize("method", BLIND)
def test_a_frozen_blend_scores_one_image_as_it_did_in_the_batch(method):
    reference, test, _ = members()
    blend = blend_scores(reference, test, method)
    assert np.array_equal(blend.score(test), blend.scores)
    for row in (0, 17, len(test) - 1):
        assert blend.score(test[row : row + 1])[0] == blend.scores[row]


@pytest.mark.parametrize("method", [*BLIND, "given"])
def test_state_goes_through_a_file_without_pickle(method):
    reference, test, _ = members()
    weights = np.arange(8.0) if method == "given" else None
    blend = blend_scores(reference, test, method, weights, names=NAMES)
    state, file = blend.state(), io.BytesIO()
    np.savez(file, **state)  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        again = Blend.from_state(dict(loaded))
    assert np.array_equal(again.score(test[::3]), blend.scores[::3])
    assert (again.method, again.explanation, again.names) == (blend.method, blend.explanation, NAMES)
    assert again.separation == blend.separation
    json.loads(state["json"])  # type: ignore[arg-type]


def test_a_later_format_is_refused():
    state = blend_scores(*members()[:2], "mean").state()
    later = json.loads(state["json"]) | {"format": 99}  # type: ignore[arg-type]
    with pytest.raises(DataError, match="99"):
        Blend.from_state(state | {"json": json.dumps(later)})
    with pytest.raises(DataError, match="json"):
        Blend.from_state({})


@pytest.mark.parametrize("method", BLIND)
def test_permuting_images_permutes_scores(method):
    reference, test, _ = members()
    order = np.random.default_rng(1).permutation(len(test))
    plain, mixed = blend_scores(reference, test, method), blend_scores(reference, test[order], method)
    if method in ("auto", "greedy-bagged", "pu-logistic"):  # these draw images by position
        assert np.corrcoef(mixed.scores, plain.scores[order])[0, 1] > 0.98
    else:
        assert mixed.scores == pytest.approx(plain.scores[order], abs=1e-9)


@pytest.mark.parametrize("method", RANKED)
def test_rank_blends_do_not_see_a_monotone_transform(method):
    reference, test, _ = members()
    both = np.concatenate([reference, test])
    bent = both.copy()
    bent[:, 0], bent[:, 3], bent[:, 5] = np.exp(both[:, 0] / 10), both[:, 3] ** 3, 1e6 * both[:, 5] - 7
    # A transform that rounds two scores into one would change ranks, and is none.
    assert all(len(np.unique(bent[:, j])) == len(np.unique(both[:, j])) for j in range(both.shape[1]))
    plain = blend_scores(reference, test, method)
    other = blend_scores(bent[: len(reference)], bent[len(reference) :], method)
    assert np.array_equal(plain.scores, other.scores)


def test_rank_mean_by_hand():
    blend = blend_scores([[1.0, 5.0], [2.0, 5.0]], [[3.0, 5.0], [0.0, 9.0]], "mean")
    # Pooled ranks of column 0: 1 -> 2, 2 -> 3, 3 -> 4, 0 -> 1 of 4; column 1: 5 three times, then 9.
    assert blend.scores == pytest.approx([(3.5 / 4 + 1.5 / 4) / 2, (0.5 / 4 + 3.5 / 4) / 2])


def test_given_weights_are_used():
    reference, test, _ = members()
    only = np.zeros(8)
    only[5] = 3.0
    blend = blend_scores(reference, test, weights=only)
    assert blend.method == "given"
    assert blend.weights.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert np.array_equal(np.argsort(blend.scores), np.argsort(test[:, 5], kind="stable"))


def test_labels_are_used_where_named_and_nowhere_else():
    reference, test, label = members()
    seen = blend_scores(reference, test, "labels", label=label)
    assert reached(seen, label) >= reached(blend_scores(reference, test, "mean"), label)
    upside_down = blend_scores(reference, test, "labels", label=1 - label)
    assert not np.allclose(seen.weights, upside_down.weights)
    with pytest.raises(UsageError, match="nothing else may see"):
        blend_scores(reference, test, "auto", label=label)


@pytest.mark.parametrize("method", BLIND)
def test_broken_members_do_not_break_a_blend(method):
    reference, test, label = (array.copy() for array in members())
    rows = np.concatenate([reference, test])
    extra = np.stack([np.full(len(rows), 3.0), -rows[:, 5], rows[:, 2] * 1e30, np.round(rows[:, 1] / 10)], axis=1)
    extra[len(reference) + 4, 2] = 1e300
    broken = np.concatenate([rows, extra], axis=1)
    blend = blend_scores(broken[: len(reference)], broken[len(reference) :], method)
    assert np.isfinite(blend.scores).all()
    assert blend.weights[8] == 0  # constant
    assert any("constant" in line and "member 8" in line for line in blend.guards)
    assert any("inverted" in line and "member 9" in line for line in blend.guards)
    plain = reached(blend_scores(reference, test, method), label)
    # The rules that weigh members leave the broken ones out; flat ones are diluted, the maximum most of all.
    assert reached(blend, label) > plain - (0.01 if method in ("auto", "pu-lda", "pu-logistic", "greedy") else 0.15)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("given", "labels")] + ["auto"])
@pytest.mark.parametrize(("n", "k", "m"), [(1, 1, 1), (1, 30, 3), (30, 1, 3), (2, 2, 2), (9, 9, 2), (40, 50, 1)])
def test_tiny_inputs(method, n, k, m):
    rng = np.random.default_rng(n + k + m)
    blend = blend_scores(rng.normal(size=(n, m)), rng.normal(size=(k, m)), method)
    assert np.isfinite(blend.scores).all()
    assert blend.weights.sum() == pytest.approx(1)
    assert blend.separation.low <= blend.separation.value <= blend.separation.high
    assert any("few reference images" in line for line in blend.guards)


def test_one_member_keeps_its_order():
    reference, test, _ = members()
    for method in BLIND:
        blend = blend_scores(reference[:, :1], test[:, :1], method)
        if method != "tail-mean":  # its p values saturate beyond the reference
            assert np.array_equal(np.argsort(blend.scores, kind="stable"), np.argsort(test[:, 0], kind="stable"))
            assert blend.separation.value == pytest.approx(separation(reference[:, 0], test[:, 0]).value)


def test_all_members_constant_gives_equal_scores():
    blend = blend_scores(np.ones((30, 3)), np.ones((40, 3)))
    assert np.ptp(blend.scores) == 0
    assert blend.weights == pytest.approx([1 / 3] * 3)


def test_duplicates_do_not_move_auto():
    reference, test, _ = members()
    plain = blend_scores(reference, test)
    twice = blend_scores(np.hstack([reference, reference[:, [4, 4, 4]]]), np.hstack([test, test[:, [4, 4, 4]]]))
    assert np.array_equal(np.argsort(plain.scores), np.argsort(twice.scores))
    assert twice.weights[[4, 8, 9, 10]] == pytest.approx([plain.weights[4] / 4] * 4, abs=1e-9)


def test_twenty_near_copies_do_not_outvote_a_good_member():
    reference, test, label = members()
    rng = np.random.default_rng(2)
    noise = 0.01 * reference[:, 7].std()
    bad = [column[:, [7]] + noise * rng.normal(size=(len(column), 20)) for column in (reference, test)]
    crowd = np.hstack([reference[:, [5]], bad[0]]), np.hstack([test[:, [5]], bad[1]])
    alone = auc(label, test[:, 5]).value
    assert reached(blend_scores(*crowd), label) > alone - 0.02
    assert reached(blend_scores(*crowd, "mean"), label) < alone - 0.2  # what `auto` has to avoid


@pytest.mark.parametrize("share", [0.4, 0.1])
def test_an_excellent_member_is_not_drowned(share):
    # The stand-in for an out-of-fold classifier: noise that knows the label; no real detector is that good here.
    reference, test, label = members(share)
    rng = np.random.default_rng(3)
    strong = rng.normal(size=len(reference)), rng.normal(size=len(test)) + 3.3 * label
    low, high = np.column_stack([reference[:, :5], strong[0]]), np.column_stack([test[:, :5], strong[1]])
    best = auc_many(label, high).value.max()
    assert best > 0.97
    assert reached(blend_scores(low, high), label) > best - 0.005
    assert reached(blend_scores(low, high, "mean"), label) < best - 0.01


@pytest.mark.parametrize("normal", [(0, 2, 3, 6), (1, 4, 7, 9), (3, 5, 8, 9)])
@pytest.mark.parametrize("share", [0.4, 0.1, 0.03])
def test_auto_is_never_much_worse_than_the_rank_mean(normal, share):
    reference, test, label = members(share, normal)
    auto, mean = (reached(blend_scores(reference, test, method), label) for method in ("auto", "mean"))
    assert auto > mean - 0.015


def test_separation_is_out_of_fold():
    # Thirty members of pure noise: the best of them separates by luck, a blend judged fairly does not.
    rng = np.random.default_rng(4)
    chance, lucky = [], []
    for _ in range(8):
        reference, test = rng.normal(size=(150, 30)), rng.normal(size=(150, 30))
        blend = blend_scores(reference, test, "pu-lda")
        chance.append(blend.separation.value)
        lucky.append(separation(blend.score(reference), blend.scores).value)
    assert np.mean(chance) == pytest.approx(0.5, abs=0.025)
    assert np.mean(lucky) > 0.56


def test_without_anomalies_auto_falls_back_and_says_so():
    reference, test, label = members()
    blend = blend_scores(reference, test[label == 0])
    assert "flat" in blend.method
    assert "fallback" in blend.explanation
    assert any("no separation" in line for line in blend.guards)


def test_more_separation_than_the_given_share_allows_fires_a_guard():
    reference, test, _ = members()
    assert any("allow" in line for line in blend_scores(reference, test, anomaly_share=0.05).guards)
    assert not any("allow" in line for line in blend_scores(reference, test, anomaly_share=0.6).guards)


def test_the_explanation_names_the_members_that_count():
    reference, test, _ = members()
    blend = blend_scores(reference, test, names=NAMES)
    assert NAMES[int(np.argmax(blend.weights))] in blend.explanation
    assert "without labels" in blend.explanation


def test_the_seed_decides():
    reference, test, _ = members()
    first, again, other = (blend_scores(reference, test, seed=seed).scores for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.corrcoef(first, other)[0, 1] > 0.98


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("method", ["mean", "median", "max", "top"])
def test_every_normaliser_goes_with_every_combiner(normaliser, method):
    reference, test, label = members()
    blend = blend_scores(reference, test, method, normaliser=normaliser)
    assert blend.normaliser == normaliser
    assert reached(blend, label) > 0.8
    assert {one.combiner for one in METHODS.values()} <= set(COMBINERS)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"method": "magic"}, UsageError, "known are auto, mean"),
        ({"method": "mean", "normaliser": "magic"}, UsageError, "known are rank"),
        ({"normaliser": "rank"}, UsageError, "chooses its normalisers"),
        ({"method": "given"}, UsageError, "needs weights"),
        ({"method": "labels"}, UsageError, "needs labels"),
        ({"method": "mean", "weights": np.ones(8)}, UsageError, "'given'"),
        ({"weights": np.ones(3)}, DataError, "3"),
        ({"weights": -np.ones(8)}, DataError, "at least 0"),
        ({"names": ["a"]}, DataError, "got 1 for 8"),
        ({"anomaly_share": 1.5}, UsageError, "1.5"),
        ({"test": np.ones((5, 3))}, DataError, "got 8 and 3"),
        ({"test": np.ones(5)}, DataError, "images x members"),
        ({"test": np.ones((0, 8))}, DataError, "empty"),
        ({"test": np.full((5, 8), "x")}, DataError, "numbers"),
    ],
)
def test_bad_calls_are_refused_in_one_line(change, error, words):
    reference, test, _ = members()
    with pytest.raises(error, match=words) as caught:
        blend_scores(**({"reference": reference, "test": test} | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_the_member(bad):
    reference, test, _ = (array.copy() for array in members())
    test[3, 5] = bad
    with pytest.raises(DataError, match="knn"):
        blend_scores(reference, test, names=NAMES)
    blend = blend_scores(reference, members()[1], names=NAMES)
    with pytest.raises(DataError, match="knn"):
        blend.score(test)
    with pytest.raises(DataError, match="8 members"):
        blend.score(test[:, :3])


def test_importing_the_blend_stays_light():
    heavy = "('torch', 'sklearn', 'pandas', 'scipy.stats')"
    code = f"import sys, ensemble_ad.blend; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("method", BLIND)
def test_the_rows_that_are_combined_at_a_time_change_no_digit(method, monkeypatch):
    reference, test, _ = members()
    whole = blend_scores(reference, test, method)
    monkeypatch.setattr("ensemble_ad.blend.result._BLOCK_NUMBERS", 40 * reference.shape[1])
    blocks = blend_scores(reference, test, method)
    np.testing.assert_array_equal(blocks.scores, whole.scores)
    np.testing.assert_array_equal(blocks.score(test), whole.score(test))
    assert blocks.separation == whole.separation


@pytest.fixture(scope="module")
def many_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of 200 members for 5,000 and 95,000 images, 80 MB, with labels: more rows than are ranked as float64."""
    rng = np.random.default_rng(0)
    label = rng.random(95_000) < 0.3
    # Columns lie together.
    reference, test = (rng.standard_normal((200, rows), dtype=np.float32).T for rows in (5_000, 95_000))
    test[label, :10] += 0.5
    return reference, test, label


def _peak(call: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["greedy", "median", "auto"])
def test_a_blend_of_many_images_makes_one_copy_of_the_scores(many_rows, method, monkeypatch):
    monkeypatch.setattr("ensemble_ad.blend.result._BLOCK_NUMBERS", 1 << 18)  # of the full size's share of memory
    reference, test, label = many_rows
    made = []
    peak = _peak(lambda: made.append(blend_scores(reference, test, method)))
    # With the scores themselves that is two copies. The work beside them grows with the members only, and a third copy
    # would be 80 MB more.
    work = 150e6 if method == "auto" else 60e6
    assert peak < reference.nbytes + test.nbytes + work
    # Of so many rows the frozen ranks are a grid, and an image by a threshold may fall to the other side of a tree.
    again = made[0].score(test[:1000])
    assert np.mean(np.abs(again - made[0].scores[:1000]) < 1e-2) > (0.95 if method == "auto" else 0.999)
    assert np.corrcoef(again, made[0].scores[:1000])[0, 1] > 0.999
    assert reached(made[0], label) > 0.55


@pytest.mark.slow
@pytest.mark.parametrize("judge", [statistics.auc_many, statistics.compare_to_best])
def test_aucs_of_many_images_make_no_copy_of_the_scores(many_rows, judge):
    _, test, label = many_rows
    assert _peak(lambda: judge(label, test)) < 0.6 * test.nbytes


@pytest.fixture(scope="module")
def shifted_tasks():
    """Real residuals of digits by PCA of three ranks; in the second test set every image carries an offset."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits = load_digits()
    normal, anomalous = digits.data[digits.target < 5], digits.data[digits.target >= 5]
    pcas = [PCA(rank, random_state=0).fit(normal[:400]) for rank in (4, 8, 16)]

    def scores(images):
        return np.stack(
            [np.linalg.norm(images - pca.inverse_transform(pca.transform(images)), axis=1) for pca in pcas], axis=1
        )

    test = scores(np.concatenate([normal[650:850], anomalous[:100]]))
    return scores(normal[400:650]), test, np.repeat([0, 1], [200, 100])


def test_members_that_see_every_test_image_are_left_out_and_named(shifted_tasks):
    reference, test, label = shifted_tasks
    shifted = test.copy()
    shifted[:, 1] += 30
    blend = blend_scores(reference, shifted, names=["a", "b", "c"])
    assert blend.weights[1] == 0
    assert any("left out" in line and "b" in line for line in blend.guards)
    assert not blend_scores(reference, test, names=["a", "b", "c"]).guards
    without = blend_scores(reference[:, [0, 2]], test[:, [0, 2]])
    assert auc(label, blend.scores).value == pytest.approx(auc(label, without.scores).value, abs=0.01)


def test_nothing_is_learnt_where_all_members_see_every_test_image(shifted_tasks):
    reference, test, _ = shifted_tasks
    blend = blend_scores(reference, test + 30)
    assert blend.method == "flat"
    assert any("flat mean stands alone" in line for line in blend.guards)
    assert "it is not used" in blend.explanation
    # The user knows better: then it is learnt.
    known = blend_scores(reference, test + 30, anomaly_share=0.999)
    assert "linear" in known.method
