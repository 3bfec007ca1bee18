"""PyOD's own detectors join a blend, in Python and by a file of their scores."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from ensemble_ad import BlendedDetector
from ensemble_ad.detect.autoencoder import AutoencoderDetector

pytestmark = pytest.mark.slow  # PyOD compiles with numba when it is imported
knn = pytest.importorskip("pyod.models.knn", reason="PyOD is not installed; `pip install pyod`")
iforest = pytest.importorskip("pyod.models.iforest")


@pytest.fixture(scope="module")
def digits(digits_folder):
    """Normal images and test images, uint8 (n, 32, 32, 1), and which of the latter are anomalies."""
    label = pd.read_csv(digits_folder / "labels.csv")["label"].to_numpy()
    return np.load(digits_folder / "trainingset.npy"), np.load(digits_folder / "testingset.npy"), label


def test_they_are_members_of_a_blended_detector_and_keep_their_sign(digits):
    normal, new, label = digits
    members = [
        ("knn", knn.KNN(n_neighbors=3)),
        ("iforest", iforest.IForest(random_state=0)),
        ("scaled", make_pipeline(MinMaxScaler(), knn.KNN())),
        ("pca", AutoencoderDetector("pca-10")),
    ]
    blend = BlendedDetector(members).fit(normal, unlabelled=new)
    assert blend.blend_.names == ("knn", "iforest", "scaled", "pca")
    columns = blend._columns(new)
    for position in range(4):
        assert roc_auc_score(label, columns[:, position]) > 0.6
    assert roc_auc_score(label, blend.anomaly_score(new)) > 0.8
    # The column is what PyOD itself gives for the same rows.
    member = dict(blend.members_)["knn"]
    rows = new.reshape(len(new), -1) / 255
    np.testing.assert_allclose(columns[:, 0], member.decision_function(rows))
    assert clone(blend).set_params(knn__n_neighbors=7).members[0][1].n_neighbors == 7


def test_their_scores_become_a_member_by_way_of_a_file(run_ensad, data, studies, digits):
    normal, new, label = digits
    assert run_ensad("import", "--template", "held_out.csv", "-q").exit_code == 0
    held_out = pd.read_csv("held_out.csv")["ID"].to_numpy()
    rows = normal.reshape(len(normal), -1) / 255
    detector = knn.KNN().fit(np.delete(rows, held_out, axis=0))
    for name, ids, some in (
        ("held_out_scores.csv", held_out, rows[held_out]),
        ("scores.csv", range(len(new)), new.reshape(len(new), -1) / 255),
    ):
        pd.DataFrame({"ID": ids, "score": detector.decision_function(some)}).to_csv(name, index=False)
    arguments = ("scores.csv", "--reference", "held_out_scores.csv", "--name", "knn", "--labels-used", "none")
    key = json.loads(run_ensad("import", *arguments, "--json").stdout)["result"]["key"]
    made = json.loads(run_ensad("blend", "--members", "fcn,knn", "--name", "joined", "--json").stdout)["result"]
    assert {column.partition("/")[0].rpartition("-")[0] for column in made["weights"]} == {"fcn", "knn"}
    judged = {row["name"]: row["auc"] for row in json.loads(run_ensad("evaluate", "--json").stdout)["result"]["rows"]}
    assert judged[key] == pytest.approx(
        roc_auc_score(label, detector.decision_function(new.reshape(len(new), -1) / 255))
    )
    assert judged["joined"] > 0.8
