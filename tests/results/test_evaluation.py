"""What labels say: intervals, paired tests over members and blends, and what is remembered."""

import io
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ensemble_ad.blend.saved import list_blends
from ensemble_ad.cli._table import print_table
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.files.ground_truth import read_ground_truth
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import list_members
from ensemble_ad.results.evaluation import evaluate_scores, load_evaluation, main_scores, save_evaluation
from ensemble_ad.statistics import bootstrap_auc, compare_auc


@pytest.fixture(scope="module")
def judged(studies_folder, digits_folder):
    """The labels of the digits' test set, and the scores of real members and a blend."""
    members, _ = list_members(studies_folder)
    blends, _ = list_blends(studies_folder)
    label = read_labels(digits_folder / "labels.csv", load_data_record(studies_folder, members[0].data).ids)
    return label, main_scores(members, blends)


def test_every_number_is_scikit_learns(judged):
    label, scores = judged
    table = evaluate_scores(label, scores)
    assert set(table.index) == set(scores)
    assert table["auc"].is_monotonic_decreasing
    for name, row in table.iterrows():
        assert row["auc"] == pytest.approx(roc_auc_score(label, scores[name]))
        assert row["average_precision"] == pytest.approx(average_precision_score(label, scores[name]))
        assert row["partial_auc"] == pytest.approx(roc_auc_score(label, scores[name], max_fpr=0.1))
        assert row["auc_low"] < row["auc"] < row["auc_high"]


def test_the_tie_group_is_holms_over_members_and_blends_together(judged):
    label, scores = judged
    noise = np.random.default_rng(0).normal(size=(3, len(label)))
    scores = {**scores, "oracle": label + 0.9 * noise[0], "near": label + 0.95 * noise[0], "blind": noise[1]}
    table = evaluate_scores(label, scores)
    best = table.index[0]
    p = {name: compare_auc(label, scores[name], scores[best]).p_value for name in scores if name != best}
    corrected, so_far = {}, 0.0
    for rank, name in enumerate(sorted(p, key=p.__getitem__)):
        so_far = max(so_far, min(1.0, p[name] * (len(p) - rank)))
        corrected[name] = so_far
    assert table.drop(best)["p_best"].to_dict() == pytest.approx(corrected)
    assert table.loc[best, "p_best"] == 1
    assert set(table.index[table["ties_best"]]) == {best} | {name for name, value in corrected.items() if value > 0.05}
    assert 1 < table["ties_best"].sum() < len(table)


def test_equal_scores_tie_and_one_score_is_its_own_best(judged):
    label, scores = judged
    one = next(iter(scores.values()))
    table = evaluate_scores(label, {"a": one, "b": 2 * one})
    assert table["ties_best"].all()
    assert evaluate_scores(label, {"a": one})["p_best"].tolist() == [1]


def test_a_bootstrap_is_stratified_reproducible_and_near_delongs(judged):
    label, scores = judged
    table = evaluate_scores(label, scores, bootstrap=500)
    expected = bootstrap_auc(label, np.column_stack(list(scores.values())), 500)
    for i, name in enumerate(scores):
        assert table.loc[name, "bootstrap_low"] == expected.low[i]
        assert table.loc[name, "bootstrap_high"] == expected.high[i]
        assert table.loc[name, "bootstrap_low"] == pytest.approx(table.loc[name, "auc_low"], abs=0.04)
    assert "bootstrap_low" not in evaluate_scores(label, scores)


@pytest.mark.parametrize("resamples", [1, -3])
def test_a_bootstrap_of_one_resample_is_refused(judged, resamples):
    with pytest.raises(UsageError, match="a bootstrap needs at least 2 resamples"):
        evaluate_scores(*judged, bootstrap=resamples)


def test_labels_of_one_class_are_refused(judged):
    label, scores = judged
    with pytest.raises(DataError, match="an AUC needs both classes"):
        evaluate_scores(np.zeros_like(label), scores)


def test_evaluating_again_keeps_aucs_but_no_tie_group(tmp_path, judged, digits_folder):
    label, scores = judged
    path = digits_folder / "labels.csv"
    truth = read_ground_truth(path, [str(row) for row in range(len(label))])
    first, second = list(scores)[:2], list(scores)[2:]
    for names in (first, second):
        save_evaluation(
            tmp_path, "ab" * 16, path, truth, evaluate_scores(label, {name: scores[name] for name in names})
        )
    rows = load_evaluation(tmp_path, "ab" * 16)["rows"]  # type: ignore[index]
    assert set(rows) == set(scores)
    assert all(rows[name]["ties_best"] is None and rows[name]["auc"] > 0 for name in first)
    assert all(rows[name]["ties_best"] is not None for name in second)


def test_the_command_shows_bootstrap_chance_and_the_intervals_limits(run_ensad, data, studies):
    result = run_ensad("evaluate", "--bootstrap", 200)
    assert result.exit_code == 0
    table = pd.read_csv(io.StringIO(result.stdout), sep="\t", index_col="name")
    assert {"AUC", "low", "high", "boot. low", "boot. high", "AP", "FPR95", "pAUC", "p", "transductive"} == set(table)
    assert (table["boot. low"] <= table["AUC"]).all()
    assert table["p"].iloc[0] == "best"
    label = pd.read_csv(data / "labels.csv")["label"]
    assert f"chance: AUC 0.5, AP {label.mean():.4f}, FPR95 0.95, pAUC 0.5\n" in result.stderr
    assert "not training again, nor having chosen among many" in result.stderr
    assert "boot." not in run_ensad("evaluate").stdout


@pytest.mark.parametrize("resamples", [-1, "many"])
def test_the_command_refuses_resamples_that_are_no_count(run_ensad, data, studies, resamples):
    result = run_ensad("evaluate", "--bootstrap", resamples)
    assert (result.exit_code, result.stdout) == (2, "")


def test_the_help_says_what_the_intervals_do_not_cover(run_ensad):
    text = " ".join(run_ensad("evaluate", "--help").stdout.split())
    assert "They do not cover training (another seed gives another model) nor selection" in text


def test_a_narrow_terminal_leaves_columns_out_and_cuts_no_number(monkeypatch, capsys):
    rows = [("fcn-0123456789ab", "0.9071", "0.8973", "0.7905"), ("a-much-longer-name", "0.8861", "0.8754", "0.7580")]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for width, keep, left_out in ((200, 2, 0), (30, 2, 2), (35, 2, 1), (10, 2, 2), (10, None, 0)):
        monkeypatch.setenv("COLUMNS", str(width))
        assert print_table(("name", "AUC", "low", "pAUC"), rows, keep=keep) == left_out
        shown = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert shown[1:] == [list(row[: 4 - left_out]) for row in rows]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert print_table(("name", "AUC", "low", "pAUC"), rows, keep=2) == 0
    assert capsys.readouterr().out.splitlines()[1] == "\t".join(rows[0])
