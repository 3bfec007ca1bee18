"""Transductive networks: none has seen what it judges."""

import torch

from ensemble_ad.families.contrast import ContrastArchitecture
from ensemble_ad.training import cross_fitted
from ensemble_ad.training.cross_fitted import deal
from ensemble_ad.training.settings import TrainSettings

SHAPE = (1, 32, 32)


def cross_fitted_on(architecture, digits, test, folds):
    rows, settings = torch.arange(80), TrainSettings(epochs=2, batch_size=32)
    return cross_fitted.train(lambda: architecture.build(SHAPE), digits, rows, test, folds, settings).eval()


def networks(model):
    """The weights of each network of a contrast model."""
    return [
        {**model.features[number].state_dict(), **model.heads[number].state_dict()} for number in range(model.folds)
    ]


def unlike(one, other):
    return any(not torch.equal(one[name], other[name]) for name in one)


def test_a_network_has_not_seen_the_fold_that_it_judges(digits):
    architecture, test = ContrastArchitecture(width=8, stages=2, folds=3), digits[80:]
    folds = deal(40, len(test), 3, 0, digits.device)
    before = networks(cross_fitted_on(architecture, digits, test, folds))
    for number in range(3):
        spoilt = torch.where((folds.test == number)[:, None, None, None], 255 - test, test)
        after = networks(cross_fitted_on(architecture, digits, spoilt, folds))
        assert [unlike(one, other) for one, other in zip(before, after, strict=True)] == [i != number for i in range(3)]
    # Nor has any seen a normal image that is not named.
    spoilt = torch.cat([digits[:80], 255 - digits[80:]])
    after = networks(cross_fitted_on(architecture, spoilt, test, folds))
    assert not any(unlike(one, other) for one, other in zip(before, after, strict=True))


def test_folds_are_equal_parts_that_the_seed_deals():
    folds = deal(101, 203, 5, 7, torch.device("cpu"))
    for dealt, n in ((folds.reference, 101), (folds.test, 203)):
        sizes = torch.bincount(dealt, minlength=5)
        assert sizes.sum() == n
        assert sizes.max() - sizes.min() <= 1
    again, other = (deal(101, 203, 5, seed, torch.device("cpu")) for seed in (7, 8))
    assert torch.equal(folds.test, again.test)
    assert torch.equal(folds.reference, again.reference)
    assert not torch.equal(folds.test, other.test)
