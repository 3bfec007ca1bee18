"""How results show themselves in Python: a line, a table in a notebook, figures; errors without flags."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

import ensemble_ad as ea
from ensemble_ad.detect.verbose import run_bar
from ensemble_ad.errors import in_python
from ensemble_ad.results.comparison import COLUMNS


@pytest.fixture(scope="module")
def scorer(studies_folder):
    return ea.load_blend("both", studies_folder, device="cpu")


@pytest.fixture(scope="module")
def blend():
    rng = np.random.default_rng(0)
    names = [f"member-{i}" for i in range(20)]
    return ea.blend_scores(rng.normal(size=(400, 20)), rng.normal(0.2, size=(500, 20)), names=names)


def test_results_are_a_line_that_says_what_they_are(scorer, blend):
    for shown, words in ((repr(scorer), ("'both'", "separation")), (repr(blend), ("member-", "separation"))):
        assert "\n" not in shown
        assert len(shown) < 250
        assert all(word in shown for word in words)
    assert len(repr(scorer.blend)) < 250


def test_a_notebook_gets_a_small_table(scorer, blend):
    html = scorer._repr_html_()
    for member in scorer._members:
        assert member.key in html
    assert "Estimate" in html
    html = blend._repr_html_()
    assert html.count("<tr>") == 13
    assert "and 8 more" in html


def test_names_from_strangers_are_escaped():
    rows = np.random.default_rng(0).normal(size=(300, 2))
    blend = ea.blend_scores(rows, rows, names=["<script>", "b"])
    assert "<script>" not in blend._repr_html_()


def test_figures_open_no_window_and_show_themselves(scorer, blend, digits_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # which would open them
    images = np.load(digits_folder / "testingset.npy")[:40]
    figure = scorer.plot(images)
    assert figure._repr_png_().startswith(b"\x89PNG")
    titles = [axes.get_title() for axes in figure.subfigs[1].axes]
    highest = np.argsort(-scorer.score(images), kind="stable")[:8]
    assert [int(title.partition(":")[0]) for title in titles] == highest.tolist()
    bars = blend.plot().axes[0].patches
    assert [bar.get_width() for bar in bars] == sorted(blend.weights)[-15:]
    with pytest.raises(ea.DataError, match="at least one image"):
        scorer.plot(images[:0])


def test_without_matplotlib_a_plot_says_what_to_install(blend, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "ensemble_ad.blend.plots", raising=False)
    with pytest.raises(ea.UsageError, match=r"pip install 'matplotlib>=3\.8'"):
        blend.plot()


def test_the_comparison_is_styled_in_a_notebook_and_a_frame_elsewhere(studies_folder):
    table = ea.comparison(studies_folder)
    html = table._repr_html_()  # type: ignore[operator]  # which stubs take for a column
    assert "linear-gradient" in html
    assert f"{table['separation'].iloc[0]:.3f}" in html
    assert "fingerprint" not in html
    assert type(table) is pd.DataFrame
    assert "linear-gradient" not in table.head()._repr_html_()  # type: ignore[operator]
    assert (table.loc["both", "kind"], list(table.columns)) == ("blend", list(COLUMNS))


def test_errors_in_python_name_arguments(scorer, studies_folder):
    with pytest.raises(ea.UsageError, match=r"^alarm_rate must lie between 0 and 1, not 2; as in"):
        scorer.threshold(2)
    with pytest.raises(ea.UsageError, match=r"^alarm_rate must lie"):
        scorer.false_alarm_rate(2)
    with pytest.raises(ea.DataError, match="or name the folder that has them with data"):
        ea.run("nowhere", trials=1, studies=studies_folder)
    assert in_python("resize with --size 32, `ensad tune --size 32`") == "resize with size=32, `ensad tune --size 32`"
    assert in_python("choose a blend by --blend") == "choose a blend by name"
    assert in_python("an em--dash") == "an em--dash"


def test_errors_of_commands_name_flags(run_ensad, studies):
    assert "--alarm-rate must" in run_ensad("score", "data/testingset.npy", "--alarm-rate", "2").stderr
    with pytest.raises(ea.UsageError, match=r"^alarm_rate"):  # and Python's after one name arguments again
        ea.load_blend(None, studies, device="cpu").threshold(2)


def test_an_unknown_family_lists_the_families():
    with pytest.raises(ValueError, match=r"unknown family 'fnc'; the families are fcn, cnn, .* `ensad families`"):
        ea.AutoencoderDetector("fnc").fit(np.zeros((40, 16, 16), np.uint8))


def test_a_verbose_detector_shows_a_bar_and_learns_the_same(digits_folder, capsys):
    images = np.load(digits_folder / "trainingset.npy")[:200]
    quiet = ea.AutoencoderDetector("fcn", epochs=2).fit(images)
    assert capsys.readouterr().err == ""
    verbose = ea.AutoencoderDetector("fcn", epochs=2, verbose=True).fit(images)
    assert "2/2" in capsys.readouterr().err
    assert verbose.offset_ == quiet.offset_
    ea.BlendedDetector([("a", quiet), "pca-10"], verbose=True).fit(images)
    assert "2/2" in capsys.readouterr().err


def test_a_verbose_run_shows_its_trials_and_the_blend(data, tmp_path, capsys):
    ea.run(data, trials=1, families=["pca"], device="cpu", studies=tmp_path / "studies", verbose=True)
    *_, last = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", capsys.readouterr().err).strip().split("\n")
    assert re.search(r"1/1 .*blended, blend of \d 0\.\d{4}$", last.rstrip()), last


def test_a_bar_of_a_runs_time_stands_where_the_run_does():
    with run_bar(100.0, None) as watcher:
        watcher.turn("fcn", 5.0, 60.0)
        (task,) = watcher._bar.tasks
        assert task.completed == pytest.approx(40, abs=2)
        assert task.fields["now"] == "fcn begins"
