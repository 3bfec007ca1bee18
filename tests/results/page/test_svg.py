"""Axes have ticks that people read."""

import pytest

from ensemble_ad.results.page.svg import Axis, Chart


@pytest.mark.parametrize(
    ("low", "high", "log", "texts"),
    [
        (0.0, 1.0, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 10.0, False, ["0", "2", "4", "6", "8", "10"]),
        (0.641, 0.683, False, ["0.65", "0.66", "0.67", "0.68"]),
        (1e-4, 1e-2, True, ["0.0001", "0.001", "0.01"]),
        (3e-4, 4e-3, True, ["0.0003", "0.001", "0.003"]),
        (2.1e-3, 2.9e-3, True, ["0.0022", "0.0024", "0.0026", "0.0028"]),
        (0.0, 12000.0, False, ["0", "2,500", "5,000", "7,500", "10,000"]),
    ],
)
def test_an_axis_has_round_ticks(low, high, log, texts):
    ticks = Axis(low=low, high=high, label="", log=log).ticks()
    assert [text for _, text in ticks] == texts
    assert all(low - 1e-9 <= value <= high + 1e-9 for value, _ in ticks)
    assert all(float(text.replace(",", "")) == pytest.approx(value, abs=1e-9) for value, text in ticks)


def test_an_axis_of_trials_has_whole_numbers():
    for high in (0.5, 2.5, 7.5, 40.5):
        ticks = Axis(low=-0.5, high=high, label="", whole=True).ticks()
        assert ticks
        assert all(value == int(value) and text == str(int(value)) for value, text in ticks)


def test_a_long_tick_leaves_room_for_the_label_beside_it():
    narrow = Chart(Axis(low=0, high=1, label="x"), Axis(low=0, high=1, label="y"), "")
    wide = Chart(Axis(low=0, high=1, label="x"), Axis(low=0.97210, high=0.97230, label="separation"), "")
    assert wide.px(0) > narrow.px(0)
    assert wide.px(0) - 6 - 6.8 * max(len(text) for _, text in wide.y.ticks()) >= 17  # where the label ends
