"""The whole way with pictures of several sizes and of 16 bits: what is done to them, and the same to new ones."""

import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_sample_images

from ensemble_ad.blend.saved import load_blend as load_saved
from ensemble_ad.cli import main
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.detect.scorer import load_blend
from ensemble_ad.errors import DataError
from ensemble_ad.members.data_record import load_data_record


@pytest.fixture(scope="module")
def lab(shared_folder) -> Path:
    """A folder with `data`, 70 and 20 grey pictures of 16 bits and all sizes, and `studies`, with a blend of them."""
    folder = shared_folder / "lab"
    if folder.exists():
        return folder
    picture, rng = load_sample_images().images[1].mean(axis=2), np.random.default_rng(0)
    for place, count in (("train", 70), ("test", 20)):
        (folder / "data" / place).mkdir(parents=True)
        for row in range(count):
            height, width = rng.integers(30, 60, 2)
            top, left = rng.integers(0, 427 - height), rng.integers(0, 640 - width)
            part = picture[top : top + height, left : left + width] * 90 + 2000
            Image.fromarray(part.astype(np.uint16)).save(folder / "data" / place / f"{row:02}.png")
    for line in ("train --preset pca-10 --fit crop --device cpu --data {data}", "blend --members pca --name b"):
        words = [*line.format(data=folder / "data").split(), "--studies", str(folder / "studies")]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def here(lab, tmp_path) -> Path:
    """The same in a folder of one's own, where commands find it."""
    return Path(shutil.copytree(lab, tmp_path, dirs_exist_ok=True))


def test_new_pictures_become_images_as_the_old_ones_did(here, run_ensad):
    result = run_ensad("score", "data/test", "--blend", "b")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(StringIO(result.stdout), dtype={"ID": str})
    np.testing.assert_allclose(table["score"], load_saved(here / "studies", "b").scores(), atol=1e-6)


def test_python_takes_the_same_pictures_as_arrays_and_as_paths(lab):
    scorer = load_blend("b", lab / "studies", device="cpu")
    paths = sorted((lab / "data" / "test").iterdir())
    expected = load_saved(lab / "studies", "b").scores()
    np.testing.assert_allclose(scorer.score(paths), expected, atol=1e-6)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    np.testing.assert_allclose(scorer.score(arrays), expected, atol=1e-6)
    one_size = np.stack([array[:30, :30] for array in arrays])
    np.testing.assert_allclose(scorer.score(one_size), scorer.score(list(one_size)), atol=1e-6)
    images = load_dataset(lab / "data", image_cache=lab / "studies" / "preprocessed", fit="crop").test.images
    np.testing.assert_allclose(scorer.score(images), expected, atol=1e-6)
    with pytest.raises(DataError, match="image 0 has 8 bits a channel, but the training pictures have more"):
        scorer.score([(arrays[0] // 256).astype(np.uint8)])


def test_the_record_keeps_the_conversion_and_later_commands_use_it(here, run_ensad):
    saved = load_saved(here / "studies", "b")
    conversion = load_data_record(here / "studies", saved.data).conversion
    assert (conversion.fit, conversion.side) == ("crop", 48)
    (here / "labels.csv").write_text("ID,label\n" + "".join(f"{row:02}.png,{row % 2}\n" for row in range(20)))
    for command in ("evaluate --labels labels.csv", "submit", "report", "audit --labels labels.csv"):
        result = run_ensad(*command.split())
        assert result.exit_code == 0, result.output
        assert "other images" not in result.output


def test_the_fit_is_an_option_a_variable_and_a_setting(here, run_ensad):
    def said(*more: str, **environment: str) -> str:
        found = json.loads(run_ensad("data", "check", "--json", *more, **environment).stdout)["result"]["findings"]
        return next(each["text"] for each in found if each["text"].startswith("train: 70 pictures"))

    assert "padded to 48x48; values " in said()
    assert "cropped" in said("--fit", "crop")
    assert "squashed" in said(ENSAD_FIT="squash")
    (here / "ensad.toml").write_text('fit = "crop"')
    assert "cropped" in said()
    assert "squashed" in said("--fit", "squash")


def test_a_hint_hands_the_fit_on(here, run_ensad):
    assert "ensad tune --family fcn --trials 50 --fit squash" in run_ensad("data", "check", "--fit", "squash").stderr


@pytest.mark.parametrize("strict", [True, False])
def test_a_new_picture_of_another_depth_is_named(here, run_ensad, strict):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save("odd.png")
    result = run_ensad("score", "odd.png", "data/test/00.png", "--blend", "b", *(["--strict"] if strict else []))
    assert result.exit_code == 3
    assert "odd.png has 8 bits a channel, but the training pictures have more" in result.stderr
    assert ("data/test/00.png" in result.stdout) != strict


def test_each_page_of_a_new_picture_is_scored(here, run_ensad):
    pages = [Image.open(f"data/test/0{row}.png") for row in range(3)]
    pages[0].save("scan.tif", save_all=True, append_images=pages[1:])
    lines = run_ensad("score", "scan.tif", "--blend", "b").stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["ID", "scan.tif#1", "scan.tif#2", "scan.tif#3"]
    expected = load_saved(here / "studies", "b").scores()[:3]
    np.testing.assert_allclose([float(line.split(",")[1]) for line in lines[1:]], expected, atol=1e-6)
