"""The guards of `auto`: pure functions of what finished trials say."""

from dataclasses import replace

import numpy as np
import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.members.auto_objective import Circumstances, Finished, first_objective, guard

PLENTY = Circumstances(reference_rows=1000, test_rows=3000, anomaly_share=None)


def trial(separation, synthetic, *, share=0.3, least=0.2, implausible=()):
    return Finished(
        separation=separation,
        standard_error=0.01,
        share=share,
        least_share=least,
        implausible=implausible,
        kinds={"blur": synthetic, "occlusion": synthetic},
    )


AGREEING = [trial(0.6 + i / 100, 0.7 + i / 100) for i in range(10)]


def test_auto_begins_with_separation_where_nothing_speaks_against_it():
    assert first_objective(PLENTY) == ("separation", "")
    assert guard(AGREEING, PLENTY) == ""


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        ({"reference_rows": 149}, "both", "only 149 normal images"),
        ({"anomaly_share": 0.05}, "both", r"with 5\.0% anomalies"),
        ({"test_rows": 0}, "synthetic", "no test images"),
    ],
    ids=str,
)
def test_what_is_known_before_a_trial_can_speak_against_separation(change, name, reason):
    import re

    found, why = first_objective(replace(PLENTY, **change))
    assert found == name
    assert re.search(reason, why)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        replace(PLENTY, anomaly_share=share)


def test_more_anomalies_than_are_likely_move_a_study():
    sure = [*AGREEING, trial(0.9, 0.85)]
    assert "speak of 77% anomalies or more" in guard(sure, PLENTY)
    assert "62% anomalies or more" in guard([*AGREEING, trial(0.75, 0.85, least=0.62)], PLENTY)
    # Within its error of what 60% allow.
    assert guard([*AGREEING, trial(0.81, 0.85)], PLENTY) == ""


def test_more_anomalies_than_the_user_said_move_a_study():
    known = replace(PLENTY, anomaly_share=0.15)
    assert "beyond the share that was given (15%)" in guard(AGREEING, known)
    assert guard(AGREEING, replace(PLENTY, anomaly_share=0.4)) == ""


def test_few_anomalies_move_a_study():
    few = [replace(each, share=0.04, least_share=0.0) for each in AGREEING]
    assert "speak of 4% anomalies" in guard(few, PLENTY)


def test_disagreement_moves_a_study_once_there_are_enough_trials():
    against = [trial(0.6 + i / 100, 0.9 - i / 100) for i in range(8)]
    assert "rank correlation -1.00" in guard(against, PLENTY)
    assert guard(against[:7], PLENTY) == ""
    rng = np.random.default_rng(0)
    unrelated = [trial(0.6 + a, 0.7 + b) for a, b in rng.uniform(0, 0.1, (8, 2))]
    assert guard(unrelated, PLENTY) == ""


def test_a_few_trials_say_nothing_yet():
    assert guard([trial(0.95, 0.9)] * 4, PLENTY) == ""
    assert guard([trial(0.95, 0.9)] * 5, PLENTY) != ""


def test_kinds_of_error_that_see_too_many_anomalies_move_a_study():
    seeing = [replace(each, implausible=("gradient",)) for each in AGREEING]
    assert guard([*seeing[:1], *AGREEING[1:]], PLENTY) == ""
    reason = guard([*seeing[:2], *AGREEING[2:]], PLENTY)
    assert "2 of 10 trials have kinds of error (gradient)" in reason
    assert "--objective synthetic" in reason
