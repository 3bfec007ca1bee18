"""From a recipe to a cached member and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ensemble_ad import statistics
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.data.split import REFERENCE_LEAST, split_rows
from ensemble_ad.errors import DataError
from ensemble_ad.families import FAMILIES
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.statistics import auc
from ensemble_ad.training import judge
from ensemble_ad.training.cross_fitted import deal
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.judge import JudgedBy
from ensemble_ad.training.load import load_model
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings

CPU = torch.device("cpu")


def test_the_small_models_cover_every_family(small):
    assert small.keys() == FAMILIES.keys()


def test_a_member_is_cached_and_the_second_time_not_trained(dataset, recipe, tmp_path):
    epochs = []
    first = fit_member(
        dataset, recipe, studies=tmp_path, device=CPU, after_epoch=lambda epoch, judgement: epochs.append(epoch.number)
    )
    assert epochs == [1, 2, 3, 4]
    again = fit_member(dataset, recipe, studies=tmp_path, device=CPU, after_epoch=lambda *_: pytest.fail("trained"))
    assert again.info == first.info


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_model_gives_the_cached_scores(dataset, recipe, small, tmp_path, family):
    recipe = replace(recipe, family=family, architecture=small[family])
    member = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    model, latent, _ = load_model(member, CPU)
    images = torch.from_numpy(apply(dataset.test.images, recipe.preprocess))
    reference, test = member.vectors()
    fold = None
    if FAMILIES[family].transductive:
        fold = deal(len(reference), len(test), recipe.architecture.folds, recipe.training.seed, CPU).test
    scores = error_vectors(model, images, latent, fold=fold)
    for i, kind in enumerate(member.columns):
        np.testing.assert_allclose(scores[kind], test[:, i], rtol=1e-4, atol=1e-5, err_msg=kind)


def test_a_crop_that_is_not_square_is_trained_on_and_loaded(data, run_ensad, tmp_path):
    result = run_ensad("train", "--preset", "fcn-crop", "--epochs", 2, "--batch-size", 32, "--device", "cpu")
    assert result.exit_code == 0, result.output
    member = load_member(tmp_path / "studies", result.stdout.strip())
    recipe = Recipe.from_json(member.info.recipe.json)
    assert recipe.preprocess == Preprocess(crop=(36 / 64, 40 / 64), size=(36, 40), channels=1)
    model, latent, _ = load_model(member, CPU)
    images = load_dataset(data, image_cache=tmp_path).test.images
    scores = error_vectors(model, torch.from_numpy(apply(images, recipe.preprocess)), latent)
    _, test = member.vectors()
    for i, kind in enumerate(member.columns):
        np.testing.assert_allclose(scores[kind], test[:, i], rtol=1e-4, atol=1e-5, err_msg=kind)


def test_reference_images_are_held_out_and_come_in_the_splits_order(dataset, recipe, tmp_path):
    member = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    split = split_rows(len(dataset.train), dataset.fingerprint)
    model, latent, _ = load_model(member, CPU)
    held_out = apply(np.asarray(dataset.train.images[split.reference]), recipe.preprocess)
    scores = error_vectors(model, torch.from_numpy(held_out), latent)
    reference, _ = member.vectors()
    for i, kind in enumerate(member.columns):
        np.testing.assert_allclose(scores[kind], reference[:, i], rtol=1e-4, atol=1e-5, err_msg=kind)


@pytest.mark.parametrize(("n_images", "subset"), [(40, None), (1000, None), (1000, 30), (100_000, None)])
def test_a_split_is_disjoint_and_a_subset_has_the_same_reference(n_images, subset):
    split = split_rows(n_images, "ab" * 16, subset)
    assert not set(split.train) & set(split.reference)
    np.testing.assert_array_equal(split.reference, split_rows(n_images, "ab" * 16).reference)
    assert len(split.train) == (subset or n_images - len(split.reference))
    assert len(split.reference) >= min(REFERENCE_LEAST, n_images // 2)


def test_the_best_epoch_by_the_objective_is_kept_and_not_the_last(dataset, recipe, tmp_path):
    seen = []
    member = fit_member(
        dataset,
        replace(recipe, training=TrainSettings(epochs=12, batch_size=16, learning_rate=0.02)),
        studies=tmp_path,
        device=CPU,
        after_epoch=lambda epoch, judgement: seen.append(judgement.value),
    )
    assert member.info.best_epoch == 1 + int(np.argmax(seen))
    # All 120 test images are looked at after each epoch, so the kept weights give the best value again.
    assert member.value == pytest.approx(max(seen), abs=1e-6)


def test_patience_ends_a_training_that_no_longer_gets_better(dataset, recipe, tmp_path):
    seen = []
    training = TrainSettings(epochs=60, batch_size=16, learning_rate=0.02)
    fit_member(
        dataset,
        replace(recipe, training=training, patience=2),
        studies=tmp_path,
        device=CPU,
        after_epoch=lambda epoch, judgement: seen.append(judgement.value),
    )
    assert len(seen) < 60
    assert len(seen) - (1 + int(np.argmax(seen))) == 2


def test_an_exception_of_the_callback_leaves_nothing_in_the_cache(dataset, recipe, tmp_path):
    def give_up(epoch, judgement):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_member(dataset, recipe, studies=tmp_path, device=CPU, after_epoch=give_up)
    assert list_members(tmp_path) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_beats_chance_on_digits(small, tmp_path, family):
    from ensemble_ad.data.digits import write_digits

    write_digits(tmp_path)
    dataset = load_dataset(tmp_path, image_cache=tmp_path)
    recipe = Recipe(
        data=dataset.fingerprint,
        family=family,
        architecture=small[family],
        preprocess=Preprocess(crop=(1.0, 1.0), size=(32, 32), channels=1),
        training=TrainSettings(epochs=5, batch_size=32, latent_noise_scale=0.1),
        objective="separation",
        labels=None,
        subset=None,
        patience=None,
    )
    member = fit_member(dataset, recipe, studies=tmp_path / "studies", device=CPU)
    label = read_labels(tmp_path / "labels.csv", dataset.test.ids)
    _, test = member.vectors()
    estimate = auc(label, test[:, member.columns.index(member.main_column)])
    assert estimate.low > 0.6


def test_data_records_keep_the_ids(dataset, recipe, tmp_path):
    fit_member(dataset, recipe, studies=Path(tmp_path), device=CPU)
    record = load_data_record(tmp_path, dataset.fingerprint)
    assert record.ids == dataset.test.ids
    assert record.shape == (32, 32, 1)


def test_a_half_member_is_set_aside_and_made_again(dataset, recipe, tmp_path):
    member = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    (member.folder / "member.json").unlink()
    again = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    np.testing.assert_array_equal(again.vectors()[1], load_member(tmp_path, member.key).vectors()[1])
    assert [path.name for path in member.folder.parent.glob(".*")] == [f".{member.key}.damaged-1"]


def test_a_member_says_what_other_objectives_find_by_its_column(dataset, recipe, tmp_path, pseudo):
    member = fit_member(dataset, recipe, studies=tmp_path, device=CPU, judged_by=JudgedBy(pseudo=pseudo))
    reference, test = (side[:, member.columns.index(member.main_column)] for side in member.vectors())
    found = member.info.objectives
    assert found.separation.value == pytest.approx(statistics.separation(reference, test).value)
    assert found.separation.value == pytest.approx(member.value)
    assert found.share.low <= found.share.value == statistics.estimate_share(reference, test).value
    assert found.synthetic.value == pytest.approx(pooled(found.synthetic.kinds.values()))
    model, references, _ = load_model(member, CPU)
    damaged = torch.from_numpy(apply(pseudo.images["occlusion"], recipe.preprocess))
    scores = error_vectors(model, damaged, references)[member.main_column]
    expected = statistics.separation(reference[pseudo.normal_rows], scores).value
    assert found.synthetic.kinds["occlusion"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("objective", ["separation", "loss"])
def test_every_member_keeps_its_scores_of_pseudo_anomalies(dataset, recipe, tmp_path, pseudo, objective):
    recipe = replace(recipe, objective=objective)
    member = fit_member(dataset, recipe, studies=tmp_path, device=CPU, judged_by=JudgedBy(pseudo=pseudo))
    kept = member.all_vectors()[2]
    assert kept.kinds == tuple(pseudo.images)
    np.testing.assert_array_equal(kept.damaged, pseudo.damaged)
    model, latents, _ = load_model(member, CPU)
    again = error_vectors(model, torch.from_numpy(apply(pseudo.images["occlusion"], recipe.preprocess)), latents)
    expected = np.stack([again[column] for column in member.columns], axis=1)
    assert kept.scores[kept.kinds.index("occlusion")] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("objective", ["synthetic", "auto"])
def test_the_best_epoch_can_be_kept_by_pseudo_anomalies(dataset, recipe, tmp_path, pseudo, objective):
    seen = []
    recipe = replace(recipe, objective=objective, training=TrainSettings(epochs=8, batch_size=16, learning_rate=0.02))
    member = fit_member(
        dataset,
        recipe,
        studies=tmp_path,
        device=CPU,
        judged_by=JudgedBy(pseudo=pseudo),
        after_epoch=lambda epoch, judgement: seen.append(judgement.value),
    )
    assert member.info.best_epoch == 1 + int(np.argmax(seen))
    assert member.value == pytest.approx(max(seen), abs=0.02)  # of all images, the epochs' of some


@pytest.mark.parametrize("bound", [{"_LEAST": 10}, {"_SHARE": 100, "_MOST": 10}], ids=["least", "most"])
def test_an_epoch_is_judged_by_some_images_and_a_member_by_all(dataset, recipe, tmp_path, pseudo, monkeypatch, bound):
    recipe = replace(recipe, objective="auto", training=TrainSettings(epochs=3, batch_size=16))
    for name, images in {**bound, "_LEAST_PSEUDO": 2}.items():
        monkeypatch.setattr(judge, name, images)
    seen, after = [], []

    def counted(model, images, *rest, **more):
        seen.append(len(images))
        return error_vectors(model, images, *rest, **more)

    monkeypatch.setattr(judge, "error_vectors", counted)
    member = fit_member(
        dataset,
        recipe,
        studies=tmp_path,
        device=CPU,
        judged_by=JudgedBy(pseudo=pseudo),
        after_epoch=lambda *_: after.append(sum(seen)),
    )
    assert set(np.diff([0, *after])) == {2 * 10 + 2 * len(pseudo.images)}
    every = len(dataset.split().reference) + len(dataset.test) + sum(map(len, pseudo.images.values()))
    assert sum(seen) - after[-1] == every
    assert len(member.vectors()[1]) == len(dataset.test)


def test_flips_give_an_image_and_its_mirror_the_same_score(dataset, recipe, tmp_path):
    member = fit_member(dataset, replace(recipe, flips=True), studies=tmp_path, device=CPU)
    model, latent, _ = load_model(member, CPU)
    images = torch.from_numpy(apply(dataset.test.images, recipe.preprocess))
    scores = error_vectors(model, images, latent, flips=True)
    mirrored = error_vectors(model, images.flip(2), latent, flips=True)
    _, test = member.vectors()
    for i, kind in enumerate(member.columns):
        np.testing.assert_allclose(scores[kind], test[:, i], rtol=1e-4, atol=1e-5, err_msg=kind)
        np.testing.assert_allclose(scores[kind], mirrored[kind], rtol=1e-4, atol=1e-5, err_msg=kind)


def test_a_transductive_member_is_marked_and_other_members_are_not(dataset, recipe, small, tmp_path):
    plain = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    recipe = replace(recipe, family="contrast", architecture=small["contrast"])
    marked = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    assert (plain.info.transductive, marked.info.transductive) == (False, True)


def test_images_that_change_while_a_model_is_trained_make_no_member(data, recipe, tmp_path):
    dataset = load_dataset(data, image_cache=tmp_path / "images")
    turned = np.load(data / "testingset.npy")[::-1].copy()

    def change(epoch, judgement):
        with (data / "testingset.npy").open("r+b") as file:
            file.seek(-turned.nbytes, 2)
            file.write(turned.tobytes())

    fit = {"studies": tmp_path / "studies", "device": CPU}
    with pytest.raises(DataError, match=r"testingset.npy has changed since it was read"):
        fit_member(dataset, recipe, **fit, after_epoch=change)
    assert list_members(tmp_path / "studies")[0] == []
    with pytest.raises(DataError, match="has changed since it was read"):
        fit_member(dataset, recipe, **fit)
