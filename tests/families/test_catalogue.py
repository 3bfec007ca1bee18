"""The catalogue's ranges, as text."""

from ensemble_ad.families.catalogue import training_space
from ensemble_ad.families.ranges import SearchRanges


def test_the_listed_ranges_say_how_they_are_drawn():
    listed = training_space(SearchRanges(), 20)
    assert listed["crop"] == "0.4375 to 1 by 0.0625"
    assert listed["learning_rate"] == "0.0002 to 0.005 (log)"
    assert listed["epochs"] == "5 to 20"
