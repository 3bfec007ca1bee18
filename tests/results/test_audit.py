"""Blind choices held against labels."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ensemble_ad.blend.saved import list_blends
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.info import TrialInfo
from ensemble_ad.members.store import list_members
from ensemble_ad.results.audit import audit_blends, audit_studies
from ensemble_ad.results.evaluation import main_scores
from ensemble_ad.statistics import auc, rank_correlation


@pytest.fixture(scope="module")
def made(studies_folder, digits_folder):
    """Real members and blends of the digits, and the labels."""
    members, _ = list_members(studies_folder)
    blends, _ = list_blends(studies_folder)
    return (
        members,
        blends,
        read_labels(digits_folder / "labels.csv", load_data_record(studies_folder, members[0].data).ids),
    )


def _as_one_study(members):
    """The members as trials of one study that followed separation, so that their values compare."""
    return [
        replace(
            m,
            info=replace(
                m.info,
                trial=TrialInfo(study="all", number=i),
                objective=replace(m.info.objective, name="separation"),
            ),
        )
        for i, m in enumerate(members)
    ]


def test_a_study_is_audited_by_rank_correlation_and_regret(made):
    members, _, label = made
    row = audit_studies(label, _as_one_study(members)).loc["all"]
    true = [auc(label, scores).value for scores in main_scores(members, []).values()]
    goal = [member.value for member in members]
    assert row["trials"] == len(members)
    assert row["rank_correlation"] == pytest.approx(spearmanr(goal, true).statistic)
    assert row["chosen_auc"] == true[int(np.argmax(goal))]
    assert row["regret"] == max(true) - row["chosen_auc"] >= 0


def test_a_study_to_minimise_chooses_the_least(made):
    members, _, label = made
    turned = [
        replace(m, info=replace(m.info, objective=replace(m.info.objective, direction="minimize", value=-m.value)))
        for m in _as_one_study(members)
    ]
    pd.testing.assert_frame_equal(audit_studies(label, turned), audit_studies(label, _as_one_study(members)))


def test_two_trials_are_no_study_to_correlate(made):
    members, _, label = made
    assert audit_studies(label, _as_one_study(members)[:2]).empty


def test_a_blend_is_audited_beside_its_best_column_and_the_equal_mean(made):
    members, blends, label = made
    row = audit_blends(label, {m.key: m for m in members}, blends).loc["both"]
    assert row["auc"] == auc(label, blends[0].scores()).value
    columns = [name.split("/") for name in blends[0].weights]
    by_key = {m.key: m for m in members}
    singles = [auc(label, by_key[k].vectors()[1][:, by_key[k].columns.index(c)]).value for k, c in columns]
    assert row["best_column"] == max(singles)
    assert row["regret"] == pytest.approx(max(singles) - row["auc"])
    assert 0.3 < row["mean"] <= 1
    # Weights fitted to the labels that judge them are at least as good as the best column, up to the fit's ridge.
    assert row["labelled"] > max(singles) - 0.02
    assert row["regret_labelled"] == row["labelled"] - row["auc"]
    assert not row["transductive"]


def test_a_blend_whose_member_is_gone_is_left_out(made):
    members, blends, label = made
    assert audit_blends(label, {m.key: m for m in members[1:]}, blends).empty


@pytest.mark.parametrize("values", [([1.0, 2, 3, 4], [1.0, 3, 2, 4]), ([1.0, 1, 2], [3.0, 1, 2])])
def test_rank_correlation_is_spearmans(values):
    a, b = map(np.array, values)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_rank_correlation_of_a_constant_is_not_a_number():
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))


def test_the_command_prints_both_tables_and_stores_nothing(run_ensad, data, studies, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run_ensad("audit", "--labels", "data/labels.csv")
    assert result.exit_code == 0, result.stderr
    tables = result.stdout.split("blend\t")
    blends = pd.read_csv(io.StringIO("blend\t" + tables[1]), sep="\t", index_col="blend")
    assert list(blends.index) == ["both"]
    assert blends.loc["both", "regret_labelled"] == pytest.approx(
        blends.loc["both", "labelled"] - blends.loc["both", "auc"],  # type: ignore[operator]
        abs=1.1e-4,
    )
    assert "no study has three trials of more than one AUC" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_the_command_says_the_mean_and_least_rank_correlation(run_ensad, data, studies):
    for family, width in (("fcn", 128), ("resnet", 8)):
        run_ensad("tune", "--family", family, "--trials", 4, "--epochs", 1, "--max-width", width, "--device", "cpu")
    result = run_ensad("audit")
    table = pd.read_csv(io.StringIO(result.stdout.split("blend\t")[0]), sep="\t", index_col="study")
    known = pd.to_numeric(table["rank_correlation"], errors="coerce").dropna()
    assert f"over {len(known)} studies: mean {known.mean():.3f}, least {known.min():.3f}" in result.stderr


def test_without_members_the_command_says_what_to_run(run_ensad, data):
    result = run_ensad("audit")
    assert result.exit_code == 2
    assert "ensad tune" in result.stderr
