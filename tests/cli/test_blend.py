"""`ensad blend`: its help lists what there is, though it imports none of it, and it prints the weights."""

import io

import pandas as pd
import pytest

from ensemble_ad.blend import method_names


def test_blend_prints_the_weight_of_each_column_that_sums_to_1(run_ensad, studies):
    result = run_ensad("blend", "--members", "fcn:1,resnet:1", "--weights", "3,1", "-q")
    table = pd.read_csv(io.StringIO(result.stdout), sep="\t")
    assert list(table.columns) == ["column", "weight"]
    families = table["column"].str.partition("-")[0]
    assert table["weight"].groupby(families).sum().to_dict() == pytest.approx({"fcn": 0.75, "resnet": 0.25}, abs=2e-4)
    assert "logit" in set(table["column"].str.partition("/")[2])


def test_every_method_that_needs_no_more_than_its_name_is_in_the_help(run_ensad):
    text = run_ensad("blend", "--help").stdout
    for name in set(method_names()) - {"given", "labels"}:
        assert name in text, name
