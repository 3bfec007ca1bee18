"""Where a blend sees anomalies: in the images' geometry, as the score has it, alone and in a batch, and on disk."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import ensemble_ad as ea
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.detect.explain import _excess, _maps
from ensemble_ad.detect.overlays import BRIGHTEST, FAINTEST, LOUDEST, OUTLINED, MapFolder, overlay
from ensemble_ad.errors import UsageError


@pytest.fixture(scope="module")
def normal(digits_folder):
    """Normal images, uint8 (60, 32, 32, 1)."""
    return np.load(digits_folder / "trainingset.npy")[:60]


def test_a_maps_mean_is_how_surprising_its_image_is(scorer, normal, images):
    some = np.concatenate([normal, images[:20]])
    maps, p = scorer.explain(some), scorer.p_values(some)
    assert maps.shape == (80, 32, 32)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), -np.log(p), rtol=1e-4, atol=1e-6)
    assert len(np.unique(p)) > 10
    assert len(scorer.explain(normal[:0])) == 0


def test_one_image_and_a_batch_have_the_same_map(scorer, normal):
    batch = scorer.explain(normal[:40])
    for row in (0, 39):
        np.testing.assert_allclose(scorer.explain(normal[row : row + 1])[0], batch[row], atol=1e-3)


def test_members_count_alike_and_inverted_ones_against(scorer, normal):
    guides = list(scorer._guides.values())
    assert scorer.explaining == tuple(scorer._guides)
    assert len(guides) > 1
    parts = [_excess([guide], normal[:3], scorer._device) for guide in guides]
    np.testing.assert_allclose(_excess(guides, normal[:3], scorer._device), np.mean(parts, axis=0), atol=1e-5)
    inverted = dataclasses.replace(guides[0], inverted=True)
    np.testing.assert_allclose(_excess([inverted], normal[:3], scorer._device), -parts[0], atol=1e-5)


def test_what_no_member_sees_is_as_usual(scorer, normal):
    guide = next(iter(scorer._guides.values()))
    size = guide.preprocess.size
    crop = dataclasses.replace(guide, preprocess=Preprocess(crop=(0.5, 0.5), size=size, channels=1))
    found = _excess([crop], normal[:2], scorer._device)
    assert (found[:, :8] == 0).all()
    assert (found[:, 8:24, 8:24] != 0).any()


def test_only_members_that_say_where_are_asked(run_ensad, digits_folder, normal, tmp_path):
    for preset in ("cutpaste-small", "pca-10"):
        trained = run_ensad("train", "--preset", preset, "--epochs", 1, "--data", digits_folder)
        assert trained.exit_code == 0, trained.output
    for name, members in (("seeing", "pca,cutpaste"), ("blind", "cutpaste")):
        assert run_ensad("blend", "--members", members, "--method", "mean", "--name", name).exit_code == 0
    seeing = ea.load_blend("seeing", tmp_path / "studies", device="cpu")
    assert [key.partition("-")[0] for key in seeing.explaining] == ["pca"]
    damaged = normal.copy()
    damaged[:, 8:14, 18:24] = 255 - damaged[:, 8:14, 18:24]
    maps = seeing.explain(damaged)
    assert maps.mean() > 1.5 * seeing.explain(normal).mean()
    (guide,) = seeing._guides.values()
    for each in (maps, *_maps(guide, damaged, seeing._device)):  # the blend's, the member's errors, its areas
        assert each.shape == (60, 32, 32)
        assert each[:, 9:13, 19:23].mean() > 2.5 * each[:, 22:].mean()
    with pytest.raises(UsageError, match=r"no member of blind says where in an image \(cutpaste\)"):
        ea.load_blend("blind", tmp_path / "studies", device="cpu").explain(normal)
    for command in (["explain"], ["score", "--maps", "where"]):
        result = run_ensad(*command, digits_folder / "testingset.npy")
        assert result.exit_code == 2
        assert "no member of blind says where" in result.stderr
        assert not (tmp_path / "where").exists()


def test_maps_and_overlays_are_written_of_every_picture(run_ensad, studies, scorer, images, tmp_path):
    for name in ("a.png", "below/b.png"):
        (tmp_path / "camera" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[len(name), ..., 0]).save(tmp_path / "camera" / name)
    (tmp_path / "camera/broken.png").write_bytes(b"\x89PNG")
    result = run_ensad("explain", "camera", "-o", "where", "--raw", "--blend", "both")
    assert result.exit_code == 3
    assert "1 of 3 could not be explained" in result.stderr
    assert result.stdout == "where\n"
    found = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "where").rglob("*.*"))
    assert found == [f"where/{name}.map.{end}" for name in ("a.png", "below/b.png") for end in ("npy", "png")]
    expected = scorer.explain(images[len("a.png")][None])[0]
    np.testing.assert_allclose(np.load(tmp_path / "where/a.png.map.npy"), expected, atol=1e-3)
    assert Image.open(tmp_path / "where/below/b.png.map.png").size == (32, 32)


def test_score_writes_maps_of_alarms_alone(run_ensad, studies, digits_folder, tmp_path):
    result = run_ensad("score", digits_folder / "testingset.npy", "--alarm-rate", 0.02, "--maps", "where")
    assert result.exit_code == 0, result.output
    alarms = {line.split(",")[0] for line in result.stdout.splitlines()[1:] if line.split(",")[2] == "1"}
    assert 0 < len(alarms) < 120
    assert {path.name.removesuffix(".map.png") for path in (tmp_path / "where").iterdir()} == alarms


def test_a_picture_is_grey_where_it_is_usual_and_coloured_where_not(images):
    errors = np.zeros((32, 32), dtype=np.float32)
    errors[:, 24:] = BRIGHTEST + 1
    laid_over = overlay(images[0], errors)
    assert (laid_over[:, :23] == images[0][:, :23]).all()
    assert (laid_over[:, 23] == (0, 255, 255)).all()  # the line lies around the place, and covers none of it
    assert laid_over[0, 24:].min(axis=0).tolist() > [180, 180, 100]
    rising = np.zeros((64, 64), dtype=np.float32)
    rising[:16] = np.linspace(FAINTEST, OUTLINED, 1024, endpoint=False).reshape(16, 64)
    brightness = overlay(np.zeros((64, 64, 3), np.uint8), rising)[:16].reshape(-1, 3) @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > -1).all()
    assert brightness[0] == 0
    assert brightness[1] > 15


def test_a_very_surprising_picture_is_coloured_where_it_stands_out_alone(images):
    errors = np.full((32, 32), 2 * LOUDEST, dtype=np.float32)
    errors[4:8, 4:8] *= 3
    laid_over = overlay(images[0], errors)
    assert (laid_over[16:] == images[0][16:]).all()
    assert (laid_over[4:8, 4:8] != images[0][4:8, 4:8]).any(axis=2).all()
    np.testing.assert_array_equal(overlay(images[0], 2 * errors), laid_over)


def test_no_name_leads_out_of_the_folder_nor_to_another_ones_map(tmp_path, images):
    folder = MapFolder(folder=tmp_path / "maps")
    names = ("../x.png", "x.png", "/etc/x.png", "a/../x.png", "..", "7")
    found = [folder.write(name, images[0], np.zeros((32, 32), np.float32), (32, 32)) for name in names]
    assert len(set(found)) == folder.count == len(names)
    assert all((tmp_path / "maps").resolve() in path.resolve().parents for path in found)


def test_a_map_has_its_pictures_own_height_and_width(tmp_path, images):
    errors = np.zeros((32, 32), np.float32)
    errors[12:20, 16:] = 10  # the right half of a picture twice as wide as high
    folder = MapFolder(folder=tmp_path, fit="pad", raw=True)
    assert Image.open(folder.write("wide.jpg", images[0], errors, (40, 80))).size == (80, 40)
    found = np.load(tmp_path / "wide.jpg.map.npy")
    assert found.shape == (40, 80)
    assert found[14:26, 44:].min() > 9
    assert found[:, :36].max() < 1
