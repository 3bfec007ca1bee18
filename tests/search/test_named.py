"""The families that a command is asked for."""

import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.search.named import named_families, studies_of
from ensemble_ad.search.plan import TuneSettings


def test_all_families_are_those_that_fit(dataset):
    said: list[str] = []
    each = studies_of(dataset, TuneSettings(family="", size=18), "all", said.append)
    assert {"fcn", "inpaint", "pca"} <= {own.family for own in each}
    found = dict(line.split(" is left out: ") for line in said)
    assert len(found) == len(said)
    assert found["cnn"].startswith("cnn takes images whose sides are multiples of 8")
    assert "--transductive" in found["contrast"]
    with pytest.raises(UsageError, match="cnn takes images whose sides"):
        studies_of(dataset, TuneSettings(family="", size=18), "fcn,cnn", said.append)


def test_a_family_that_is_named_twice_is_tuned_once():
    assert named_families("pca, fcn,pca") == ("pca", "fcn")
