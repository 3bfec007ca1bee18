"""Columns by name, and members that enter a blend inverted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ensemble_ad as ea
from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.cli import main
from ensemble_ad.files.json_file import write_json
from ensemble_ad.members.column import Column
from ensemble_ad.members.store import list_members
from ensemble_ad.results.comparison import INVERTED, TURNED
from ensemble_ad.results.comparison_text import render_text

N = 120


def run(folder, *arguments):
    result = CliRunner().invoke(main, [*map(str, arguments), "--studies", str(folder / "studies")])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def clean_among_noisy(tmp_path_factory, photos) -> Path:
    """Pale photographs of a noisy camera are normal and those of a clean one anomalous, so that errors are inverted.

    So do most pseudo-anomalies of such images: cut, swapped and recoloured noise is rebuilt better.
    """
    folder = tmp_path_factory.mktemp("inverted")
    images = 100 + photos(300 + N, 32, 3) / 10
    noisy = images + np.random.default_rng(1).normal(0, 60, images.shape)
    noisy[-N // 2 :] = images[-N // 2 :]
    noisy = noisy.clip(0, 255).round().astype(np.uint8)
    (folder / "data").mkdir()
    np.save(folder / "data" / "trainingset.npy", noisy[:300])
    np.save(folder / "data" / "testingset.npy", noisy[300:])
    # By the loss, so that its kind of error is the main one: another objective finds kinds that are not inverted.
    run(folder, "tune", "--family", "pca", "--objective", "loss", "--trials", 2, "--data", folder / "data")
    run(folder, "blend", "--method", "mean", "--name", "mean")
    run(folder, "blend", "--name", "learnt")
    return folder


@pytest.fixture
def mine(clean_among_noisy, tmp_path) -> Path:
    return Path(shutil.copytree(clean_among_noisy, tmp_path / "mine"))


LABEL = np.repeat([0, 1], N // 2)


def test_a_name_says_member_kind_and_whether_it_is_inverted():
    for column in (Column("fcn-0123456789ab", "rss"), Column("knn-0123456789ab", "score", True)):
        assert Column.of(column.name) == column
    assert Column("fcn-0123456789ab", "rss", True).name == "fcn-0123456789ab/rss (inverted)"


def test_members_that_are_surely_inverted_enter_negated(clean_among_noisy):
    studies = clean_among_noisy / "studies"
    members = list_members(studies)[0]
    for member in members:
        assert member.info.separation.value + 3 * member.info.separation.standard_error < 0.5
        assert member.info.objectives.synthetic.value < 0.5
    for name in ("mean", "learnt"):
        blend = load_blend(studies, name)
        assert blend.info.inverted == {member.key for member in members}
        assert ea.auc(LABEL, blend.scores()).value > 0.95
        assert "Negated, since test images and pseudo-anomalies both score below normal" in blend.info.explanation
        assert "Guards: inverted" not in blend.info.explanation
        assert all(value > 0.5 for value in blend.info.correlation.values())
    plain, inverted = (
        stacked([Column(m.key, m.main_column, turned).name for m in members], members) for turned in (False, True)
    )
    np.testing.assert_array_equal(plain.reference, -inverted.reference)
    np.testing.assert_array_equal(plain.test, -inverted.test)
    assert plain.pseudo
    for kind, scores in plain.pseudo.items():
        np.testing.assert_array_equal(scores, -inverted.pseudo[kind])


@pytest.mark.parametrize("synthetic", [None, 0.55])
def test_what_pseudo_anomalies_do_not_confirm_is_only_named(mine, synthetic):
    first, second = list_members(mine / "studies")[0]
    value = json.loads((first.folder / "member.json").read_text())
    if synthetic is None:
        del value["objectives"]["synthetic"]
    else:
        value["objectives"]["synthetic"]["value"] = synthetic
    write_json(first.folder / "member.json", value)
    run(mine, "blend", "--name", "doubtful")
    info = load_blend(mine / "studies", "doubtful").info
    assert info.inverted == {second.key}
    assert f"inverted (test scores below reference): {first.key}/{first.main_column}" in info.explanation


def test_every_table_marks_what_is_inverted(mine):
    studies = mine / "studies"
    keys = [member.key for member in list_members(studies)[0]]
    table = ea.comparison(studies, blend="mean")
    assert set(table.loc[keys, "flag"]) == {TURNED}
    assert table.loc["mean", "source"] == "mean of 2, 2 inverted"
    assert "! inverted in the blend: test images and pseudo-anomalies score below" in render_text(table)
    (mine / "labels.csv").write_text("ID,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(LABEL)))
    told = run(mine, "evaluate", "--labels", mine / "labels.csv", "--data", mine / "data").output
    assert told.count("!") >= 3
    assert f"! inverted in a blend: {', '.join(sorted(keys))}" in told
    report = mine / "report.html"
    run(mine, "report", "--blend", "mean", "-o", report, "--data", mine / "data")
    assert report.read_text().count("(inverted)") >= 2
    shutil.rmtree(studies / "blends")
    assert set(ea.comparison(studies).loc[keys, "flag"]) == {INVERTED}


@pytest.mark.filterwarnings("ignore:unlike all training images")
@pytest.mark.parametrize("name", ["mean", "learnt"])
def test_new_images_are_scored_inverted_here_and_elsewhere(mine, name):
    test = np.load(mine / "data" / "testingset.npy")
    expected = load_blend(mine / "studies", name).scores()
    np.testing.assert_allclose(ea.load_blend(name, mine / "studies").score(test), expected, rtol=0, atol=1e-6)
    run(mine, "export", name, "-o", mine / "away.zip")
    elsewhere = mine / "elsewhere"
    run(elsewhere, "import", mine / "away.zip")
    scorer = ea.load_blend(name, elsewhere / "studies")
    np.testing.assert_allclose(scorer.score(test), expected, rtol=0, atol=1e-6)
    assert (scorer.score(test)[LABEL == 1] > scorer.threshold(0.05)).mean() > 0.8
