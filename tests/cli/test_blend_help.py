"""The help of `ensad blend` lists what there is, though it imports none of it."""

from ensemble_ad.blend import method_names


def test_every_method_that_needs_no_more_than_its_name_is_in_the_help(run_ensad):
    text = run_ensad("blend", "--help").stdout
    for name in set(method_names()) - {"given", "labels"}:
        assert name in text, name
