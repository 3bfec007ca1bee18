"""AUCs of pseudo-anomalies by kind of defect, and which kinds count."""

import numpy as np
import pytest

from ensemble_ad.data.defects import pseudo_anomalies, split_reference
from ensemble_ad.errors import DataError
from ensemble_ad.members.defect_aucs import kept_kinds, synthetic_aucs, synthetic_values
from ensemble_ad.statistics import auc

FINGERPRINT = "00c0ffee"


def test_aucs_are_those_of_labels_and_a_pca_sees_most_defects(photos):
    from sklearn.decomposition import PCA

    images = photos(600, 32, 3)
    train, reference = images[:300], images[300:]
    split = split_reference(len(reference), FINGERPRINT, image_bytes=32 * 32 * 3)
    pca = PCA(32, random_state=0).fit(train.reshape(len(train), -1).astype(float))

    def error(pictures: np.ndarray) -> np.ndarray:
        flat = pictures.reshape(len(pictures), -1).astype(float)
        return np.sqrt(np.square(flat - pca.inverse_transform(pca.transform(flat))).sum(axis=1))

    normal = error(reference[split.normal])
    pseudo = {name: error(made) for name, made in pseudo_anomalies(reference[split.damaged], seed=0).items()}
    aucs = synthetic_aucs(normal, pseudo)
    assert list(aucs) == list(pseudo)
    label = np.repeat([0, 1], [len(normal), len(pseudo["noise"])])
    expected = auc(label, np.concatenate([normal, pseudo["noise"]]))
    assert aucs["noise"] == expected
    assert all(aucs[name].value > 0.55 for name in ("patch_swap", "occlusion", "noise"))
    # A blurred image is easier to reconstruct: the module says so.
    assert aucs["blur"].value < 0.5


def test_aucs_need_scores():
    with pytest.raises(DataError, match="at least one kind"):
        synthetic_aucs([1.0, 2.0], {})
    with pytest.raises(DataError, match="NaN"):
        synthetic_aucs([1.0, float("nan")], {"blur": [1.0]})


def test_kinds_that_all_solve_or_none_does_are_dropped():
    table = [
        {"noise": 0.99, "blur": 0.30, "elastic": 0.70, "rotate": 0.99, "colour": 0.54},
        {"noise": 1.00, "blur": 0.52, "elastic": 0.60, "rotate": 0.90, "colour": 0.56},
    ]
    assert kept_kinds(table) == ("elastic", "rotate", "colour")
    np.testing.assert_allclose(synthetic_values(table), [(0.70 + 0.99 + 0.54) / 3, (0.60 + 0.90 + 0.56) / 3])


def test_the_order_of_kinds_in_a_row_does_not_matter():
    table = [{"elastic": 0.7, "blur": 0.2}, {"blur": 0.1, "elastic": 0.8}]
    assert kept_kinds(table) == ("elastic",)
    np.testing.assert_allclose(synthetic_values(table), [0.7, 0.8])


def test_where_all_would_be_dropped_all_are_kept():
    table = [{"noise": 0.99, "blur": 0.3}, {"noise": 1.0, "blur": 0.4}]
    assert kept_kinds(table) == ("noise", "blur")
    np.testing.assert_allclose(synthetic_values(table), [0.645, 0.7])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "at least one trial"),
        ([{}], "at least one trial"),
        ([{"noise": 0.6}, {"blur": 0.6}], "same kinds"),
        ([{"noise": 0.6}, {"noise": float("nan")}], "nan"),
        ([{"noise": 1.2}], "1.2"),
    ],
)
def test_a_bad_table_is_refused(table, message):
    for function in (kept_kinds, synthetic_values):
        with pytest.raises(DataError, match=message):
            function(table)
