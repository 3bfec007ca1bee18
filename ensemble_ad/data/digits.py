"""The demo's data: scikit-learn's handwritten digits, some classes normal and the others anomalous."""

from pathlib import Path

import numpy as np

from ensemble_ad.files.whole import whole_file

NORMAL_DIGITS = (0, 1, 2, 3, 4)
_TRAIN_SHARE = 0.7
_ENLARGED = 4


def write_digits(folder: Path, seed: int = 0) -> None:
    """Write real images in Kaggle's layout: 32x32x1 uint8, enlarged four times from 8x8.

    The digits 0 to 4 are normal. 70% of them are the training set; the others, and as many of the digits 5 to 9, are
    the test set. The files are `trainingset.npy`, `testingset.npy`, `sample_submission.csv` and `labels.csv`.

    Source: scikit-learn's `load_digits`, the test set of the UCI "Optical Recognition of Handwritten Digits"
    (Alpaydin and Kaynak 1998), 1,797 images of 16 grey levels.

    Raises:
        StorageError: if the files cannot be written.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = images.repeat(_ENLARGED, axis=1).repeat(_ENLARGED, axis=2)[..., None]
    rng = np.random.default_rng(seed)
    is_normal = np.isin(digits.target, NORMAL_DIGITS)
    normal = rng.permutation(np.flatnonzero(is_normal))
    n_train = round(_TRAIN_SHARE * len(normal))
    kept = normal[n_train:]
    anomalous = rng.choice(np.flatnonzero(~is_normal), len(kept), replace=False)
    test = rng.permutation(np.concatenate([kept, anomalous]))
    label = (~is_normal[test]).astype(int)
    for name, rows in (("trainingset.npy", normal[:n_train]), ("testingset.npy", test)):
        with whole_file(folder / name) as part, part.open("wb") as file:
            np.save(file, images[rows])
    for name, header, values in (
        ("sample_submission.csv", "ID,score", np.zeros(len(test), dtype=int)),
        ("labels.csv", "ID,label", label),
    ):
        with whole_file(folder / name) as part:
            part.write_text(header + "\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values)), encoding="utf-8")
