"""What a report collects from a whole studies folder, and what it refuses."""

import pytest
from sklearn.metrics import roc_auc_score

from ensemble_ad.blend.saved import load_blend


def test_the_table_has_the_aucs_of_the_labels_that_were_named(contents, label, main, studies_folder):
    table = contents.table
    assert set(table.index) == {*main, "both"}
    assert table["auc"].is_monotonic_decreasing
    for name, row in table.iterrows():
        score = main.get(name, load_blend(studies_folder, "both").scores())
        assert row["auc"] == pytest.approx(roc_auc_score(label, score))
    assert table.iloc[0]["ties_best"]
    assert not (studies_folder / "evaluations").exists()  # a report stores nothing


@pytest.mark.slow
def test_members_without_model_or_reconstruction_and_transductive_ones(run_ensad, report, data, studies):
    run_ensad("import", "--template", "held.csv")
    rows = (data.parent / "held.csv").read_text().splitlines()[1:]
    (data.parent / "held.csv").write_text("ID,score\n" + "".join(f"{r}{i}\n" for i, r in enumerate(rows)))
    (data.parent / "test.csv").write_text("ID,score\n" + "".join(f"{i},{(7 * i) % 120}\n" for i in range(120)))
    assert run_ensad("import", "test.csv", "--reference", "held.csv", "--name", "knn").exit_code == 0
    for family in ("cutpaste", "contrast", "pca"):
        arguments = ("--trials", 1, "--epochs", 1, "--max-width", 8, "--device", "cpu", "--transductive")
        assert run_ensad("tune", "--family", family, *arguments).exit_code == 0
    assert run_ensad("blend", "--members", "knn,cutpaste,contrast,pca,fcn:1", "--name", "mixed").exit_code == 0
    text, stderr = report("--pictures", 2)
    assert stderr == ""
    assert "A member was trained on the unlabelled test images too." in text
    assert text.count("score only</i>") >= 2 * 2  # of cutpaste and contrast
    assert "pca&#39;s reconstruction of" in text
    assert 'data-family="knn"' not in text
    assert "ensad import scores.csv --reference held_out.csv --name knn" in text
    assert "--transductive" in text


def test_no_blend_an_unknown_blend_and_wrong_labels_are_clear_errors(run_ensad, data, studies):
    result = run_ensad("report", "--studies", "empty")
    assert (result.exit_code, "there is no blend in empty; run `ensad tune" in result.stderr) == (2, True)
    result = run_ensad("report", "--blend", "nope")
    assert (result.exit_code, "the blends in studies are both" in result.stderr) == (2, True)
    (data / "few.csv").write_text("ID,label\n0,1\n1,0\n")
    result = run_ensad("report", "--labels", "data/few.csv", "--pictures", 0)
    assert (result.exit_code, "118 missing" in result.stderr) == (3, True)
    (data / "file").write_text("in the way")
    result = run_ensad("report", "--pictures", 0, "-o", "data/file/x.html")
    assert result.exit_code == 4
    assert len(result.stderr.strip().splitlines()) == 1
