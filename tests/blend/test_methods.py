"""The table of methods."""

import pytest

from ensemble_ad.blend import COMBINERS, METHODS, NORMALISERS, WEIGHERS


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_is_made_of_parts_that_exist(method):
    assert method.normaliser in NORMALISERS
    assert method.weigher in WEIGHERS
    assert method.combiner in COMBINERS


def test_every_weigher_and_every_combiner_has_a_method():
    assert {method.weigher for method in METHODS.values()} == set(WEIGHERS)
    assert {method.combiner for method in METHODS.values()} == set(COMBINERS)
