"""A data set as one recipe sees it."""

import numpy as np

from ensemble_ad.data.split import split_rows


def test_pseudo_anomalies_are_made_of_held_out_images_only(dataset, pseudo):
    held_out = split_rows(len(dataset.train), dataset.fingerprint).reference
    n_damaged = len(pseudo.images["occlusion"])
    assert n_damaged + len(pseudo.normal_rows) == len(held_out)
    normal = {image.tobytes() for image in dataset.train.images[held_out[pseudo.normal_rows]]}
    # An occlusion leaves more of an image as it was than any other image has in common with it.
    kept = np.array([(pseudo.images["occlusion"][0] == image).mean() for image in dataset.train.images])
    assert int(np.argmax(kept)) in held_out
    assert dataset.train.images[int(np.argmax(kept))].tobytes() not in normal
