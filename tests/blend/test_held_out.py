"""The scores that a threshold comes from are computed once for a blend, and whenever what is kept is not theirs."""

import dataclasses

import numpy as np
import pytest

from ensemble_ad.blend import held_out
from ensemble_ad.blend.columns import reference_scores, stacked
from ensemble_ad.blend.held_out import held_out_scores
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.members.store import load_member


@pytest.fixture
def asked(studies):
    """What `held_out_scores` is asked with, of the blend `both`."""
    blend = load_blend(studies, "both")
    return studies, blend, list(blend.weights), [load_member(studies, key) for key in blend.info.members]


def test_scores_are_kept_and_found_again(asked, monkeypatch):
    _, blend, names, members = asked
    wanted = np.sort(reference_scores(blend.info, stacked(names, members)))
    np.testing.assert_array_equal(held_out_scores(*asked), wanted)
    monkeypatch.setattr(held_out, "reference_scores", None)  # not asked again
    np.testing.assert_array_equal(held_out_scores(*asked), wanted)


def test_what_is_kept_of_another_rule_is_not_taken(asked):
    studies, blend, names, members = asked
    before = held_out_scores(*asked)
    rarer = dataclasses.replace(blend, info=dataclasses.replace(blend.info, asked_method="mean"))
    assert not np.array_equal(held_out_scores(studies, rarer, names, members), before)


def test_a_damaged_or_unwritable_file_is_no_hindrance(asked):
    studies, *_ = asked
    wanted = held_out_scores(*asked)
    (kept,) = (studies / "preprocessed").glob("held-out-*")
    kept.write_bytes(kept.read_bytes()[:-40])
    np.testing.assert_array_equal(held_out_scores(*asked), wanted)
    kept.unlink()
    kept.mkdir()
    np.testing.assert_array_equal(held_out_scores(*asked), wanted)
