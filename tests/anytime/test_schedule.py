"""Which family a run trains next."""

from dataclasses import replace

import numpy as np
import pytest

from ensemble_ad.anytime.portfolio import PORTFOLIO, Entry, portfolio
from ensemble_ad.anytime.record import Done
from ensemble_ad.anytime.schedule import Next, choose, expected_seconds, gain_rates
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES

ENTRIES = (Entry("pca", 2), Entry("fcn", 10), Entry("pca", 2))


def _trial(family, gain, seconds):
    return Done(family=family, gain=gain, seconds=seconds)


FIRST = _trial("pca", 0.3, 1)


def _choices(done, kept, left=1e9):
    chosen = choose(ENTRIES, done, kept, left)
    return None if chosen is None else chosen.family


def test_the_portfolio_comes_first_in_its_order():
    assert _choices([], {}) == "pca"
    assert _choices([Done(family="pca", gain=0.1, seconds=1)], {"pca": 1}) == "fcn"
    assert _choices([Done(family="pca", gain=0.1, seconds=1)], {"pca": 1, "fcn": 4}) == "pca"


def test_after_the_portfolio_comes_what_gains_most_a_second():
    done = [FIRST, _trial("pca", 0.02, 1), _trial("fcn", 0.04, 10)]
    assert _choices(done, {"pca": 2, "fcn": 1}) == "pca"
    done = [FIRST, _trial("pca", 0.002, 1), _trial("fcn", 0.04, 2)]
    assert _choices(done, {"pca": 2, "fcn": 1}) == "fcn"


def test_a_family_that_has_no_more_to_give_is_left():
    done = [FIRST, _trial("fcn", 0.05, 4), _trial("pca", 0.01, 4)]
    assert _choices(done, {"pca": 2, "fcn": 1}) == "fcn"
    done += [_trial("fcn", 0.0, 4)] * 6
    assert _choices(done, {"pca": 2, "fcn": 7}) == "pca"


def test_every_family_is_tried_again_in_the_end():
    done = [FIRST, _trial("fcn", 0.05, 1), _trial("pca", 0.0, 1)]
    chosen = []
    for _ in range(40):
        name = _choices(done, {"pca": 9, "fcn": 9})
        chosen.append(name)
        done.append(_trial(name, 0.004 if name == "fcn" else 0.0, 1))
    assert chosen.count("fcn") > chosen.count("pca") > 0


def test_the_family_that_gained_first_does_not_keep_the_time_where_others_have_lost():
    done = [FIRST, _trial("fcn", 0.005, 10), *[_trial("pca", -0.001, 10)] * 6]
    for _ in range(30):
        done.append(_trial(_choices(done, {"pca": 9, "fcn": 9}), 0.0, 10))
    assert done[8].family == "fcn"
    assert [trial.family for trial in done[-10:]].count("pca") >= 4


def test_what_the_first_blend_has_over_chance_is_no_gain():
    done = [_trial("fcn", 0.3, 1), _trial("pca", 0.001, 1)]
    assert _choices(done, {"pca": 2, "fcn": 1}) == "pca"


@pytest.mark.parametrize("wobble", [0.0, 0.001])
@pytest.mark.parametrize(("pca", "counted"), [(6, 6), (4, 4), (1, 2.75)])
def test_where_nothing_gains_all_families_get_the_same_time(wobble, pca, counted):
    rng = np.random.default_rng(0)
    costs, trials = {"pca": pca, "fcn": 10}, dict.fromkeys(("pca", "fcn"), 0)
    done = [replace(FIRST, seconds=pca), _trial("fcn", 0.0, 10)]
    for _ in range(300):
        name = _choices(done, {"pca": 9, "fcn": 9})
        trials[name] += 1
        done.append(_trial(name, wobble * rng.standard_normal(), costs[name]))
    # That trials are cheap gives a family no more time, and no dozens of them: each counts as half a usual one.
    assert 0.5 < trials["pca"] * counted / (trials["fcn"] * 10) < 2


def test_a_trial_that_does_not_fit_is_not_started():
    done = [Done(family="pca", gain=0.1, seconds=4)]
    assert expected_seconds(ENTRIES, done) == {"pca": 4, "fcn": 20}
    assert _choices(done, {"pca": 1}, left=5) == "fcn", "on a quarter of its epochs"
    assert _choices(done, {"pca": 1}, left=4) == "pca"
    assert _choices(done, {"pca": 1}, left=0.9) is None
    assert _choices([], {}, left=0.1) == "pca", "what nobody has timed is tried"


def test_what_is_left_is_not_filled_with_trials_that_take_no_time():
    done, left = [FIRST, _trial("fcn", 0.0, 20), _trial("pca", 0.0, 0.2)], 4.0
    while (name := _choices(done, {"pca": 9, "fcn": 9}, left)) is not None:
        assert name == "pca"
        done.append(_trial(name, 0.0, 0.2))
        left -= 0.2
    assert 3 < len(done) < 12
    assert left > 1


def test_what_gained_much_and_does_not_fit_leaves_its_time_to_others():
    done = [FIRST, _trial("pca", 0.001, 4), _trial("fcn", 0.05, 40), _trial("vae", 0.001, 4)]
    entries = (*ENTRIES, Entry("vae", 4))
    assert choose(entries, done, {"pca": 9, "fcn": 9, "vae": 9}, 50).family == "fcn"
    assert choose(entries, done, {"pca": 9, "fcn": 9, "vae": 9}, 8).family in ("pca", "vae")


def test_what_the_first_trial_takes_is_told_by_the_number_of_images():
    assert expected_seconds(ENTRIES, [], 11.0) == {"pca": 22, "fcn": 110}
    assert expected_seconds(ENTRIES, [Done(family="pca", gain=0, seconds=4)], 11.0)["fcn"] == 20


def test_a_later_kind_of_model_takes_what_its_own_entry_costs():
    entries, done = (*ENTRIES, Entry("pca", 40)), [Done(family="pca", gain=0, seconds=4)]
    chosen = choose(entries, [*done, Done(family="fcn", gain=0, seconds=20)], {"pca": 2, "fcn": 1}, 1e9)
    assert chosen == Next(family="pca", seconds=80)


def test_a_harmful_trial_does_not_count_as_a_loss_for_its_family():
    done = [Done(family="pca", gain=-0.3, seconds=1), Done(family="fcn", gain=0.0, seconds=1)]
    assert min(gain_rates(ENTRIES, done).values()) >= 0


def test_the_portfolio_names_families_there_are():
    assert {entry.family for entry in PORTFOLIO} <= set(FAMILIES)
    assert not any(FAMILIES[entry.family].transductive for entry in PORTFOLIO)


def test_the_portfolio_takes_the_images_and_what_the_user_named(digits_folder, tmp_path):
    dataset = load_dataset(digits_folder, image_cache=tmp_path)
    usual = [entry.family for entry in portfolio(dataset, None)]
    assert "contrast" not in usual
    assert "contrast" in [entry.family for entry in portfolio(dataset, None, transductive=True)]
    assert [entry.family for entry in portfolio(dataset, ["resnet_aux", "pca"])] == ["pca", "pca", "resnet_aux"]
    with pytest.raises(UsageError, match="unknown family 'nosuch'"):
        portfolio(dataset, ["nosuch"])
