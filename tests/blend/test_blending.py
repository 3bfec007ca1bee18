"""Blends of real detectors on scikit-learn's digits: what holds of every method, whatever the members."""

import subprocess
import sys

import numpy as np
import pytest

from ensemble_ad.blend import COMBINERS, METHODS, NORMALISERS, Blend, blend_scores, method_names
from ensemble_ad.errors import UsageError
from ensemble_ad.statistics import auc, separation

BLIND = [name for name in method_names() if name not in ("given", "labels")]
RANKED = [name for name in BLIND if name != "tail-mean"]


def reached(blend: Blend, label: np.ndarray) -> float:
    return auc(label, blend.scores).value


@pytest.mark.parametrize("method", BLIND)
def test_every_method_keeps_the_contract(members, names, method):
    reference, test, label = members()
    blend = blend_scores(reference, test, method, names=names)
    assert blend.scores.shape == (len(test),)
    assert np.isfinite(blend.scores).all()
    assert blend.weights.shape == (len(names),)
    assert (blend.weights >= 0).all()
    assert blend.weights.sum() == pytest.approx(1)
    assert blend.method == method or method == "auto"
    assert len(blend.explanation) > 60
    assert 0.5 < blend.separation.value < 0.5 + 0.5 * 0.7
    assert reached(blend, label) > 0.8


@pytest.mark.parametrize("method", BLIND)
def test_permuting_images_permutes_scores(members, method):
    reference, test, _ = members()
    order = np.random.default_rng(1).permutation(len(test))
    plain, mixed = blend_scores(reference, test, method), blend_scores(reference, test[order], method)
    if method in ("auto", "greedy-bagged", "pu-logistic"):  # these draw images by position
        assert np.corrcoef(mixed.scores, plain.scores[order])[0, 1] > 0.98
    else:
        assert mixed.scores == pytest.approx(plain.scores[order], abs=1e-9)


@pytest.mark.parametrize("method", RANKED)
def test_rank_blends_do_not_see_a_monotone_transform(members, method):
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


def test_given_weights_are_used(members):
    reference, test, _ = members()
    only = np.zeros(8)
    only[5] = 3.0
    blend = blend_scores(reference, test, weights=only)
    assert blend.method == "given"
    assert blend.weights.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert np.array_equal(np.argsort(blend.scores), np.argsort(test[:, 5], kind="stable"))


def test_labels_are_used_where_named_and_nowhere_else(members):
    reference, test, label = members()
    seen = blend_scores(reference, test, "labels", label=label)
    assert reached(seen, label) >= reached(blend_scores(reference, test, "mean"), label)
    upside_down = blend_scores(reference, test, "labels", label=1 - label)
    assert not np.allclose(seen.weights, upside_down.weights)
    with pytest.raises(UsageError, match="nothing else may see"):
        blend_scores(reference, test, "auto", label=label)


@pytest.mark.parametrize("method", BLIND)
def test_broken_members_do_not_break_a_blend(members, method):
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


def test_one_member_keeps_its_order(members):
    reference, test, _ = members()
    for method in BLIND:
        blend = blend_scores(reference[:, :1], test[:, :1], method)
        if method not in ("tail-mean", "prior"):  # p values saturate beyond the reference
            assert np.array_equal(np.argsort(blend.scores, kind="stable"), np.argsort(test[:, 0], kind="stable"))
            assert blend.separation.value == pytest.approx(separation(reference[:, 0], test[:, 0]).value)


def test_all_members_constant_gives_equal_scores():
    blend = blend_scores(np.ones((30, 3)), np.ones((40, 3)))
    assert np.ptp(blend.scores) == 0
    assert blend.weights == pytest.approx([1 / 3] * 3)


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


def test_the_seed_decides(members):
    reference, test, _ = members()
    first, again, other = (blend_scores(reference, test, seed=seed).scores for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.corrcoef(first, other)[0, 1] > 0.98


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("method", ["mean", "median", "max", "top"])
def test_every_normaliser_goes_with_every_combiner(members, normaliser, method):
    reference, test, label = members()
    blend = blend_scores(reference, test, method, normaliser=normaliser)
    assert blend.normaliser == normaliser
    assert reached(blend, label) > 0.8
    assert {one.combiner for one in METHODS.values()} <= set(COMBINERS)


def test_importing_the_blend_stays_light():
    heavy = "('torch', 'sklearn', 'pandas', 'scipy.stats')"
    code = f"import sys, ensemble_ad.blend; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def many_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of 100 members for 5,000 and 95,000 images, 40 MB, with labels: more rows than are ranked as float64."""
    rng = np.random.default_rng(0)
    label = rng.random(95_000) < 0.3
    # Columns lie together.
    reference, test = (rng.standard_normal((100, rows), dtype=np.float32).T for rows in (5_000, 95_000))
    test[label, :10] += 0.5
    return reference, test, label


@pytest.mark.slow
@pytest.mark.parametrize("method", ["greedy", "median", "auto"])
def test_a_blend_of_many_images_makes_one_copy_of_the_scores(many_rows, peak_bytes, method, monkeypatch):
    monkeypatch.setattr("ensemble_ad.blend.rule._BLOCK_NUMBERS", 1 << 18)  # of the full size's share of memory
    reference, test, label = many_rows
    made = []
    peak = peak_bytes(lambda: made.append(blend_scores(reference, test, method)))
    # With the scores themselves that is two copies. The work beside them grows with the members only, and a third copy
    # would be 40 MB more.
    work = 90e6 if method == "auto" else 60e6
    assert peak < reference.nbytes + test.nbytes + work
    # Of so many rows the frozen ranks are a grid, and an image by a threshold may fall to the other side of a tree.
    again = made[0].score(test[:1000])
    assert np.mean(np.abs(again - made[0].scores[:1000]) < 1e-2) > (0.95 if method == "auto" else 0.999)
    assert np.corrcoef(again, made[0].scores[:1000])[0, 1] > 0.999
    assert reached(made[0], label) > 0.55
