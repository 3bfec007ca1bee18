"""What the trials before tell of the next one's cost."""

from dataclasses import replace

import pytest

from ensemble_ad.anytime.budget import Budget
from ensemble_ad.anytime.cost import allowance, rates
from ensemble_ad.members.info import Seconds
from ensemble_ad.members.store import list_members


@pytest.fixture(scope="module")
def fcn(studies_folder):
    """A real member, with times and a recipe as a test wants them."""
    member = next(member for member in list_members(studies_folder)[0] if member.family == "fcn")

    def told(train, score, **recipe):
        info = member.info
        seconds = Seconds(train=train, score=score)
        return replace(member, info=replace(info, seconds=seconds, recipe=replace(info.recipe, size=10, **recipe)))

    return told


def test_an_epoch_and_the_scoring_are_told_apart(fcn):
    by_steps, closed = rates([fcn(8.0, 2.0, epochs=20, subset=None)] * 3 + [fcn(4.0, 2.0, epochs=20, subset=50)], 100)
    assert by_steps == pytest.approx((0.08, 0.02)), "half of the images take half of the training, not of the scoring"
    assert closed is None


def test_a_closed_form_tells_nothing_of_networks(fcn):
    by_steps, closed = rates([fcn(8.0, 2.0, epochs=1, subset=None)], 100)
    assert by_steps is None
    assert closed == pytest.approx((0.08, 0.02))


def test_a_trial_may_take_no_large_part_of_a_long_time():
    found = allowance(Budget(seconds=1800), 1500, 10, (None, None))
    assert found is not None
    assert (found.seconds, found.left) == (225, 1500)
    assert allowance(Budget(seconds=100), 50, 10, (None, None)).seconds == pytest.approx(45)
    assert allowance(Budget(seconds=None), float("inf"), 10, (None, None)) is None
