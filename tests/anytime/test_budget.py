"""The time of a run."""

import signal
import time
from contextlib import suppress

import pytest

from ensemble_ad.anytime.budget import Budget
from ensemble_ad.search.signals import heed


def test_what_runs_too_long_is_interrupted():
    budget = Budget(seconds=0.5)
    with pytest.raises(KeyboardInterrupt), budget.within(0.3):
        time.sleep(5)
    assert budget.over
    assert budget.used < 2


def test_an_interrupt_that_something_has_swallowed_comes_again():
    budget = Budget(seconds=0.2)

    def careless():
        with suppress(KeyboardInterrupt):
            time.sleep(5)
        heed()

    with pytest.raises(KeyboardInterrupt), budget.within(0.0):
        careless()
    assert budget.used < 4
    heed()  # and then no more


def test_what_ends_in_time_is_left_alone():
    budget = Budget(seconds=1.0)
    with budget.within(0.0):
        pass
    assert not budget.over
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert 0 < budget.left < 1


def test_without_a_limit_nothing_is_interrupted():
    budget = Budget(seconds=None)
    with budget.within(5.0):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert budget.left == float("inf")


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_a_ctrl_c_is_not_taken_for_the_end_of_the_time():
    budget = Budget(seconds=60)
    with pytest.raises(KeyboardInterrupt), budget.within(0.0):
        signal.raise_signal(signal.SIGINT)
    assert not budget.over
