"""Which labels a report reads."""

import re


def test_without_labels_every_auc_is_an_estimate_and_says_so(report, data, studies):
    text, _ = report("--pictures", 0, "--blend", "both")
    assert "none: every AUC on this page is an estimate" in text
    assert "AUC, estimated without labels" in text
    assert "measured" not in text.partition("<script>")[0].partition("<main")[2]
    assert "false positive rate" not in text
    assert "ROC" not in text
    assert "labels.csv" not in text


def test_labels_of_an_evaluation_are_used_again_if_unchanged(run_ensad, report, data, studies):
    assert run_ensad("evaluate", "-q").exit_code == 0
    text, _ = report("--pictures", 0)
    assert re.search(r"as ensad evaluate read it: \d+ anomalies of 120 test images", text)
    assert "ROC curve" in text
    lines = (data / "labels.csv").read_text().splitlines()
    lines[1] = lines[1][:-1] + str(1 - int(lines[1][-1]))
    (data / "labels.csv").write_text("\n".join([*lines, ""]))
    text, _ = report("--pictures", 0)
    assert "that file is not there unchanged" in text
    assert "AUC, measured with labels" in text
    assert "ROC curve" not in text
    text, _ = report("--pictures", 0, "--labels", "data/labels.csv")
    assert "named with --labels" in text
    assert "ROC curve" in text
