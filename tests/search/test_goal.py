"""What a study is judged by, as it was asked for."""

from pathlib import Path

import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.search.goal import labels_hash, objective_name

LABELS = Path("labels.csv")


def test_labels_alone_ask_for_the_objective_that_reads_them():
    assert objective_name(None, None) == "auto"
    assert objective_name(None, LABELS) == "labels"
    assert objective_name("synthetic", None) == "synthetic"
    assert objective_name("luck", LABELS) == "luck", "who knows the objectives refuses it"


@pytest.mark.parametrize(("name", "labels"), [("labels", None), ("auto", LABELS), ("loss", LABELS)])
def test_an_objective_and_labels_that_do_not_go_together_are_refused(name, labels):
    with pytest.raises(UsageError, match=f"--objective {name} "):
        objective_name(name, labels)


def test_a_hash_of_labels_begins_with_a_name_that_is_text(tmp_path):
    path = tmp_path / "my\nlabels.csv"
    path.write_text("ID,label\n0,1\n")
    assert labels_hash(None) is None
    found = labels_hash(path)
    assert found.startswith("my_labels.csv:")
    path.write_text("ID,label\n0,0\n")
    assert labels_hash(path) != found
