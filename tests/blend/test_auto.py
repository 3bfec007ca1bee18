"""What `auto` promises: it is cautious, and finds what is worth finding."""

import numpy as np
import pytest

from ensemble_ad.blend import Blend, auto, blend_scores
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.statistics import auc, auc_many


def reached(blend: Blend, label: np.ndarray) -> float:
    return auc(label, blend.scores).value


def test_duplicates_do_not_move_auto(members):
    reference, test, _ = members()
    plain = blend_scores(reference, test)
    twice = blend_scores(np.hstack([reference, reference[:, [4, 4, 4]]]), np.hstack([test, test[:, [4, 4, 4]]]))
    assert np.array_equal(np.argsort(plain.scores), np.argsort(twice.scores))
    assert twice.weights[[4, 8, 9, 10]] == pytest.approx([plain.weights[4] / 4] * 4, abs=1e-9)


def test_twenty_near_copies_do_not_outvote_a_good_member(members):
    reference, test, label = members()
    rng = np.random.default_rng(2)
    noise = 0.01 * reference[:, 7].std()
    bad = [column[:, [7]] + noise * rng.normal(size=(len(column), 20)) for column in (reference, test)]
    crowd = np.hstack([reference[:, [5]], bad[0]]), np.hstack([test[:, [5]], bad[1]])
    alone = auc(label, test[:, 5]).value
    assert reached(blend_scores(*crowd), label) > alone - 0.02
    assert reached(blend_scores(*crowd, "mean"), label) < alone - 0.2  # what `auto` has to avoid


@pytest.mark.parametrize("share", [0.4, 0.1])
def test_an_excellent_member_is_not_drowned(members, share):
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
def test_auto_is_never_much_worse_than_the_rank_mean(members, normal, share):
    reference, test, label = members(share, normal)
    auto, mean = (reached(blend_scores(reference, test, method), label) for method in ("auto", "mean"))
    assert auto > mean - 0.015


def test_without_anomalies_auto_falls_back_and_says_so(members):
    reference, test, label = members()
    blend = blend_scores(reference, test[label == 0])
    assert "prior" in blend.method
    assert "the prior" in blend.explanation
    assert any("no separation" in line for line in blend.guards)


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
    assert blend.method == "prior"
    assert any("prior stands alone" in line for line in blend.guards)
    assert "it is not used" in blend.explanation
    # The user knows better: then it is learnt.
    known = blend_scores(reference, test + 30, anomaly_share=0.999)
    assert "linear" in known.method


@pytest.fixture
def told():
    """Real residuals of digits by PCA of six ranks, and a last member that tells half of the test images, whatever they
    show, from all others, as one does that was trained on them.

    (reference, test, pseudo-anomalies by kind, label).
    """
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits, rng = load_digits(), np.random.default_rng(4)
    normal = np.random.default_rng(0).permutation(digits.data[digits.target < 7])
    train, reference, rest = np.split(normal, [150, 700])
    test = np.concatenate([rest, digits.data[digits.target >= 7][:150]])
    pcas = [PCA(rank, random_state=0).fit(train) for rank in (2, 4, 8, 12, 16, 24)]

    def scores(images, offset=0.0):
        errors = [((images - pca.inverse_transform(pca.transform(images))) ** 2).sum(1) for pca in pcas]
        return np.column_stack([*errors, rng.normal(size=len(images)) + offset])

    pictures = reference.reshape(-1, 8, 8)
    mixed = np.where(np.arange(8) < 4, pictures, pictures[::-1])
    damaged = {"rolled": np.roll(pictures, 2, 1), "mirrored": pictures[:, ::-1], "mixed": mixed}
    half = 4.0 * (rng.random(len(test)) < 0.5)
    pseudo = {kind: scores(each.reshape(-1, 64)) for kind, each in damaged.items()}
    return scores(reference), scores(test, half), pseudo, np.repeat([0, 1], [len(rest), 150])


def test_a_member_that_alone_tells_test_images_from_others_is_left_out_and_named(told, monkeypatch):
    reference, test, pseudo, label = told
    others = {kind: each[:, :-1] for kind, each in pseudo.items()}
    without = reached(blend_scores(reference[:, :-1], test[:, :-1], pseudo=others), label)
    blend = blend_scores(reference, test, names=[*"abcdef", "told"], pseudo=pseudo)
    assert blend.weights[-1] == 0
    assert any("far more than the others" in line and line.endswith("told") for line in blend.guards)
    assert reached(blend, label) > without - 0.005
    monkeypatch.setattr(auto, "_MOST_DISOWNED", 0)
    alone = blend_scores(reference, test, pseudo=pseudo)
    assert alone.method == "prior"
    assert reached(alone, label) < reached(blend, label) - 0.01


def test_members_that_together_tell_too_many_test_images_from_others_are_left_out(told):
    reference, test, pseudo, label = told
    rng = np.random.default_rng(1)
    # Each by itself is plausible: it tells 45% of the test images from others. But each tells another 45%.
    offsets = 4.0 * (rng.random((len(test), 3)) < 0.45)

    def with_three(images, moved=0.0):
        return np.column_stack([images[:, :-1], rng.normal(size=(len(images), 3)) + moved])

    others = {kind: each[:, :-1] for kind, each in pseudo.items()}
    without = reached(blend_scores(reference[:, :-1], test[:, :-1], pseudo=others), label)
    damaged = {kind: with_three(each) for kind, each in pseudo.items()}
    blend = blend_scores(with_three(reference), with_three(test, offsets), pseudo=damaged)
    assert blend.method != "prior"
    assert reached(blend, label) > without - 0.005


def test_no_member_is_left_out_for_that_where_the_share_is_known(told):
    reference, test, pseudo, _ = told
    blend = blend_scores(reference, test, anomaly_share=0.5, pseudo=pseudo)
    assert not any("far more than the others" in line for line in blend.guards)


@pytest.fixture(scope="module")
def blocks():
    """What PCA leaves over of real digits, a member a block of four pixels and a member the whole: 34 of them.

    Scores of 400 normal images, of 200 anomalies, and of pseudo-anomalies by kind.
    """
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits = load_digits()
    normal = np.random.default_rng(0).permutation(digits.data[digits.target < 5])
    train, rest = normal[:450], normal[450:850]
    pcas = [PCA(rank, random_state=0).fit(train) for rank in (5, 15)]

    def scores(images):
        left = [(images - pca.inverse_transform(pca.transform(images))) ** 2 for pca in pcas]
        parts = [each.reshape(-1, 4, 2, 4, 2).sum((2, 4)).reshape(-1, 16) for each in left]
        return np.column_stack([*parts, *(each.sum(1) for each in left)])

    pictures = rest.reshape(-1, 8, 8)
    damaged = {"rolled": np.roll(pictures, 2, 1), "mirrored": pictures[:, ::-1], "shifted": np.roll(pictures, 2, 2)}
    pseudo = {kind: scores(each.reshape(-1, 64)) for kind, each in damaged.items()}
    return scores(rest), scores(digits.data[digits.target >= 5][:200]), pseudo


def test_nothing_is_learnt_where_test_and_reference_are_images_of_one_kind(blocks):
    normal, _, pseudo = blocks
    learnt = {None: [], "seen": []}
    for seed in range(10):
        rows = np.random.default_rng(seed).permutation(len(normal))
        reference, test = normal[rows[:150]], normal[rows[150:]]
        for known, seen in ((None, None), ("seen", SeenDefects.of(reference, pseudo))):
            learnt[known].append(auto.fit_auto(reference, test, seen=seen).learnt)
    # Thirty-odd members tell some of these images apart, by chance: what the regression sees in its own images is that.
    assert np.mean(learnt[None]) < 0.2
    assert np.mean(learnt["seen"]) < 0.1


def test_a_share_that_separation_has_no_room_for_is_not_learnt_where_members_are_judged(blocks):
    normal, pseudo = blocks[0][:, :12], {kind: scores[:, :12] for kind, scores in blocks[2].items()}
    learnt = []
    for seed in range(40):
        rows = np.random.default_rng(seed).permutation(len(normal))
        reference, test = normal[rows[:150]], normal[rows[150:]]
        learnt.append(auto.fit_auto(reference, test, seen=SeenDefects.of(reference, pseudo)).learnt or 0.0)
    # In some splits few test images score lowest, so that a third of them pass for anomalies, with an AUC near 0.6.
    assert np.mean(learnt) < 0.03


@pytest.mark.parametrize("n_anomalies", [3, 13, 100])
def test_few_anomalies_do_not_take_auto_below_what_pseudo_anomalies_tell(blocks, n_anomalies):
    normal, odd, pseudo = blocks
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows, some = rng.permutation(len(normal)), rng.permutation(len(odd))[:n_anomalies]
        reference, test = normal[rows[:150]], np.concatenate([normal[rows[150:]], odd[some]])
        label = np.repeat([0, 1], [len(test) - n_anomalies, n_anomalies])
        seen = SeenDefects.of(reference, pseudo)
        alone = auto.fit_auto(reference, test, seen=seen, anomaly_share=1e-9).test
        found.append([auc(label, each).value for each in (auto.fit_auto(reference, test, seen=seen).test, alone)])
    blend, prior = np.mean(found, axis=0)
    assert blend > prior - 0.01


@pytest.mark.parametrize(("n_anomalies", "learns"), [(13, False), (150, True)])
def test_a_member_that_nothing_judged_beforehand_does_not_vouch_for_anomalies_alone(blocks, n_anomalies, learns):
    normal, odd, pseudo = blocks
    reference, test = normal[:150], np.concatenate([normal[150:], odd[:n_anomalies]])
    rng = np.random.default_rng(0)
    # As one that was trained on these very test images: it tells a third of them, whatever they show, from the others.
    of_test = rng.normal(size=len(test)) + 3.0 * (rng.random(len(test)) < 0.33)
    seen = SeenDefects.of(reference, pseudo)
    both = np.column_stack([reference, rng.normal(size=150)]), np.column_stack([test, of_test])
    lacking = {kind: np.column_stack([each, np.full(len(each), np.nan)]) for kind, each in pseudo.items()}
    unjudged = SeenDefects.of(both[0], lacking)
    alone, with_it = auto.fit_auto(reference, test, seen=seen), auto.fit_auto(*both, seen=unjudged)
    assert with_it.left_out is not None
    assert not with_it.left_out.any()  # it is plausible by itself
    assert with_it.learnt == pytest.approx(alone.learnt)
    assert (alone.learnt == 1) == learns


@pytest.mark.parametrize("by_pseudo", [True, False])
def test_what_is_trained_on_test_images_with_few_anomalies_does_not_drown_the_others(blocks, by_pseudo):
    normal, odd = (scores[:, -2:] for scores in blocks[:2])
    pseudo = {kind: scores[:, -2:] for kind, scores in blocks[2].items()}
    found = {"alone": [], "told": [], "untold": []}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rows, some = rng.permutation(len(normal)), rng.permutation(len(odd))[:13]
        reference, test = normal[rows[:150]], np.concatenate([normal[rows[150:]], odd[some]])
        label = np.repeat([0, 1], [len(test) - 13, 13])
        # Five that were trained on these images: each its own noise, the test images a little above the others.
        low, high = rng.normal(size=(150, 5)), rng.normal(0.1, 1, size=(len(test), 5))
        lacking = {
            kind: np.column_stack([scores, np.full((len(scores), 5), np.nan)]) for kind, scores in pseudo.items()
        }
        both = np.column_stack([reference, low]), np.column_stack([test, high])
        of_test = np.arange(7) >= 2
        known, more = (pseudo, lacking) if by_pseudo else ({}, {})
        alone, untold = blend_scores(reference, test, pseudo=known), blend_scores(*both, pseudo=more)
        told = blend_scores(*both, pseudo=more, transductive=of_test)
        for name, made in (("alone", alone), ("told", told), ("untold", untold)):
            found[name].append(auc(label, made.scores).value)
    means = {name: np.mean(values) for name, values in found.items()}
    assert means["told"] > means["alone"] - 0.02
    assert means["told"] > means["untold"] + 0.05


def test_what_is_learnt_of_what_was_trained_on_the_test_images_counts(blocks):
    normal, odd, _ = blocks
    reference, test = normal[:150], np.concatenate([normal[150:], odd[:150]])
    label = np.repeat([0, 1], [len(test) - 150, 150])
    rng = np.random.default_rng(0)
    strong = np.append(rng.normal(size=150), rng.normal(size=len(test)) + 2.5 * label)
    both = np.column_stack([reference, strong[:150]]), np.column_stack([test, strong[150:]])
    made = blend_scores(*both, transductive=np.arange(both[0].shape[1]) == reference.shape[1])
    assert made.weights[-1] > 0.1
    assert auc(label, made.scores).value > auc(label, blend_scores(reference, test).scores).value
