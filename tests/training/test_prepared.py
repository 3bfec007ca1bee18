"""A data set as one recipe sees it."""

from dataclasses import replace

import numpy as np
import torch

from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.data.split import split_rows
from ensemble_ad.training import prepared
from ensemble_ad.training.prepared import KeptPrepared, PseudoImages


def test_pseudo_anomalies_are_made_of_held_out_images_only(dataset, pseudo):
    held_out = split_rows(len(dataset.train), dataset.fingerprint).reference
    n_damaged = len(pseudo.images["occlusion"])
    assert n_damaged + len(pseudo.normal_rows) == len(held_out)
    normal = {image.tobytes() for image in dataset.train.images[held_out[pseudo.normal_rows]]}
    # An occlusion leaves more of an image as it was than any other image has in common with it.
    kept = np.array([(pseudo.images["occlusion"][0] == image).mean() for image in dataset.train.images])
    assert int(np.argmax(kept)) in held_out
    assert dataset.train.images[int(np.argmax(kept))].tobytes() not in normal


def test_trials_that_see_the_images_alike_prepare_and_upload_them_once(dataset, recipe, pseudo, tmp_path, monkeypatch):
    uploaded, kept, cpu = [], KeptPrepared(), torch.device("cpu")
    to_device = prepared._to_device
    monkeypatch.setattr(prepared, "_to_device", lambda *given: uploaded.append(1) or to_device(*given))
    other = replace(recipe, training=replace(recipe.training, seed=7), objective="auto")
    first = kept.of(dataset, recipe, tmp_path, cpu, pseudo)
    assert kept.of(dataset, other, tmp_path, cpu, pseudo) is first
    assert len(uploaded) == 2  # training and test images
    smaller = replace(recipe, preprocess=Preprocess(crop=(0.5, 0.5), size=(16, 16), channels=1))
    for each, of in ((smaller, pseudo), (replace(recipe, subset=100), pseudo), (recipe, PseudoImages.of(dataset))):
        assert kept.of(dataset, each, tmp_path, cpu, of) is not first
        assert kept.of(dataset, recipe, tmp_path, cpu, pseudo) is first
    assert len(uploaded) == 2 * 4
    assert kept.of(dataset, smaller, tmp_path, cpu, pseudo).train.shape[1:] == (16, 16, 1)


def test_what_is_kept_for_later_trials_is_bounded(dataset, recipe, pseudo, tmp_path, monkeypatch):
    kept, cpu = KeptPrepared(), torch.device("cpu")
    others = [replace(recipe, subset=subset) for subset in (100, 101, 102)]
    bound = kept.of(dataset, recipe, tmp_path, cpu, pseudo).nbytes + 1
    monkeypatch.setitem(prepared._MOST_KEPT, "cpu", bound)
    first, *_ = (kept.of(dataset, each, tmp_path, cpu, pseudo) for each in others)
    last = kept.of(dataset, others[-1], tmp_path, cpu, pseudo)
    assert len(kept._kept) == 2
    assert kept.of(dataset, others[-1], tmp_path, cpu, pseudo) is last
    assert kept.of(dataset, others[0], tmp_path, cpu, pseudo) is not first
