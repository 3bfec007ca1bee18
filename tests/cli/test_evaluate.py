"""`ensad evaluate`."""

import io

import pandas as pd


def test_evaluating_one_blend_keeps_what_was_found_of_the_others(run_ensad, data, studies):
    run_ensad("evaluate", "-q")
    before = pd.read_csv(io.StringIO(run_ensad("compare", "--format", "csv").stdout), index_col="name")["auc"]
    run_ensad("blend", "-q", "--members", "fcn:1", "--name", "other")
    run_ensad("evaluate", "-q", "--blend", "other")
    after = pd.read_csv(io.StringIO(run_ensad("compare", "--format", "csv").stdout), index_col="name")["auc"]
    assert before.notna().all()
    pd.testing.assert_series_equal(after.drop("other").sort_index(), before.sort_index())
    assert 0 <= after["other"] <= 1
