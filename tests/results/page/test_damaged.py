"""The report of a blend that was made without test images, held against scikit-learn."""

import re
from html import unescape

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from ensemble_ad.blend.columns import reference_scores, stacked
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.cli import main as ensad
from ensemble_ad.members.store import load_member
from ensemble_ad.results.page import Sources, collect, render


@pytest.fixture(scope="module")
def blind_folder(tmp_path_factory, digits_folder):
    """Two trials of pca and their blend `blind`, that never saw a test image."""
    folder = tmp_path_factory.mktemp("blind") / "studies"
    for command in (f"tune --family pca --trials 2 --data {digits_folder} --device cpu", "blend --name blind"):
        arguments = [*command.split(), "--no-look", "--studies", str(folder)]
        result = CliRunner().invoke(ensad, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def blind(blind_folder, digits_folder):
    return collect(load_blend(blind_folder, "blind"), Sources(studies=blind_folder, data=digits_folder))


def _auc(normal, other):
    return roc_auc_score(np.repeat([0, 1], [len(normal), len(other)]), np.concatenate([normal, other]))


def test_without_test_images_the_page_says_that_nothing_is_known(blind):
    page = render(blind)
    assert page.count("<table") == page.count("<caption")
    text = unescape(re.sub(r"<[^>]+>", " ", page))
    assert "AUC, neither measured nor estimated" in text
    assert (
        "No AUC can be estimated without test images; on kinds of pseudo-anomaly that it was not weighted by, it is 0."
        in text
    )
    assert "pictures and latents of test images: the blend was made without any" in text
    assert "score for each of" not in text
    assert "Separation" not in text
    assert {(each.value, each.low, each.measured) for each in blind.headline.judged} == {(None, None, False)}
    assert all("--no-look" in command for command in blind.making.commands if "report" not in command)


def test_pseudo_anomalies_stand_where_the_separation_would(blind, blind_folder):
    blend = load_blend(blind_folder, "blind")
    members = [load_member(blind_folder, key) for key in blend.info.members]
    read = stacked(list(blend.weights), members)
    normal = reference_scores(blend.info, read)
    assert {seen.kind for seen in blind.seen} == set(read.pseudo)
    assert [seen.blend for seen in blind.seen] == sorted(seen.blend for seen in blind.seen)
    for seen in blind.seen:
        assert seen.blend == pytest.approx(_auc(normal, blend.rule().score(read.pseudo[seen.kind])))
    chosen = max(members, key=lambda member: member.info.objectives.synthetic.value)
    assert blind.headline.judged[1].name == chosen.key
    at = list(blend.weights).index(f"{chosen.key}/{chosen.main_column}")
    for seen in blind.seen:
        assert seen.chosen == pytest.approx(_auc(read.reference[:, at], read.pseudo[seen.kind][:, at]))
    assert set(blind.histogram.count) == {"reference", "pseudo"}
    assert blind.histogram.count["pseudo"] == sum(map(len, read.pseudo.values()))


def test_correlations_and_weights_are_of_the_held_out_images(blind, blind_folder):
    blend = load_blend(blind_folder, "blind")
    assert {f"{w.key}/{w.kind}": w.weight for w in blind.weights} == blend.weights
    assert all(w.separation is None and 0.5 < w.pseudo < 1 for w in blind.weights)
    assert np.isfinite(blind.correlations.matrix).all()
    assert blind.table.index[0] == "blind"
    values = blind.table["value"].dropna()
    assert values.is_monotonic_decreasing


def test_labels_of_images_that_came_later_are_told(run_ensad, report, data):
    for command in ("tune --family pca --trials 2 --no-look", "blend --no-look --name blind"):
        assert run_ensad(*command.split()).exit_code == 0
    refused = run_ensad("report", "--labels", "data/labels.csv")
    assert refused.exit_code == 3
    assert "run `ensad evaluate --labels data/labels.csv`" in refused.stderr
    assert run_ensad("evaluate", "--labels", "data/labels.csv").exit_code == 0
    text, _ = report()
    assert "AUC, measured with labels" in text
    assert "made with labels.csv, of test images that came after the blend" in text


def test_a_blend_without_pseudo_anomalies_says_so(blind_folder, digits_folder, monkeypatch):
    from ensemble_ad.members.store import Member

    real = Member.all_vectors
    monkeypatch.setattr(Member, "all_vectors", lambda self: (*real(self)[:2], None))  # as of an earlier version
    found = collect(load_blend(blind_folder, "blind"), Sources(studies=blind_folder, data=digits_folder))
    assert found.seen == ()
    assert any("a member was made without them" in note for note in found.notes)
    assert "held-out normal images" in render(found)
