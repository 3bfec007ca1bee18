"""An autoencoder as a detector finds what it was made to find, by any form of images."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from ensemble_ad import AutoencoderDetector
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.fcn import FcnArchitecture

SMALL = FcnArchitecture(widths=(64, 8))


def test_as_many_normal_images_are_called_anomalies_as_asked_for(digits):
    X, y = load_digits(return_X_y=True)
    normal = X[y < 5]
    detector = AutoencoderDetector("pca-10", alarm_rate=0.2, holdout=0.4).fit(normal[::2])
    assert 0.12 < (detector.predict(normal[1::2]) == -1).mean() < 0.28
    assert AutoencoderDetector("pca-10", alarm_rate=0.02).fit(normal).offset_ < detector.offset_


def test_rows_of_pixels_are_the_same_images(digits):
    normal, new, _ = digits
    whole = AutoencoderDetector("pca-10").fit(normal).score_samples(new)
    rows = AutoencoderDetector("pca-10").fit(normal.reshape(-1, 64)).score_samples(new.reshape(-1, 64))
    np.testing.assert_array_equal(whole, rows)
    # Fitted to images, scored as rows: the same numbers.
    np.testing.assert_array_equal(AutoencoderDetector("pca-10").fit(normal).score_samples(new.reshape(-1, 64)), whole)


def test_floats_of_0_to_1_are_the_same_images_as_uint8(digits):
    normal, new, _ = digits
    whole = AutoencoderDetector("pca-10").fit(normal).score_samples(new)
    floats = AutoencoderDetector("pca-10").fit(normal / 255).score_samples(new / 255)
    np.testing.assert_allclose(floats, whole, rtol=1e-5)


def test_colour_comes_from_image_shape(photos):
    images = photos(40, 16, 3)
    whole = AutoencoderDetector("pca-10").fit(images)
    rows = AutoencoderDetector("pca-10", image_shape=(16, 16, 3)).fit(images.reshape(40, -1))
    np.testing.assert_array_equal(whole.score_samples(images), rows.score_samples(images.reshape(40, -1)))
    assert whole.preprocess_.shape == (3, 16, 16)
    assert AutoencoderDetector("pca-10").fit(images.reshape(40, -1)).preprocess_.shape == (1, 28, 28)


@pytest.mark.parametrize("family", [name for name, kind in FAMILIES.items() if not kind.transductive])
def test_every_family_but_a_transductive_one_is_a_detector(digits, family):
    normal, new, _ = digits
    # The default width of a family may be large; what is tested here is that the parts fit.
    architecture = {"fcn": SMALL, "cnn": CnnArchitecture(channels=(4, 8, 8), batch_norm=True, bottleneck=8)}.get(family)
    detector = AutoencoderDetector(family, epochs=1, architecture=architecture).fit(normal[:40])
    again = pickle.loads(pickle.dumps(detector))
    scores = detector.score_samples(new[:5])
    assert scores.shape == (5,)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(again.score_samples(new[:5]), scores)


def test_each_setting_has_its_effect(digits):
    normal, new, _ = digits

    def scores(**settings):
        settings = {"epochs": 1, "architecture": SMALL, **settings}
        return AutoencoderDetector(**settings).fit(normal).anomaly_score(new)

    plain = scores()
    np.testing.assert_array_equal(scores(), plain)
    for change in (
        {"epochs": 2},
        {"training": {"batch_size": 16}},
        {"architecture": FcnArchitecture(widths=(64, 9))},
        {"crop": 0.5},
        {"column": "ssim"},
        {"flips": True},
        {"holdout": 0.4},
        {"random_state": 1},
    ):
        assert not np.array_equal(scores(**change), plain), change


def test_it_goes_into_a_pipeline_and_a_search(digits):
    normal, new, label = digits
    pipeline = make_pipeline(MinMaxScaler(), AutoencoderDetector("pca-10"))
    rows = pipeline.fit(normal.reshape(-1, 64)).score_samples(new.reshape(-1, 64))
    assert roc_auc_score(label, -rows) > 0.8
    search = GridSearchCV(
        AutoencoderDetector("pca-10"),
        {"column": ["rss", "ssim"]},
        scoring=lambda detector, X, y: roc_auc_score(y, detector.anomaly_score(X)),
        cv=[(np.arange(400), np.arange(400, 700))],
    )
    search.fit(np.concatenate([normal, new]), np.concatenate([np.zeros(400), label]))
    assert search.best_params_["column"] in ("rss", "ssim")


def test_an_error_map_says_where_and_its_mean_is_the_score(digits):
    normal, new, _ = digits
    detector = AutoencoderDetector("pca-10", column="mae").fit(normal)
    assert detector.preprocess_.crop == (1.0, 1.0)
    maps, made = detector.error_map(new), detector.reconstruct(new)
    assert maps.shape == (300, 8, 8)
    assert made.shape == (300, 16, 16, 1)
    assert made.dtype == np.uint8
    np.testing.assert_allclose(maps.mean((1, 2)), detector.anomaly_score(new), rtol=0.15)
    damaged = new.copy()
    damaged[:, 1:3, 1:3] = 255 - damaged[:, 1:3, 1:3]
    higher = np.abs(detector.error_map(damaged) - maps).mean(0)
    assert higher[1:3, 1:3].mean() > 3 * higher[4:, 4:].mean()


def test_what_says_nothing_of_places_has_no_map(digits):
    normal, new, _ = digits
    detector = AutoencoderDetector("cutpaste-small", epochs=1).fit(normal[:60])
    with pytest.raises(ValueError, match="cutpaste-small says nothing of places; fit a family that reconstructs"):
        detector.error_map(new)
    with pytest.raises(ValueError, match="cutpaste-small does not reconstruct"):
        detector.reconstruct(new)
