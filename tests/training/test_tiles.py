"""Pictures cut into tiles: every family trains on tiles, and what it says of them is put together by picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ensemble_ad.blend.saved import load_blend as load_saved
from ensemble_ad.data.preprocess import Preprocess, apply, places, undone
from ensemble_ad.detect.scorer import load_blend
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.reconstruction import ERROR_KINDS
from ensemble_ad.training import prepared as module
from ensemble_ad.training.cross_fitted import deal
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.load import load_model
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.prepared import Prepared
from ensemble_ad.training.tiles import of_images

CPU = torch.device("cpu")
CUT = Preprocess(crop=(1.0, 1.0), size=(64, 64), channels=1, tile=24)


@pytest.mark.parametrize(("side", "tile"), [(32, 16), (48, 32), (64, 24), (256, 33), (40, 40)])
def test_tiles_cover_a_picture_and_overlap_by_a_quarter(side, tile):
    begin = np.array(places(side, tile))
    assert begin[0] == 0
    assert begin[-1] == side - tile
    assert (np.diff(begin) <= 0.75 * tile + 1).all()


def test_the_pieces_of_a_picture_lie_where_they_were(photos):
    images = photos(3, 64, 1)
    tiles = apply(images, CUT)
    assert tiles.shape == CUT.shape_of(3)
    for row, top in enumerate(places(64, 24)):
        left = places(64, 24)[1]
        place = CUT.tiles + row * len(places(64, 24)) + 1
        np.testing.assert_array_equal(tiles[place], images[1, top : top + 24, left : left + 24])


def test_a_map_of_tiles_is_stitched_to_that_of_the_picture(photos):
    images = photos(2, 64, 1)
    tiles = apply(images, CUT)[..., 0].astype(np.float32)
    np.testing.assert_allclose(undone(tiles, CUT, 64, 0.0), images[..., 0], atol=1e-3)


@pytest.mark.parametrize("tile", [8, 65])
def test_a_tile_smaller_or_larger_than_may_be_is_refused(tile):
    with pytest.raises(UsageError, match="tiles must have 16 to 64 pixels a side"):
        replace(CUT, tile=tile)


def test_a_preprocess_with_tiles_comes_back_from_its_json():
    assert Preprocess.from_json(CUT.as_json()) == CUT
    assert "tile" not in replace(CUT, tile=None).as_json()  # so that members without keep their keys


def test_error_vectors_are_the_mean_the_worst_three_and_the_worst_tile():
    found = of_images({"mae": np.array([1, 9, 3, 5, 0, 0, 0, 8], dtype=np.float32)}, 4)
    np.testing.assert_allclose(found["mae"], [4.5, 2])
    np.testing.assert_allclose(found["mae_worst_tiles"], [17 / 3, 8 / 3])
    np.testing.assert_allclose(found["mae_worst_tile"], [9, 8])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_sees_tiles_and_scores_pictures(dataset, recipe, small, tmp_path, family):
    tile = 16 if FAMILIES[family].least_side == 16 else 32
    seen = Preprocess(crop=(1.0, 1.0), size=(tile * 3 // 2, tile * 3 // 2), channels=1, tile=tile)
    training = replace(recipe.training, epochs=1)
    recipe = replace(recipe, family=family, architecture=small[family], preprocess=seen, training=training)
    member = fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    reference, test = member.vectors()
    assert len(test) == len(dataset.test)
    own = {kind for kind in member.columns if not kind.endswith(("_worst_tile", "_worst_tiles"))}
    assert set(member.columns) == own | {kind + end for kind in own for end in ("_worst_tile", "_worst_tiles")}
    assert not FAMILIES[family].reconstructs or set(ERROR_KINDS) <= own
    model, references, loaded = load_model(member, CPU)
    assert loaded.preprocess == seen
    fold = None
    if FAMILIES[family].transductive:
        dealt = deal(len(reference), len(test), recipe.architecture.folds, recipe.training.seed, CPU)
        fold = dealt.test.repeat_interleave(seen.tiles)
    tiles = torch.from_numpy(apply(dataset.test.images, seen))
    scores = error_vectors(model, tiles, references, fold=fold, tiles=seen.tiles)
    for i, kind in enumerate(member.columns):
        np.testing.assert_allclose(scores[kind], test[:, i], rtol=1e-4, atol=1e-5, err_msg=kind)


def test_rows_to_train_on_are_tiles_of_the_split_and_bounded(dataset, recipe, tmp_path, monkeypatch):
    cut = Preprocess(crop=(1.0, 1.0), size=(32, 32), channels=1, tile=16)
    recipe = replace(recipe, preprocess=cut)
    whole = Prepared.of(dataset, recipe, tmp_path, CPU, None)
    split = dataset.split()
    assert set((whole.rows // cut.tiles).tolist()) == set(split.train.tolist())
    assert len(whole.rows) == cut.tiles * len(split.train)
    assert len(whole.reference) == cut.tiles * len(split.reference)
    monkeypatch.setattr(module, "MOST_TILES", 500)
    some = Prepared.of(dataset, recipe, tmp_path, CPU, None)
    assert len(some.rows) == 500
    assert set(some.rows.tolist()) < set(whole.rows.tolist())


def test_a_blend_of_tiled_members_scores_pictures_as_cached(data, run_ensad, tmp_path):
    tuned = run_ensad("tune", "--family", "pca", "--trials", 2, "--tiles", 16, "--device", "cpu")
    assert tuned.exit_code == 0, tuned.output
    assert run_ensad("blend", "--name", "tiled").exit_code == 0
    scored = load_blend("tiled", tmp_path / "studies", device="cpu")
    images = np.load(data / "testingset.npy")
    np.testing.assert_allclose(scored.score(images), load_saved(tmp_path / "studies", "tiled").scores(), atol=1e-4)
    blot = images[:1].copy()
    blot[:, 4:10, 20:26] = 255 - blot[:, 4:10, 20:26]
    grown = scored.explain(blot)[0] - scored.explain(images[:1])[0]
    top, left = np.unravel_index(int(grown.argmax()), grown.shape)
    assert 2 <= top < 12
    assert 18 <= left < 28


def test_tiled_members_score_pictures_that_come_later(data, run_ensad, tmp_path):
    later = (data / "testingset.npy").rename(tmp_path / "later.npy")
    tuned = run_ensad("tune", "--family", "pca", "--trials", 1, "--tiles", 16, "--device", "cpu")
    assert tuned.exit_code == 0, tuned.output
    blended = run_ensad("blend", "--test", later, "--name", "later")
    assert blended.exit_code == 0, blended.output
    scored = load_blend("later", tmp_path / "studies", device="cpu").score(np.load(later))
    np.testing.assert_allclose(scored, load_saved(tmp_path / "studies", "later").scores(), atol=1e-4)


def test_tiles_as_large_as_the_pictures_are_refused_by_tune(data, run_ensad):
    result = run_ensad("tune", "--family", "pca", "--trials", 1, "--tiles", 32, "--device", "cpu")
    assert result.exit_code == 2
    assert "--tiles must be 21 or less for pictures of 32 pixels, not 32" in result.output
